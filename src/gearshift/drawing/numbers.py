"""Formatting of numbers for readers."""

from __future__ import annotations


def millions(number: int) -> str:
    """Format a count, such as 12.3 M."""
    return f"{number / 1e6:.1f} M" if number >= 1e6 else f"{number / 1e6:.3f} M"


def percent(share: float | None, digits: int = 1) -> str:
    """Format a share, such as 98.3 %; a dash if it is unknown."""
    return "-" if share is None or share != share else f"{100 * share:.{digits}f} %"


def milliseconds(value: float) -> str:
    """Format a time in ms, such as 0.45, 4.51, 45.1 or 451."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"
