"""Elastic graph: segments, operators, options and heads."""
