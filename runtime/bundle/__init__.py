"""The bundle on disk: manifest, files with their hashes, tasks, compressed form."""
