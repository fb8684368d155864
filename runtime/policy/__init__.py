"""Policy: the choice of a subnet by predicted latency and objective, and learning from each request."""
