//! The broker's integration tests, in one binary.

mod compatibility;
mod tidy;
