"""The combined training table, and its validation."""
