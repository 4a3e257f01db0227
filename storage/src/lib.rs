//! One partition's log on disk, byte for byte in Kafka's layout.
