//! How the protocol's ids are laid out inside an archive: as their bare numbers.

use millstream_protocol::{LeaderEpoch, NodeId, PartitionIndex, ProducerId, TopicId};
use rkyv::{Archive, Deserialize, Serialize};
use uuid::Uuid;

macro_rules! bare {
    ($archive:ident, $id:ty, $inner:ty) => {
        #[derive(Archive, Serialize, Deserialize)]
        #[rkyv(remote = $id)]
        pub(crate) struct $archive(pub(crate) $inner);

        impl From<$archive> for $id {
            fn from(value: $archive) -> $id {
                <$id>::from(value.0)
            }
        }
    };
}

bare!(NodeIdArchive, NodeId, i32);
bare!(PartitionIndexArchive, PartitionIndex, i32);
bare!(LeaderEpochArchive, LeaderEpoch, i32);
bare!(ProducerIdArchive, ProducerId, i64);

/// A topic's id as the 16 bytes of its uuid.
#[derive(Archive, Serialize, Deserialize)]
#[rkyv(remote = TopicId)]
pub(crate) struct TopicIdArchive(#[rkyv(getter = topic_id_bytes)] pub(crate) [u8; 16]);

fn topic_id_bytes(id: &TopicId) -> [u8; 16] {
    *id.0.as_bytes()
}

impl From<TopicIdArchive> for TopicId {
    fn from(value: TopicIdArchive) -> TopicId {
        TopicId(Uuid::from_bytes(value.0))
    }
}

/// A uuid as its 16 bytes.
#[derive(Archive, Serialize, Deserialize)]
#[rkyv(remote = Uuid)]
pub(crate) struct UuidArchive {
    #[rkyv(getter = uuid_bytes)]
    pub(crate) bytes: [u8; 16],
}

fn uuid_bytes(id: &Uuid) -> [u8; 16] {
    *id.as_bytes()
}

impl From<UuidArchive> for Uuid {
    fn from(value: UuidArchive) -> Uuid {
        Uuid::from_bytes(value.bytes)
    }
}
