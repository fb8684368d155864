"""The demo: spoken commands, and a model that changes size while it serves them."""
