"""The bundle on disk: manifest, files with their hashes, tasks, words and tags, compressed form."""
