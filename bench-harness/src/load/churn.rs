//! A client that comes and goes: it connects, asks for versions and metadata, produces a record,
//! and closes.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use millstream_client::{Connection, ConnectionConfig};
use millstream_protocol::messages::ProduceRequest;
use millstream_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};

use super::batch::Label;
use super::pace::Pace;
use super::payload::Random;
use super::produce_frame::{PRODUCE_VERSION, check_produced};
use super::tally::Counts;
use super::topic;
use super::worker::Context;
use crate::failure::{Failure, accepted};

/// One of the clients that are there at once.
#[derive(Debug)]
pub struct ChurnLink {
    /// Its number among them.
    pub index: usize,
    /// The broker.
    pub leader: SocketAddr,
    /// Where it produces.
    pub partition: i32,
}

/// Comes and goes until the run is over.
pub async fn churn(context: Rc<Context>, link: ChurnLink) -> Result<(), Failure> {
    let (plan, window) = (&context.plan, &context.window);
    let links = plan.producers;
    let pace = plan
        .rate
        .map(|rate| Pace::share(window.start, rate, link.index, links));
    let bound = plan.options.records.map(|records| {
        records / links as u64 + u64::from((link.index as u64) < records % links as u64)
    });
    let mut random = Random::new(link.index as u64);
    for visit in 0..bound.unwrap_or(u64::MAX) {
        let due = match pace {
            None => context.reactor.now(),
            Some(pace) => pace.due(visit),
        };
        if window.is_past(due) {
            break;
        }
        context.reactor.sleep_until(due).await;
        let bytes = call(&context, &link, &mut random).await?;
        let now = context.reactor.now();
        let counts = Counts {
            records: 1,
            bytes,
            requests: 1,
        };
        context.progress(now);
        context.shared.produced(1, bytes);
        let mut tally = context.tally.borrow_mut();
        tally.opened(now, due);
        tally.produced(now, due, counts);
        tally.latency(now, due, Duration::ZERO, 1);
    }
    context.shared.has_produced();
    Ok(())
}

/// One visit; gives the bytes of the record.
async fn call(context: &Context, link: &ChurnLink, random: &mut Random) -> Result<u64, Failure> {
    let options = &context.plan.options;
    let template = &context.templates[0];
    let label = Label {
        count: 1,
        stamp: None,
        producer: None,
        time_ms: context.reactor.wall_clock_ms(),
    };
    let mut batch = Vec::new();
    let rest = template.write(&label, random, &mut batch)?;
    batch.extend_from_slice(&rest);
    let data = PartitionProduceData::default()
        .with_index(link.partition)
        .with_records(Some(Bytes::from(batch)));
    let data = TopicProduceData::default()
        .with_name(topic::name(&options.topic))
        .with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_transactional_id(None)
        .with_acks(options.acks)
        .with_timeout_ms(30_000)
        .with_topic_data(vec![data]);

    let config = ConnectionConfig::default();
    let connection = Connection::connect(&context.reactor, link.leader, &config).await?;
    let metadata = connection
        .call(&topic::metadata_request(&options.topic))
        .await?;
    for topic in &metadata.topics {
        accepted("asking for metadata", topic.error_code)?;
    }
    let timeout = connection.request_timeout();
    let answer = connection
        .call_version(&request, PRODUCE_VERSION, timeout)
        .await?;
    check_produced(&answer)?;
    Ok(template.content_bytes(1))
}
