//! Decides on topics, brokers, configurations and producer ids. Pure.
