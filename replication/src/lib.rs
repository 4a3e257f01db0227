//! One partition as its leader sees it, pure: who is in sync, how far the high watermark is, and
//! which producers may be answered.

mod partition;

pub use partition::{Acks, Leadership, Partition, PartitionOutput, ProduceRefusal, WaitId};
