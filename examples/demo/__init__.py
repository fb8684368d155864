"""The demo: spoken commands, and a model that switches subnets while it serves them."""
