//! End-to-end latency at a steady rate, in an open loop.
//!
//! Record `n` is due at `start + n / rate` and is sent then, whatever has become of the earlier
//! ones, each in a batch of its own (as with `linger.ms=0`). A consumer on a connection of its own
//! waits in a fetch for the next records. What counts is the time from when a record was due until
//! the consumer has decoded it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Args;
use futures::future::try_join;
use hdrhistogram::Histogram;
use millstream_client::{Connection, ConnectionConfig};
use millstream_protocol::compression::{Codec, Decompressor};
use millstream_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use millstream_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use millstream_protocol::messages::{FetchRequest, FetchResponse, ProduceRequest};
use millstream_protocol::record_batch::{BatchBuilder, Batches};
use millstream_reactor::Reactor;

use crate::failure::{Failure, accepted};
use crate::topic::{self, PRODUCE_VERSION, check_produced};

/// A version that Kafka 2.1 and later have, and that names topics by name.
const FETCH_VERSION: i16 = 10;
/// What takes longer counts as this.
const LONGEST_MICROS: u64 = 120_000_000;
/// After the last record was due.
const PATIENCE: Duration = Duration::from_secs(30);

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The topic; made with one partition if it is not there.
    #[arg(long, default_value = "millstream-bench-latency")]
    topic: String,
    /// Records a second.
    #[arg(long, default_value_t = 1000)]
    rate: u32,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// Seconds before that, which are not.
    #[arg(long, default_value_t = 5)]
    warm_up: u32,
    /// Bytes of a record's value.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// 0, 1 or -1 for all.
    #[arg(long, default_value_t = -1, allow_hyphen_values = true)]
    acks: i16,
}

struct Run {
    reactor: Reactor,
    options: Options,
    /// When each record that is on its way was due.
    due: RefCell<VecDeque<Instant>>,
}

/// Measures, and prints one JSON object with microseconds.
pub async fn measure(
    reactor: &Reactor,
    address: SocketAddr,
    options: Options,
) -> Result<(), Failure> {
    let config = ConnectionConfig::default();
    let producer = Connection::connect(reactor, address, &config).await?;
    let consumer = Connection::connect(reactor, address, &config).await?;
    topic::create(&producer, &options.topic, 1).await?;
    let first = topic::end_offset(reactor, &consumer, &options.topic, 0).await?;
    let run = Rc::new(Run {
        reactor: reactor.clone(),
        options: options.clone(),
        due: RefCell::default(),
    });
    let ((), histogram) = try_join(run.produce(&producer), run.consume(&consumer, first)).await?;
    let micros = |quantile: f64| histogram.value_at_quantile(quantile);
    let result = serde_json::json!({
        "records": histogram.len(),
        "rate": options.rate,
        "size": options.size,
        "p50_us": micros(0.5),
        "p99_us": micros(0.99),
        "p999_us": micros(0.999),
        "max_us": histogram.max(),
        "mean_us": histogram.mean().round(),
    });
    println!("{result}");
    Ok(())
}

impl Run {
    fn records(&self) -> u64 {
        u64::from(self.options.rate) * u64::from(self.options.seconds + self.options.warm_up)
    }

    fn length(&self) -> Duration {
        Duration::from_secs(u64::from(self.options.seconds + self.options.warm_up))
    }

    async fn produce(&self, connection: &Connection) -> Result<(), Failure> {
        let start = self.reactor.now();
        let interval = Duration::from_secs(1) / self.options.rate;
        let value = vec![b'x'; self.options.size];
        let mut answers = VecDeque::new();
        for n in 0..self.records() {
            let due = start + interval * u32::try_from(n).unwrap_or(u32::MAX);
            if due > self.reactor.now() {
                self.reactor.sleep_until(due).await;
            }
            self.due.borrow_mut().push_back(due);
            let request = self.produce_request(&value);
            let timeout = connection.request_timeout();
            if self.options.acks == 0 {
                connection.send(&request, PRODUCE_VERSION).await?;
                continue;
            }
            answers.push_back(connection.call_version(&request, PRODUCE_VERSION, timeout));
            // The oldest answers are most likely there; the loop must not wait for them.
            if answers.len() > 1000 {
                let answer = answers.pop_front().expect("there are some").await?;
                check_produced(&answer)?;
            }
        }
        for answer in answers {
            check_produced(&answer.await?)?;
        }
        Ok(())
    }

    fn produce_request(&self, value: &[u8]) -> ProduceRequest {
        let mut batch = BatchBuilder::new(Codec::None);
        batch.push(self.reactor.wall_clock_ms(), None, Some(value), &[]);
        let records = batch.build().expect("nothing is compressed");
        let data = PartitionProduceData::default().with_records(Some(records));
        let topic = TopicProduceData::default()
            .with_name(topic::name(&self.options.topic))
            .with_partition_data(vec![data]);
        ProduceRequest::default()
            .with_transactional_id(None)
            .with_acks(self.options.acks)
            .with_timeout_ms(30_000)
            .with_topic_data(vec![topic])
    }

    async fn consume(
        &self,
        connection: &Connection,
        first: i64,
    ) -> Result<Histogram<u64>, Failure> {
        let began = self.reactor.now();
        let mut histogram =
            Histogram::new_with_bounds(1, LONGEST_MICROS, 3).expect("bounds in order");
        let warm_up = u64::from(self.options.rate) * u64::from(self.options.warm_up);
        let (mut next, mut seen) = (first, 0);
        let mut decompressor = Decompressor::default();
        while seen < self.records() {
            if self.reactor.now() - began > self.length() + PATIENCE {
                return Err(Failure::Late {
                    what: "the last record",
                    within: PATIENCE,
                });
            }
            let request = self.fetch_request(next);
            let timeout = connection.request_timeout();
            let answer = connection
                .call_version(&request, FETCH_VERSION, timeout)
                .await?;
            for offset in offsets(&answer, &mut decompressor)? {
                if offset < next {
                    continue;
                }
                next = offset + 1;
                let due = self.due.borrow_mut().pop_front();
                let Some(due) = due else { continue };
                seen += 1;
                if seen > warm_up {
                    let micros = (self.reactor.now() - due).as_micros();
                    histogram.saturating_record(u64::try_from(micros).unwrap_or(u64::MAX));
                }
            }
        }
        Ok(histogram)
    }

    fn fetch_request(&self, offset: i64) -> FetchRequest {
        let wanted = FetchPartition::default()
            .with_fetch_offset(offset)
            .with_current_leader_epoch(-1)
            .with_partition_max_bytes(1 << 20);
        let topic = FetchTopic::default()
            .with_topic(topic::name(&self.options.topic))
            .with_partitions(vec![wanted]);
        FetchRequest::default()
            .with_max_wait_ms(500)
            .with_min_bytes(1)
            .with_max_bytes(50 << 20)
            .with_session_epoch(-1)
            .with_topics(vec![topic])
    }
}

/// The offsets of the records, which are decoded as a consumer would decode them.
fn offsets(answer: &FetchResponse, decompressor: &mut Decompressor) -> Result<Vec<i64>, Failure> {
    let mut found = Vec::new();
    let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
    for partition in partitions {
        accepted("fetching", partition.error_code)?;
        let Some(records) = &partition.records else {
            continue;
        };
        for batch in Batches::new(records) {
            let damaged = |cause: String| Failure::System(format!("what was fetched: {cause}"));
            let batch = batch.map_err(|cause| damaged(cause.to_string()))?;
            batch
                .check_crc()
                .map_err(|cause| damaged(cause.to_string()))?;
            let records = batch.records(decompressor, 1 << 30);
            for record in records.map_err(|cause| damaged(cause.to_string()))? {
                found.push(record.map_err(|cause| damaged(cause.to_string()))?.offset.0);
            }
        }
    }
    Ok(found)
}
