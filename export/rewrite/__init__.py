"""Rewrites of finished graphs: fewer options, joined segments, one classified token."""
