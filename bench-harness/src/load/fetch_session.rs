//! An incremental fetch session (KIP-227): after the first request only the partitions whose
//! offset has moved are named, and the broker answers with those that have something to say.
//!
//! A broker that gives no session is asked for all partitions each time.

use millstream_protocol::ErrorCode;
use millstream_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use millstream_protocol::messages::{FetchRequest, TopicName};

/// A version that Kafka 2.1 and later have, and that names topics by name.
pub const FETCH_VERSION: i16 = 10;
/// How long the broker may wait for the first byte.
const WAIT_MAX_MS: i32 = 500;

/// What is asked for, and how far reading has come.
pub struct FetchSession {
    topic: TopicName,
    fetch_bytes: i32,
    partition_bytes: i32,
    id: i32,
    epoch: i32,
    /// By number.
    positions: Vec<Position>,
}

struct Position {
    partition: i32,
    next: i64,
    /// Whether the broker knows `next`.
    told: bool,
}

impl FetchSession {
    /// A session that reads from the given offsets on.
    pub fn new(
        topic: TopicName,
        (fetch_bytes, partition_bytes): (u32, u32),
        offsets: impl IntoIterator<Item = (i32, i64)>,
    ) -> FetchSession {
        let mut positions: Vec<Position> = offsets
            .into_iter()
            .map(|(partition, next)| Position {
                partition,
                next,
                told: false,
            })
            .collect();
        positions.sort_by_key(|position| position.partition);
        FetchSession {
            topic,
            fetch_bytes: i32::try_from(fetch_bytes).unwrap_or(i32::MAX),
            partition_bytes: i32::try_from(partition_bytes).unwrap_or(i32::MAX),
            id: 0,
            epoch: 0,
            positions,
        }
    }

    /// The next request.
    pub fn request(&mut self) -> FetchRequest {
        let all = self.id == 0;
        let partitions = self
            .positions
            .iter_mut()
            .filter(|position| all || !position.told)
            .map(|position| {
                position.told = true;
                FetchPartition::default()
                    .with_partition(position.partition)
                    .with_fetch_offset(position.next)
                    .with_current_leader_epoch(-1)
                    .with_partition_max_bytes(self.partition_bytes)
            });
        let partitions: Vec<FetchPartition> = partitions.collect();
        let mut topics = Vec::new();
        if !partitions.is_empty() {
            let topic = FetchTopic::default().with_topic(self.topic.clone());
            topics.push(topic.with_partitions(partitions));
        }
        FetchRequest::default()
            .with_replica_id((-1).into())
            .with_max_wait_ms(WAIT_MAX_MS)
            .with_min_bytes(1)
            .with_max_bytes(self.fetch_bytes)
            .with_session_id(self.id)
            .with_session_epoch(self.epoch)
            .with_topics(topics)
    }

    /// Takes the head of an answer. Says whether it may be read on; otherwise the broker has
    /// forgotten the session, and the next request begins another.
    pub fn answered(&mut self, error_code: i16, id: i32) -> bool {
        let forgotten = [
            ErrorCode::FetchSessionIdNotFound.code(),
            ErrorCode::InvalidFetchSessionEpoch.code(),
        ];
        if forgotten.contains(&error_code) {
            (self.id, self.epoch) = (0, 0);
            return false;
        }
        self.id = id;
        self.epoch = match id {
            0 => 0,
            _ => self.epoch.checked_add(1).unwrap_or(1),
        };
        true
    }

    /// The offset that is read next.
    pub fn next(&self, partition: i32) -> Option<i64> {
        let at = self.find(partition)?;
        Some(self.positions[at].next)
    }

    /// Reads on from another offset.
    pub fn seek(&mut self, partition: i32, offset: i64) {
        if let Some(at) = self.find(partition) {
            self.positions[at].next = offset;
            self.positions[at].told = false;
        }
    }

    fn find(&self, partition: i32) -> Option<usize> {
        self.positions
            .binary_search_by_key(&partition, |position| position.partition)
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::topic;

    fn asked(session: &mut FetchSession) -> Vec<(i32, i64)> {
        let request = session.request();
        let topics = request.topics.iter().flat_map(|topic| &topic.partitions);
        topics
            .map(|partition| (partition.partition, partition.fetch_offset))
            .collect()
    }

    #[test]
    fn only_what_has_moved_is_asked_for_again() {
        let offsets = [(2, 20), (0, 5), (1, 10)];
        let mut session = FetchSession::new(topic::name("orders"), (100, 10), offsets);
        assert_eq!(asked(&mut session), [(0, 5), (1, 10), (2, 20)]);
        assert!(session.answered(0, 77));
        session.seek(1, 11);
        let request = session.request();
        assert_eq!((request.session_id, request.session_epoch), (77, 1));
        assert_eq!(request.topics[0].partitions[0].fetch_offset, 11);
        assert_eq!(request.topics[0].partitions.len(), 1);
        assert!(session.answered(0, 77));
        assert_eq!(asked(&mut session), []);
        assert_eq!((session.next(1), session.next(3)), (Some(11), None));
    }

    #[test]
    fn a_forgotten_session_begins_again_with_everything() {
        let mut session = FetchSession::new(topic::name("orders"), (100, 10), [(0, 5), (1, 10)]);
        session.request();
        assert!(session.answered(0, 77));
        session.seek(0, 6);
        session.request();
        assert!(!session.answered(ErrorCode::FetchSessionIdNotFound.code(), 0));
        let request = session.request();
        assert_eq!((request.session_id, request.session_epoch), (0, 0));
        assert_eq!(request.topics[0].partitions.len(), 2);
        // This broker gives no sessions.
        assert!(session.answered(0, 0));
        assert_eq!(asked(&mut session), [(0, 6), (1, 10)]);
    }
}
