"""Measures a bundle on this device for `gearshift bench`. The engine never imports it."""
