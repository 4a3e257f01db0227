//! `millstream consume`: records out, as text or JSON.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use futures::future::{Either, select};
use millstream_client::{
    Client, ClientError, Consumer, ConsumerConfig, ConsumerRecord, GroupConfig, NamedPartition,
    OffsetSpec, StartPosition,
};
use millstream_reactor::Reactor;
use millstream_reactor::uring::terminate_signal;

use crate::arguments::{ConsumeArguments, Start};
use crate::failure::Failure;
use crate::output::Output;
use crate::record_format::{RecordFormat, record_json};

/// How long to wait for records before looking whether the end has been reached.
const POLL: Duration = Duration::from_millis(500);

/// Prints the records of a topic until a bound is reached, or a signal comes.
pub async fn consume(
    client: Client,
    arguments: ConsumeArguments,
    output: &Output,
) -> Result<(), Failure> {
    let format = RecordFormat::parse(&arguments.format, &arguments.null);
    let format = format.map_err(Failure::Usage)?;
    let printer = Printer { format, output };
    let reactor = client.reactor().clone();
    let mut reading = Reading::start(client, &arguments).await?;
    let read = reading.run(&printer, stop_signal(&reactor)).await;
    // A member that fails leaves its group too: the others need not wait for it.
    let closed = reading.consumer.close().await;
    read?;
    Ok(closed?)
}

/// A signal that asks the process to end; a consumer leaves its group first.
fn stop_signal(reactor: &Reactor) -> Pin<Box<dyn Future<Output = ()>>> {
    let reactor = reactor.clone();
    Box::pin(async move {
        if terminate_signal(&reactor).await.is_err() {
            // Without it the process ends as it would anyway.
            std::future::pending().await
        }
    })
}

/// A consumer and how far it shall go.
struct Reading {
    client: Client,
    consumer: Consumer,
    left: Option<u64>,
    in_group: bool,
    /// Whether a group has said by now what is assigned.
    polled: bool,
    /// Whether reading stops at what was the end of each partition when it began.
    exit_at_end: bool,
    /// The time before which reading stops, in milliseconds since the epoch.
    until: Option<i64>,
    /// Where reading stops in each partition, as far as that is known.
    ends: BTreeMap<NamedPartition, i64>,
    read_committed: bool,
}

impl Reading {
    async fn start(client: Client, arguments: &ConsumeArguments) -> Result<Reading, Failure> {
        let read_committed = !arguments.read_uncommitted;
        let now = client.reactor().wall_clock_ms();
        let offset = arguments.from.map_or(arguments.offset, Start::Time);
        let mut consumer = Consumer::new(
            client.clone(),
            ConsumerConfig {
                offset_reset: Some(reset(arguments, offset, now)?),
                read_committed,
                ..ConsumerConfig::default()
            },
        );
        let topic: Rc<str> = arguments.topic.as_str().into();
        let known = client.topic(&topic, false).await?;
        match &arguments.group {
            Some(group) => consumer.subscribe(GroupConfig::new(group), vec![topic]),
            None => {
                let chosen: Vec<i32> = match arguments.partitions.is_empty() {
                    true => known.partitions.keys().copied().collect(),
                    false => arguments.partitions.clone(),
                };
                let mut starts = Vec::new();
                for partition in chosen {
                    let partition = (topic.clone(), partition);
                    if !known.partitions.contains_key(&partition.1) {
                        let missing = ClientError::UnknownPartition {
                            topic: known.name.clone(),
                            partition: partition.1,
                            count: known.partitions.len(),
                        };
                        return Err(missing.into());
                    }
                    let start = start(&client, &partition, offset, now, read_committed);
                    starts.push((partition.clone(), start.await?));
                }
                consumer.assign(starts);
            }
        }
        Ok(Reading {
            client,
            consumer,
            left: arguments.count,
            in_group: arguments.group.is_some(),
            polled: false,
            exit_at_end: arguments.exit_at_end,
            until: arguments.until.map(|moment| moment.resolve(now)),
            ends: BTreeMap::new(),
            read_committed,
        })
    }

    async fn run(
        &mut self,
        printer: &Printer<'_>,
        mut stop: Pin<Box<dyn Future<Output = ()>>>,
    ) -> Result<(), Failure> {
        while self.left != Some(0) {
            // Before the records, so that none beyond a bound is printed.
            self.look_up_ends().await?;
            if self.is_at_end() {
                return Ok(());
            }
            let records = {
                let polling = pin!(self.consumer.poll(POLL));
                match select(polling, stop.as_mut()).await {
                    Either::Left((records, _)) => records?,
                    Either::Right(_) => return Ok(()),
                }
            };
            self.polled = true;
            let wanted = self.take(records);
            printer.print(&wanted)?;
        }
        Ok(())
    }

    /// The records that are still wanted; the consumer goes back to the first of the others, so
    /// that a group commits what was printed and no more.
    fn take(&mut self, mut records: Vec<ConsumerRecord>) -> Vec<ConsumerRecord> {
        // What a group has been given it commits, so all of that is printed.
        if !self.in_group {
            records.retain(|record| self.is_before_end(record));
        }
        let Some(left) = self.left else {
            return records;
        };
        let wanted = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(records.len());
        let mut first_unwanted: BTreeMap<NamedPartition, i64> = BTreeMap::new();
        for record in records.drain(wanted..) {
            let partition = (record.topic, record.partition);
            first_unwanted.entry(partition).or_insert(record.offset);
        }
        for (partition, offset) in first_unwanted {
            self.consumer.seek(partition, StartPosition::Offset(offset));
        }
        self.left = Some(left - wanted as u64);
        records
    }

    /// Asks where the partitions end that have been assigned since the last time. A time that is
    /// still to come bounds nothing before it has come.
    async fn look_up_ends(&mut self) -> Result<(), Failure> {
        let now = self.client.reactor().wall_clock_ms();
        let until = self.until.filter(|until| *until <= now);
        if until.is_none() && !self.exit_at_end {
            return Ok(());
        }
        let assigned = self.consumer.assignment();
        let fresh: Vec<NamedPartition> = assigned
            .filter(|partition| !self.ends.contains_key(*partition))
            .cloned()
            .collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let read_committed = self.read_committed;
        let ask = async |spec| self.client.offsets_at(&fresh, spec, read_committed).await;
        let ends = ask(OffsetSpec::Latest).await?;
        let bounds = match until {
            Some(until) => ask(OffsetSpec::Timestamp(until)).await?,
            None => BTreeMap::new(),
        };
        for partition in fresh {
            let end = ends.get(&partition).copied().unwrap_or(0);
            let bound = bounds.get(&partition).copied().unwrap_or(end);
            self.ends.insert(partition, bound.min(end));
        }
        Ok(())
    }

    /// Whether every partition has been read up to its bound.
    fn is_at_end(&self) -> bool {
        let bounded = self.exit_at_end || !self.ends.is_empty();
        let known = self.polled || !self.in_group;
        let mut assigned = self.consumer.assignment();
        let read = |partition: &NamedPartition| {
            let position = self.consumer.position(partition);
            let end = self.ends.get(partition);
            position
                .zip(end)
                .is_some_and(|(position, end)| position >= *end)
        };
        bounded && known && assigned.all(read)
    }

    /// Whether a record lies before the bound of its partition.
    fn is_before_end(&self, record: &ConsumerRecord) -> bool {
        match self.ends.get(&(record.topic.clone(), record.partition)) {
            Some(end) => record.offset < *end,
            None => self.until.is_none_or(|until| record.timestamp < until),
        }
    }
}

/// Where a consumer begins that finds no offset, or one that is out of range.
fn reset(arguments: &ConsumeArguments, offset: Start, now_ms: i64) -> Result<OffsetSpec, Failure> {
    match offset {
        Start::Beginning => Ok(OffsetSpec::Earliest),
        Start::End => Ok(OffsetSpec::Latest),
        Start::Time(moment) => Ok(OffsetSpec::Timestamp(moment.resolve(now_ms))),
        Start::Offset(_) | Start::Last(_) if arguments.group.is_some() => {
            let mend = "a group begins at its committed offsets: \
                        --offset takes beginning, end or @TIME with --group";
            Err(Failure::Usage(mend.to_owned()))
        }
        Start::Offset(_) | Start::Last(_) => Ok(OffsetSpec::Earliest),
    }
}

async fn start(
    client: &Client,
    partition: &NamedPartition,
    start: Start,
    now_ms: i64,
    read_committed: bool,
) -> Result<StartPosition, Failure> {
    Ok(match start {
        Start::Beginning => StartPosition::Spec(OffsetSpec::Earliest),
        Start::End => StartPosition::Spec(OffsetSpec::Latest),
        Start::Time(moment) => StartPosition::Spec(OffsetSpec::Timestamp(moment.resolve(now_ms))),
        Start::Offset(offset) => StartPosition::Offset(offset),
        Start::Last(count) => {
            let bounds = [OffsetSpec::Earliest, OffsetSpec::Latest];
            let mut found = [0, 0];
            for (spec, found) in bounds.into_iter().zip(&mut found) {
                let asked = [(partition.clone(), spec)];
                let offsets = client.list_offsets(&asked, read_committed).await?;
                *found = offsets.get(partition).copied().flatten().unwrap_or(0);
            }
            StartPosition::Offset(found[0].max(found[1] - count))
        }
    })
}

struct Printer<'a> {
    format: RecordFormat,
    output: &'a Output,
}

impl Printer<'_> {
    fn print(&self, records: &[ConsumerRecord]) -> Result<(), Failure> {
        if records.is_empty() {
            return Ok(());
        }
        let mut text = Vec::new();
        for record in records {
            if self.output.is_json() {
                text.extend_from_slice(record_json(record).to_string().as_bytes());
                text.push(b'\n');
            } else {
                self.format.write(record, &mut text);
            }
        }
        self.output.write(&text)
    }
}
