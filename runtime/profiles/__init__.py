"""Latency tables of this device: found, measured at load, kept."""
