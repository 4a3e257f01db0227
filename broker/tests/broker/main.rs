//! The broker's integration tests, in one binary.

mod compatibility;
mod harness;
mod tidy;
mod whole_node;
