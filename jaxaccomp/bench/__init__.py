"""Throughput against the machine's own peak: `python -m jaxaccomp bench`."""
