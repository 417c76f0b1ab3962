"""What many workers bring and what the driver can feed: ``python -m benchmarks.scaling``."""
