"""A run's record for a paper: plain Python without a package, so that a scaffolded project can
carry a copy of this folder."""
