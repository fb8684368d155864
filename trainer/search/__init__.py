"""Block tables and a pool of a trained supernet."""
