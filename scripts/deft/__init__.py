"""The DEFT AOI loop as plain, typed functions: no Snakemake import, no global state."""

from deft.core import airgap

__version__ = "0.1.0"

airgap.enforce()
