//! Fills a topic as fast as one connection does.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use millstream_client::{Connection, ConnectionConfig};
use millstream_protocol::compression::Codec;
use millstream_protocol::messages::ProduceRequest;
use millstream_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use millstream_protocol::record_batch::BatchBuilder;
use millstream_reactor::Reactor;

use crate::failure::Failure;
use crate::topic::{self, PRODUCE_VERSION, check_produced};

/// Requests under way at once.
const IN_FLIGHT: usize = 8;
/// How often it says how far it is.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What to fill.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The topic; made if it is not there.
    #[arg(long, default_value = "millstream-bench-fill")]
    topic: String,
    /// Partitions, filled in turns.
    #[arg(long, default_value_t = 1)]
    partitions: i32,
    /// Bytes of values in all.
    #[arg(long, default_value_t = 1_000_000_000)]
    bytes: u64,
    /// Bytes of a record's value.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Records in a batch; each request has one batch.
    #[arg(long, default_value_t = 256)]
    batch: usize,
}

/// Fills, with a note to standard error now and then, and prints one JSON object.
pub async fn fill(reactor: &Reactor, address: SocketAddr, options: Options) -> Result<(), Failure> {
    let connection = Connection::connect(reactor, address, &ConnectionConfig::default()).await?;
    topic::create(&connection, &options.topic, options.partitions).await?;
    for partition in 0..options.partitions {
        topic::end_offset(reactor, &connection, &options.topic, partition).await?;
    }
    let records = records(reactor, &options);
    let batch_bytes = (options.size * options.batch).max(1) as u64;
    let requests = options.bytes.div_ceil(batch_bytes);
    let timeout = connection.request_timeout();
    let began = reactor.now();
    let mut told = began;
    let mut answers = VecDeque::new();
    for number in 0..requests {
        let partition = i32::try_from(number % options.partitions.unsigned_abs().max(1) as u64);
        let request = request(&options, partition.unwrap_or(0), records.clone());
        answers.push_back(connection.call_version(&request, PRODUCE_VERSION, timeout));
        if answers.len() == IN_FLIGHT {
            let answer = answers.pop_front().expect("there are some").await?;
            check_produced(&answer)?;
        }
        if reactor.now() - told >= TELL_EVERY {
            told = reactor.now();
            eprintln!("{} of {} bytes", number * batch_bytes, options.bytes);
        }
    }
    for answer in answers {
        check_produced(&answer.await?)?;
    }
    let seconds = (reactor.now() - began).as_secs_f64();
    let bytes = requests * batch_bytes;
    let result = serde_json::json!({
        "bytes": bytes,
        "seconds": seconds,
        "mb_per_second": bytes as f64 / 1e6 / seconds,
    });
    println!("{result}");
    Ok(())
}

/// One batch, which is sent again and again.
fn records(reactor: &Reactor, options: &Options) -> Bytes {
    let mut batch = BatchBuilder::new(Codec::None);
    let value = vec![b'x'; options.size];
    for _ in 0..options.batch.max(1) {
        batch.push(reactor.wall_clock_ms(), None, Some(&value), &[]);
    }
    batch.build().expect("nothing is compressed")
}

fn request(options: &Options, partition: i32, records: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(records));
    let topic = TopicProduceData::default()
        .with_name(topic::name(&options.topic))
        .with_partition_data(vec![data]);
    ProduceRequest::default()
        .with_transactional_id(None)
        .with_acks(-1)
        .with_timeout_ms(30_000)
        .with_topic_data(vec![topic])
}
