"""A disk that stands still, under mixed load, must hold up what waits for it and nothing else."""
