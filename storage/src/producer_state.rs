//! What the log remembers of each idempotent producer, and the checks that follow from it.
//!
//! Pure: the same batches in the same order give the same state, on the leader, on a follower and
//! in recovery. A producer's last [`REMEMBERED_BATCHES`] batches are known, so that a repeated one
//! is answered with its first offset.

use std::collections::VecDeque;

use ahash::AHashMap;

use millstream_protocol::record_batch::{BatchHeader, increment_sequence};

/// How many batches of a producer can be recognised when they come again.
pub const REMEMBERED_BATCHES: usize = 5;

const NO_EPOCH: i16 = -1;

/// Where one batch of a producer lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchMetadata {
    /// The sequence number of its last record.
    pub last_sequence: i32,
    /// The offset of its last record.
    pub last_offset: i64,
    /// The last offset, from the first.
    pub offset_delta: i32,
    /// Its largest timestamp.
    pub timestamp: i64,
}

impl BatchMetadata {
    /// The sequence number of the first record.
    pub fn first_sequence(&self) -> i32 {
        let first = i64::from(self.last_sequence) - i64::from(self.offset_delta);
        if first >= 0 {
            first as i32
        } else {
            (first + i64::from(i32::MAX) + 1) as i32
        }
    }

    /// The offset of the first record.
    pub fn first_offset(&self) -> i64 {
        self.last_offset - i64::from(self.offset_delta)
    }
}

/// One producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerState {
    /// Its epoch.
    pub epoch: i16,
    /// Its last batches, oldest first; at most [`REMEMBERED_BATCHES`].
    pub batches: VecDeque<BatchMetadata>,
    /// The timestamp of its last append.
    pub last_timestamp: i64,
    /// The epoch of the coordinator that last ended a transaction of it, or −1.
    pub coordinator_epoch: i32,
    /// The first offset of its open transaction.
    pub current_txn_first_offset: Option<i64>,
}

impl ProducerState {
    /// The sequence number of its last record, or −1.
    pub fn last_sequence(&self) -> i32 {
        self.batches.back().map_or(-1, |batch| batch.last_sequence)
    }
}

/// What is to be done with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SequenceCheck {
    /// It is the next one.
    Append,
    /// It is in the log already, here.
    Duplicate(BatchMetadata),
    /// Its sequence number is not the next one.
    OutOfOrder {
        /// The last one known.
        last_sequence: i32,
    },
    /// Its epoch is older than the one known.
    StaleEpoch {
        /// The one known.
        last_epoch: i16,
    },
}

/// All producers of one log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProducerStates {
    producers: AHashMap<i64, ProducerState>,
}

impl ProducerStates {
    /// The producers by id.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &ProducerState)> {
        self.producers.iter().map(|(&id, state)| (id, state))
    }

    /// One producer.
    pub fn get(&self, producer_id: i64) -> Option<&ProducerState> {
        self.producers.get(&producer_id)
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    pub(crate) fn insert(&mut self, producer_id: i64, state: ProducerState) {
        self.producers.insert(producer_id, state);
    }

    /// Judges a batch that came from a client.
    pub fn check(&self, batch: &BatchHeader) -> SequenceCheck {
        let Some(state) = self.producers.get(&batch.producer_id.0) else {
            return SequenceCheck::Append;
        };
        if batch.producer_epoch == state.epoch
            && let Some(known) = state.batches.iter().find(|known| {
                known.first_sequence() == batch.base_sequence
                    && known.last_sequence == batch.last_sequence()
            })
        {
            return SequenceCheck::Duplicate(*known);
        }
        if batch.producer_epoch < state.epoch {
            return SequenceCheck::StaleEpoch {
                last_epoch: state.epoch,
            };
        }
        let last_sequence = state.last_sequence();
        let in_order = if batch.producer_epoch != state.epoch {
            batch.base_sequence == 0 || state.epoch == NO_EPOCH
        } else if last_sequence < 0 {
            batch.base_sequence == 0
        } else {
            batch.base_sequence == increment_sequence(last_sequence, 1)
        };
        if in_order {
            SequenceCheck::Append
        } else {
            SequenceCheck::OutOfOrder { last_sequence }
        }
    }

    /// Judges only the epoch, for what a coordinator writes.
    pub fn check_epoch(&self, batch: &BatchHeader) -> SequenceCheck {
        match self.producers.get(&batch.producer_id.0) {
            Some(state) if batch.producer_epoch < state.epoch => SequenceCheck::StaleEpoch {
                last_epoch: state.epoch,
            },
            _ => SequenceCheck::Append,
        }
    }

    /// Takes in a batch that is in the log now. Whether it belongs to a producer.
    pub fn update(&mut self, batch: &BatchHeader) -> bool {
        if !batch.has_producer_id() {
            return false;
        }
        let state = self
            .producers
            .entry(batch.producer_id.0)
            .or_insert_with(|| ProducerState {
                epoch: batch.producer_epoch,
                batches: VecDeque::new(),
                last_timestamp: batch.max_timestamp,
                coordinator_epoch: -1,
                current_txn_first_offset: None,
            });
        if state.epoch != batch.producer_epoch {
            state.epoch = batch.producer_epoch;
            state.batches.clear();
        }
        state.last_timestamp = batch.max_timestamp;
        if batch.attributes.is_control() {
            state.current_txn_first_offset = None;
            return true;
        }
        if state.batches.len() == REMEMBERED_BATCHES {
            state.batches.pop_front();
        }
        state.batches.push_back(BatchMetadata {
            last_sequence: batch.last_sequence(),
            last_offset: batch.last_offset().0,
            offset_delta: batch.last_offset_delta,
            timestamp: batch.max_timestamp,
        });
        if batch.attributes.is_transactional() && state.current_txn_first_offset.is_none() {
            state.current_txn_first_offset = Some(batch.base_offset.0);
        }
        true
    }

    /// Forgets producers that wrote nothing for `expiration_ms` and have no transaction open.
    /// Whether any went.
    pub fn expire(&mut self, now_ms: i64, expiration_ms: i64) -> bool {
        let before = self.producers.len();
        self.producers.retain(|_, state| {
            state.current_txn_first_offset.is_some()
                || now_ms.saturating_sub(state.last_timestamp) < expiration_ms
        });
        self.producers.len() != before
    }
}

#[cfg(test)]
mod tests {
    use millstream_protocol::record_batch::BatchAttributes;
    use millstream_protocol::{LeaderEpoch, Offset, ProducerId};

    use super::*;

    fn header(base_offset: i64, count: i32, epoch: i16, sequence: i32) -> BatchHeader {
        BatchHeader {
            base_offset: Offset(base_offset),
            batch_length: 49,
            partition_leader_epoch: LeaderEpoch(0),
            crc: 0,
            attributes: BatchAttributes(0),
            last_offset_delta: count - 1,
            base_timestamp: 1_000,
            max_timestamp: 1_000,
            producer_id: ProducerId(9),
            producer_epoch: epoch,
            base_sequence: sequence,
            records_count: count,
        }
    }

    fn appended(states: &mut ProducerStates, batch: BatchHeader) {
        assert_eq!(states.check(&batch), SequenceCheck::Append, "{batch:?}");
        states.update(&batch);
    }

    #[test]
    fn the_last_five_batches_are_recognised() {
        let mut states = ProducerStates::default();
        for index in 0..6 {
            appended(&mut states, header(i64::from(index) * 2, 2, 0, index * 2));
        }
        for index in 1..6 {
            let SequenceCheck::Duplicate(known) = states.check(&header(100, 2, 0, index * 2))
            else {
                panic!("batch {index} is not recognised");
            };
            assert_eq!(known.first_offset(), i64::from(index) * 2);
        }
        assert_eq!(
            states.check(&header(100, 2, 0, 0)),
            SequenceCheck::OutOfOrder { last_sequence: 11 }
        );
        // The same start with another length is not the same batch.
        assert_eq!(
            states.check(&header(100, 1, 0, 10)),
            SequenceCheck::OutOfOrder { last_sequence: 11 }
        );
    }

    #[test]
    fn epochs() {
        let mut states = ProducerStates::default();
        appended(&mut states, header(0, 1, 3, 7));
        assert_eq!(
            states.check(&header(1, 1, 2, 8)),
            SequenceCheck::StaleEpoch { last_epoch: 3 }
        );
        assert_eq!(
            states.check(&header(1, 1, 4, 8)),
            SequenceCheck::OutOfOrder { last_sequence: 7 }
        );
        appended(&mut states, header(1, 1, 4, 0));
        assert_eq!(states.get(9).expect("known").batches.len(), 1);
    }

    #[test]
    fn a_producer_that_had_no_epoch_goes_on_at_any_sequence() {
        let mut states = ProducerStates::default();
        states.update(&header(0, 1, NO_EPOCH, -1));
        assert_eq!(states.get(9).expect("known").epoch, -1);
        appended(&mut states, header(1, 1, 0, 55));
        assert_eq!(
            states.check(&header(2, 1, 1, 56)),
            SequenceCheck::OutOfOrder { last_sequence: 55 }
        );
    }

    #[test]
    fn sequences_wrap() {
        let mut states = ProducerStates::default();
        appended(&mut states, header(0, 3, 0, i32::MAX - 1));
        assert!(matches!(
            states.check(&header(3, 3, 0, i32::MAX - 1)),
            SequenceCheck::Duplicate(_)
        ));
        appended(&mut states, header(3, 1, 0, 1));
        let mut states = ProducerStates::default();
        appended(&mut states, header(0, 1, 0, i32::MAX));
        appended(&mut states, header(1, 1, 0, 0));
    }

    #[test]
    fn after_the_end_of_a_transaction_alone_the_first_sequence_is_zero() {
        let mut states = ProducerStates::default();
        let mut marker = header(0, 1, 3, -1);
        marker.attributes = BatchAttributes(0).with_control(true);
        states.update(&marker);
        assert_eq!(states.get(9).expect("known").last_sequence(), -1);
        assert_eq!(
            states.check(&header(1, 1, 3, 2)),
            SequenceCheck::OutOfOrder { last_sequence: -1 }
        );
        appended(&mut states, header(1, 1, 3, 0));
    }

    #[test]
    fn idle_producers_are_forgotten() {
        let mut states = ProducerStates::default();
        appended(&mut states, header(0, 1, 0, 0));
        assert!(!states.expire(1_999, 1_000));
        assert!(states.expire(2_000, 1_000));
        // Without state any sequence is taken.
        appended(&mut states, header(1, 1, 0, 55));
    }
}
