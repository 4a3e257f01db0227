"""The driver of scripts/compat: brokers, agents, scenarios and the report."""
