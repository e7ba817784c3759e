"""The stages: each reads files of the run, calls the library, writes the contract's files.

A step returns the one-line summary of the loop log. Command lines stand in ``scripts/``.
"""
