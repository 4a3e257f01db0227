//! A small Kafka client, shared by all that speak Kafka as a client.
