"""Packed-weight cache: graphs kept with their weights as this CPU multiplies them, and what is checked of them."""
