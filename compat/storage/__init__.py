"""`scripts/compat storage`: Millstream's files and compaction beside Apache Kafka's."""
