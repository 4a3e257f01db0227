//! Record batches of format version 2, as they lie on the wire and on disk.
//!
//! ```text
//! base offset i64 | length i32 | leader epoch i32 | magic i8 = 2 | crc u32
//! attributes i16 | last offset delta i32 | base timestamp i64 | max timestamp i64
//! producer id i64 | producer epoch i16 | base sequence i32 | records count i32 | records
//! ```
//!
//! `length` counts what follows it. The CRC-32C covers attributes to the end, so the base offset
//! and the leader epoch change without it. Attributes: bits 0–2 codec, 3 timestamp type
//! (1 = log append time), 4 transactional, 5 control, 6 the base timestamp is a delete horizon.

mod builder;
mod header;
mod records;
mod view;

pub use builder::{BatchBuilder, ControlType, control_batch};
pub use header::{BatchAttributes, BatchError, BatchHeader, TimestampType, increment_sequence};
pub use records::{Headers, Record, RecordHeader, RecordOutline, RecordsError, RecordsIter};
pub use view::{BatchView, Batches, patch_base_offset, patch_leader_epoch};
