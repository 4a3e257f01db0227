//! `millstream-bench load`: a load on a broker, and what it took on both sides.
//!
//! The main thread reads the options into a [`plan`], prepares the [`topic`], starts a reactor on
//! each core and gives each its share of the connections; every core waits for one common start.
//! There is one engine for producers and one for consumers; workloads differ in what they start
//! and in their defaults. So that the load is cheaper for each byte than the broker, batches are
//! prepared once and sent again from the same memory, and answers are read into memory that is
//! used again.

mod batch;
mod churn;
mod consumer;

mod fetch_session;
mod options;
mod outcome;
mod pace;
mod payload;
mod plan;
mod process;
mod produce_frame;
mod producer;
mod progress;
mod run;
mod shared;
mod size;
mod stamp;
mod tally;
mod topic;
mod window;
mod wire;
mod worker;

pub use options::Options;
pub use run::run;
