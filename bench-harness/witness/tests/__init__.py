"""Tests of the witnesses, with what Kafka's tools did print."""
