"""Tests of `gearshift.runtime.reading`."""
