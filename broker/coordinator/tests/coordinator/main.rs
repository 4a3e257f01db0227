//! The coordinator as its callers see it: transcripts of every rule, and random histories.

mod bench;
mod committing;
mod joining;
mod loading;
mod losing_writes;
mod random_histories;
mod routing;
mod static_members;
mod syncing;
mod transcript;
