//! The broker's integration tests, in one binary.

mod administering;
mod administering_groups;
mod administering_partitions;
mod bad_input;
mod compatibility;
mod configuring;
mod deleting_records;
mod describing;
mod differences;
mod groups;
mod harness;
mod observing;
mod producing;
mod reading;
mod startup;
mod startup_process;
mod tidy;
mod whole_node;
