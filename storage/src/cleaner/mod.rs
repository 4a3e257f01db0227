//! Compaction: of each key the last record stays, and of a deleted key nothing in the end.
//!
//! `schedule` picks the dirtiest log of a shard, `dirty_range` says what of a log may be cleaned,
//! `cleaning` reads the dirty part into a `key_map` and writes segments anew through the
//! `batch_filter`, `swap` puts them in the place of the old ones.

mod batch_filter;
mod cleaning;
mod dirty_range;
mod key_map;
mod schedule;
mod swap;

pub(crate) use schedule::clean_regularly;
pub(crate) use swap::settle_swaps;
