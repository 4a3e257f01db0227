//! Fetches: the sessions that spare clients repeating themselves, and the wait for records.

mod session;
mod wait;

pub use session::{FetchContext, FetchNews, FetchSessions, FetchWant, PartitionRef, TopicRef};
pub use wait::{FetchLimits, fetch_or_wait};
