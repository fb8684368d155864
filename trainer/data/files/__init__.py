"""Readers of data files: bytes to text, and text to records, for each format."""
