//! The admin command against whole simulated nodes, in one binary.

mod cluster;
mod configs;
mod groups;
mod harness;
mod records;
mod topics;
