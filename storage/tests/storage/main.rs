//! The log on the simulated disk: crashes, reading, faults, damage, Kafka's formats.

mod appending;
mod buffered;
mod checkpoints;
mod compaction;
mod crash;
mod damage;
mod faults;
mod formats;
mod harness;
mod lifecycle;
mod logging;
mod reading;
mod recovering;
mod retention;
mod sharing;
mod time_lookup;
mod truncating;
mod writing;
