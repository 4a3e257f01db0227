"""A long run of mixed load, under which nothing may grow."""
