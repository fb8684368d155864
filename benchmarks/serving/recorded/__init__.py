"""Recorded traces: how fast a real machine worked while other programs ran, and when real requests came."""
