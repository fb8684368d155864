"""Data files: which ones a folder has, and the readers of each format, from bytes to records."""
