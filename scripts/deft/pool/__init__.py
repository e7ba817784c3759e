"""The source pool and the pre-generated pairs."""
