//! The broker's integration tests, in one binary.

mod administering;
mod administering_groups;
mod administering_partitions;
mod bad_input;
mod compacting;
mod compatibility;
mod configuring;
mod deleting_records;
mod describing;
mod differences;
mod full_disk;
mod groups;
mod guide;
mod harness;
mod observing;
mod packaging;
mod producing;
mod reading;
mod service_manager;
mod startup;
mod startup_process;
mod tidy;
mod timestamps;
mod whole_node;
