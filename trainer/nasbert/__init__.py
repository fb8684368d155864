"""NAS-BERT: searches nets of mixed operations block by block, and trains those that are picked."""
