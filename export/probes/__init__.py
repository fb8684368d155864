"""Graphs made only to be timed: operators of a device, operations of a search."""
