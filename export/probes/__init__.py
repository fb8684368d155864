"""Graphs that are only timed: operators of a device, operations of a search."""
