"""Checks of this device, for `gearshift doctor`. The engine never imports it."""
