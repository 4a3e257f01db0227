//! Records as they go in and come out.

use std::rc::Rc;

use bytes::Bytes;

/// A record to be produced.
#[derive(Debug, Clone, Default)]
pub struct ProducerRecord {
    /// The topic.
    pub topic: Rc<str>,
    /// The partition; if not given, the key decides, and without a key the producer.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; none deletes the key in a compacted topic.
    pub value: Option<Bytes>,
    /// The headers.
    pub headers: Vec<(String, Option<Bytes>)>,
    /// Milliseconds since the epoch; now, if not given.
    pub timestamp: Option<i64>,
}

/// Where a record has ended up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordMetadata {
    /// The topic.
    pub topic: Rc<str>,
    /// The partition.
    pub partition: i32,
    /// Its offset; −1 when acks=0 was asked for.
    pub offset: i64,
    /// Its timestamp, the broker's where the topic says so.
    pub timestamp: i64,
}

/// A record that was consumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerRecord {
    /// The topic.
    pub topic: Rc<str>,
    /// The partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    /// The term of the leader that appended it.
    pub leader_epoch: i32,
    /// The key.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Option<Bytes>,
    /// The headers.
    pub headers: Vec<(String, Option<Bytes>)>,
}
