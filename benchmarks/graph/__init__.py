"""Figures of the elastic graph: latency against rivals, memory, load, switching, export."""
