//! The broker's integration tests, in one binary.

mod compatibility;
mod harness;
mod producing;
mod reading;
mod tidy;
mod whole_node;
