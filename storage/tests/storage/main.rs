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
mod truncating;
mod sharing;
mod writing;
mod time_lookup;
