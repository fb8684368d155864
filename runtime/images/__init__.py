"""Images: read from files, and prepared for a net."""
