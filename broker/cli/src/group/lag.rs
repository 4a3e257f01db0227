//! How far a group is behind: in records, and in time.
//!
//! Behind in time is how long ago the first record was written that the group has not read. So it
//! is asked of the records themselves, once for each partition that is behind.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_client::{
    Client, ClientError, Consumer, ConsumerConfig, NamedPartition, OffsetSpec, StartPosition,
};

/// How much of a partition is asked for: its first batch comes whole, whatever it measures.
const PARTITION_MAX_BYTES: i32 = 16 * 1024;
/// How long the records are waited for. What has not come by then has no known age.
const PATIENCE: Duration = Duration::from_secs(5);

/// The time of the first record at or after each offset, in milliseconds since the epoch; left out
/// where none was found.
pub async fn record_times(
    client: &Client,
    offsets: &BTreeMap<NamedPartition, i64>,
) -> Result<BTreeMap<NamedPartition, i64>, ClientError> {
    let mut found: BTreeMap<NamedPartition, i64> = BTreeMap::new();
    let mut left = offsets.clone();
    let config = ConsumerConfig {
        // A group may be held up by a transaction: that is a lag too.
        read_committed: false,
        fetch_max_wait: Duration::from_millis(100),
        partition_max_bytes: PARTITION_MAX_BYTES,
        // Records may be deleted meanwhile.
        offset_reset: Some(OffsetSpec::Earliest),
        ..ConsumerConfig::default()
    };
    let mut consumer = Consumer::new(client.clone(), config);
    let reactor = client.reactor();
    let deadline = reactor.now() + PATIENCE;
    while !left.is_empty() {
        let now = reactor.now();
        if now >= deadline {
            break;
        }
        let starts = left.iter();
        consumer.assign(
            starts.map(|(partition, offset)| (partition.clone(), StartPosition::Offset(*offset))),
        );
        let records = consumer.poll(deadline - now).await?;
        for record in records {
            let partition = (record.topic, record.partition);
            if left.remove(&partition).is_some() {
                found.insert(partition, record.timestamp);
            }
        }
    }
    Ok(found)
}
