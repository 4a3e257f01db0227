//! The topic that is measured: made if it is not there, with versions of the calls that Kafka 2.1
//! and later have and that name topics by name.

use std::time::Duration;

use millstream_client::Connection;
use millstream_protocol::StrBytes;
use millstream_protocol::messages::create_topics_request::CreatableTopic;
use millstream_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use millstream_protocol::messages::{
    CreateTopicsRequest, ListOffsetsRequest, ProduceResponse, TopicName,
};
use millstream_reactor::Reactor;

use crate::failure::{Failure, accepted};

/// What records are produced with.
pub const PRODUCE_VERSION: i16 = 7;
const CREATE_TOPICS_VERSION: i16 = 2;
const LIST_OFFSETS_VERSION: i16 = 2;
const TOPIC_EXISTS: i16 = 36;
/// How often, and after what pauses, a new topic is looked for.
const LEADER_TRIES: u32 = 1000;
const LEADER_PAUSE: Duration = Duration::from_millis(10);

/// Makes the topic if it is not there.
pub async fn create(connection: &Connection, topic: &str, partitions: i32) -> Result<(), Failure> {
    let topic = CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(partitions)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(30_000);
    let timeout = connection.request_timeout();
    let answer = connection
        .call_version(&request, CREATE_TOPICS_VERSION, timeout)
        .await?;
    match answer.topics[0].error_code {
        TOPIC_EXISTS => Ok(()),
        code => accepted("creating the topic", code),
    }
}

/// Where the log of a partition ends. A new topic may take a moment to have a leader.
pub async fn end_offset(
    reactor: &Reactor,
    connection: &Connection,
    topic: &str,
    partition: i32,
) -> Result<i64, Failure> {
    let wanted = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_timestamp(-1);
    let topic = ListOffsetsTopic::default()
        .with_name(name(topic))
        .with_partitions(vec![wanted]);
    let request = ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_topics(vec![topic]);
    let timeout = connection.request_timeout();
    let mut code = -1;
    for _ in 0..LEADER_TRIES {
        let answer = connection
            .call_version(&request, LIST_OFFSETS_VERSION, timeout)
            .await?;
        let partition = &answer.topics[0].partitions[0];
        code = partition.error_code;
        if code == 0 {
            return Ok(partition.offset);
        }
        reactor.sleep(LEADER_PAUSE).await;
    }
    accepted("looking for the end of the topic", code).map(|()| 0)
}

/// The topic as messages name it.
pub fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

/// Whether a request for one partition was taken.
pub fn check_produced(answer: &ProduceResponse) -> Result<(), Failure> {
    let partition = &answer.responses[0].partition_responses[0];
    accepted("producing", partition.error_code)
}
