"""The elastic graph: segments, operators, options and heads."""
