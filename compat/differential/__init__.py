"""The same requests to Apache Kafka and to Millstream, and their answers held side by side."""
