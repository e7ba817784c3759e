"""Carrying the project to a machine without a connection: ``collect`` packs, ``install`` unpacks.

``install`` is copied into every bundle and runs there by itself: standard library only.
"""
