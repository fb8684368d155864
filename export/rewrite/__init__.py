"""Rewrites of finished graphs: fewer options, joined files, one classified token."""
