"""Vectors of pictures: encoders, cache, shards."""
