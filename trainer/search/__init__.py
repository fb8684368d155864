"""Search of a trained supernet: its block tables and its pool."""
