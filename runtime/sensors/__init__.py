"""Signals of the machine, and the caps on subnets that they ask for."""
