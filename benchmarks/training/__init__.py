"""Figures of training: accuracy of the subnets, its speed, pruning, search, small downloads."""
