//! Newtypes for the numbers of the protocol, so that an offset cannot pass for an epoch.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> $name {
                $name(value)
            }
        }

        impl From<$name> for $inner {
            fn from(value: $name) -> $inner {
                value.0
            }
        }
    };
}

id! {
    /// A broker or controller.
    NodeId(i32)
}
id! {
    /// A partition's number within its topic, from 0.
    PartitionIndex(i32)
}
id! {
    /// The position of a record in a partition's log. Not a position in a file.
    Offset(i64)
}
id! {
    /// The term of a partition's leader; −1 when unknown.
    LeaderEpoch(i32)
}
id! {
    /// An idempotent or transactional producer; −1 when there is none.
    ProducerId(i64)
}
id! {
    /// A topic's identity, which a topic made again under the same name does not share.
    TopicId(uuid::Uuid)
}

impl Offset {
    /// The offset `count` records further on.
    pub fn plus(self, count: i64) -> Offset {
        Offset(self.0 + count)
    }

    /// The offset after this one.
    pub fn next(self) -> Offset {
        self.plus(1)
    }
}

impl LeaderEpoch {
    /// No epoch is known.
    pub const NONE: LeaderEpoch = LeaderEpoch(-1);
}

impl ProducerId {
    /// The batch has no producer id.
    pub const NONE: ProducerId = ProducerId(-1);
}

/// A partition, by its topic's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition within it.
    pub partition: PartitionIndex,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_counted_one_after_another() {
        assert_eq!(Offset(0).next(), Offset(1));
        assert_eq!(Offset(41).next().next(), Offset(41).plus(2));
        assert_eq!(Offset(7).plus(0), Offset(7));
    }
}
