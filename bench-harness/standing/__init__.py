"""Measures Millstream beside Apache Kafka."""
