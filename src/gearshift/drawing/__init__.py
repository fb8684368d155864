"""Charts, tables and pages of measurements."""
