"""Figures of the engine: policies in the simulator and on this machine, cost of a decision, a soak."""
