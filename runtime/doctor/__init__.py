"""Checks this device, for `gearshift doctor`. The engine never imports it."""
