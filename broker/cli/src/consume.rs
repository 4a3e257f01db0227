//! `millstream consume`: records out, as text or JSON.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{self, Write};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use futures::future::{Either, select};
use millstream_client::{
    Client, Consumer, ConsumerConfig, ConsumerRecord, GroupConfig, NamedPartition, OffsetSpec,
    StartPosition,
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
    output: Output,
) -> Result<(), Failure> {
    let format = RecordFormat::parse(&arguments.format).map_err(Failure::Usage)?;
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
    /// Where each partition ended when reading of it began, if that is where to stop.
    ends: Option<BTreeMap<NamedPartition, i64>>,
    read_committed: bool,
}

impl Reading {
    async fn start(client: Client, arguments: &ConsumeArguments) -> Result<Reading, Failure> {
        let read_committed = !arguments.read_uncommitted;
        let mut consumer = Consumer::new(
            client.clone(),
            ConsumerConfig {
                offset_reset: Some(reset(arguments)?),
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
                    let start = start(&client, &partition, arguments.offset, read_committed);
                    starts.push((partition.clone(), start.await?));
                }
                consumer.assign(starts);
            }
        }
        Ok(Reading {
            client,
            consumer,
            left: arguments.count,
            ends: arguments.exit_at_end.then(BTreeMap::new),
            read_committed,
        })
    }

    async fn run(
        &mut self,
        printer: &Printer,
        mut stop: Pin<Box<dyn Future<Output = ()>>>,
    ) -> Result<(), Failure> {
        while self.left != Some(0) {
            let records = {
                let polling = pin!(self.consumer.poll(POLL));
                match select(polling, stop.as_mut()).await {
                    Either::Left((records, _)) => records?,
                    Either::Right(_) => return Ok(()),
                }
            };
            let wanted = self.take(records);
            printer.print(&wanted)?;
            if self.is_at_end().await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The records that are still wanted; the consumer goes back to the first of the others, so
    /// that a group commits what was printed and no more.
    fn take(&mut self, mut records: Vec<ConsumerRecord>) -> Vec<ConsumerRecord> {
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

    async fn is_at_end(&mut self) -> Result<bool, Failure> {
        let Some(ends) = &mut self.ends else {
            return Ok(false);
        };
        let assigned: Vec<NamedPartition> = self.consumer.assignment().cloned().collect();
        let fresh: Vec<_> = assigned
            .iter()
            .filter(|partition| !ends.contains_key(*partition))
            .map(|partition| (partition.clone(), OffsetSpec::Latest))
            .collect();
        if !fresh.is_empty() {
            let found = self
                .client
                .list_offsets(&fresh, self.read_committed)
                .await?;
            let found = found.into_iter();
            ends.extend(found.map(|(partition, end)| (partition, end.unwrap_or(0))));
        }
        Ok(assigned.iter().all(|partition| {
            let position = self.consumer.position(partition);
            position.is_some_and(|position| position >= ends[partition])
        }))
    }
}

/// Where a consumer begins that finds no offset, or one that is out of range.
fn reset(arguments: &ConsumeArguments) -> Result<OffsetSpec, Failure> {
    match arguments.offset {
        Start::Beginning => Ok(OffsetSpec::Earliest),
        Start::End => Ok(OffsetSpec::Latest),
        Start::Timestamp(timestamp) => Ok(OffsetSpec::Timestamp(timestamp)),
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
    read_committed: bool,
) -> Result<StartPosition, Failure> {
    Ok(match start {
        Start::Beginning => StartPosition::Spec(OffsetSpec::Earliest),
        Start::End => StartPosition::Spec(OffsetSpec::Latest),
        Start::Timestamp(timestamp) => StartPosition::Spec(OffsetSpec::Timestamp(timestamp)),
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

struct Printer {
    format: RecordFormat,
    output: Output,
}

impl Printer {
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
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(&text)
            .and_then(|()| stdout.flush())
            .map_err(Failure::stdout)
    }
}
