"""Neighbours: exact and approximate search, strategies."""
