"""Kills a broker under load, again and again, and holds what it keeps against what it said."""
