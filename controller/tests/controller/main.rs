//! The controller's decisions, one request at a time, and how they reach the log.

mod brokers;
mod configs;
mod leading;
mod partitions;
mod topics;
mod world;
