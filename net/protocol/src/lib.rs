//! Kafka's wire protocol and record formats, pure.
