"""Block tables, and the best subnet within limits (look-up). The engine never imports it."""
