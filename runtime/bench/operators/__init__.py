"""Costs of single operators on this device, and predictions from them."""
