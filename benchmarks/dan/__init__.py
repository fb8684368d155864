"""Figures of a DAN: accuracy, speed, cascade, overload."""
