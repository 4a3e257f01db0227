//! The broker's integration tests, in one binary.

mod administering;
mod bad_input;
mod compatibility;
mod configuring;
mod groups;
mod harness;
mod observing;
mod producing;
mod reading;
mod startup;
mod startup_process;
mod tidy;
mod whole_node;
