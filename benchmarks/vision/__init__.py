"""Benchmarks of nets of convolutions."""
