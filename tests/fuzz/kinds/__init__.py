"""Kinds of cases, a file each."""
