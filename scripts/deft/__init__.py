"""The DEFT AOI loop as plain, typed functions: no Snakemake import, no global state."""

__version__ = "0.1.0"
