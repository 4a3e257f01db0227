//! Properties of the formats on the wire and on disk.

use bytes::Bytes;
use millstream_protocol::NodeId;
use millstream_raft::{
    Entry, HardState, LOG_FORMAT_VERSION, Message, Persist, SNAPSHOT_FORMAT_VERSION, Snapshot,
    decode_persist, decode_snapshot, encode_persist, encode_snapshot,
};
use proptest::prelude::*;

fn data() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn nodes() -> impl Strategy<Value = Vec<NodeId>> {
    prop::collection::vec((0_i32..i32::MAX).prop_map(NodeId), 0..4)
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    (
        1_u64..1 << 60,
        0_u64..1 << 60,
        prop::collection::vec((0_u64..3, data()), 0..6),
    )
        .prop_map(|(mut index, mut term, steps)| {
            steps
                .into_iter()
                .map(|(later, data)| {
                    index += 1;
                    term += later;
                    Entry { term, index, data }
                })
                .collect()
        })
}

fn persist() -> impl Strategy<Value = Persist> {
    (
        any::<u64>(),
        prop::option::of((0_i32..i32::MAX).prop_map(NodeId)),
        any::<u64>(),
        entries(),
    )
        .prop_map(|(term, vote, commit, entries)| Persist {
            number: 0,
            snapshot: None,
            entries,
            hard_state: HardState { term, vote, commit },
        })
}

fn snapshot() -> impl Strategy<Value = Snapshot> {
    (1_u64..u64::MAX, any::<u64>(), nodes(), nodes(), data()).prop_map(
        |(index, term, voters, learners, data)| Snapshot {
            index,
            term,
            voters,
            learners,
            data,
        },
    )
}

proptest! {
    #[test]
    fn batches_and_snapshots_come_back_as_they_went(persist in persist(), snapshot in snapshot()) {
        let batch = decode_persist(LOG_FORMAT_VERSION, encode_persist(&persist)).expect("ours");
        prop_assert_eq!(batch.hard_state, persist.hard_state);
        prop_assert_eq!(batch.entries, persist.entries);
        let read = decode_snapshot(SNAPSHOT_FORMAT_VERSION, encode_snapshot(&snapshot));
        prop_assert_eq!(read, Ok(snapshot));
    }

    #[test]
    fn what_is_cut_short_or_too_long_is_refused(persist in persist(), snapshot in snapshot()) {
        for (bytes, is_batch) in [(encode_persist(&persist), true), (encode_snapshot(&snapshot), false)] {
            let longer = [&bytes[..], &[0]].concat();
            for wrong in (0..bytes.len()).map(|len| bytes.slice(..len)).chain([longer.into()]) {
                let refused = if is_batch {
                    decode_persist(LOG_FORMAT_VERSION, wrong).is_err()
                } else {
                    decode_snapshot(SNAPSHOT_FORMAT_VERSION, wrong).is_err()
                };
                prop_assert!(refused);
            }
        }
    }

    /// A message that is read is written back as the same bytes, so that nothing in it is lost.
    #[test]
    fn any_bytes_are_refused_or_a_whole_message(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = bytes;
        if bytes.len() > 2 {
            bytes[0] = 1;
            bytes[1] %= 12;
        }
        let bytes = Bytes::from(bytes);
        if let Ok(message) = Message::decode(bytes.clone()) {
            prop_assert_eq!(message.encode(), bytes.clone());
        }
        for version in [0, 1] {
            let _ = decode_persist(version, bytes.clone());
            let _ = decode_snapshot(version, bytes.clone());
        }
    }
}
