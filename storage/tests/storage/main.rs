//! The log on the simulated disk: crashes, reading, faults, damage, Kafka's formats.

mod buffered;
mod compaction;
mod crash;
mod damage;
mod faults;
mod formats;
mod harness;
mod lifecycle;
mod reading;
mod retention;
