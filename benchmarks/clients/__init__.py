"""Benchmarks of the clients in other languages."""
