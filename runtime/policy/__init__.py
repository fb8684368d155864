"""The choice of a subnet: predicted latency, objective, and what is learnt from each request."""
