"""Encoders: one picture to one vector, comparable whenever two digests are equal."""
