"""The bundle on disk: manifest with its digest, files with their hashes, tasks, words and tags, compressed form,
signatures."""
