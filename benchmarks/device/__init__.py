"""Figures of measuring a device: predicted against measured latency, contention, loads."""
