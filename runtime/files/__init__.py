"""Files written atomically, and the cache directory."""
