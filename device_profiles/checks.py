"""Checks of values, shared by all parts of a device profile."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gearshift.errors import ProfileError
from gearshift.number_checks import is_finite


def require(holds: bool, message: str) -> None:
    """Raise ProfileError with `message` unless `holds`."""
    if not holds:
        raise ProfileError(message)


def positive(value: object) -> bool:
    """Return whether a value is a finite number above 0."""
    return is_finite(value) and value > 0


def check_date(text: str) -> None:
    """Raise ProfileError unless a text is an ISO 8601 date."""
    try:
        datetime.fromisoformat(text)
    except ValueError as error:
        raise ProfileError(f"date: expected ISO 8601, such as 2026-01-31, found {text!r}") from error


def check_names(what: str, raw: Mapping[str, Any], expected: set[str]) -> None:
    """Raise ProfileError if fields are missing or unknown."""
    odd = sorted(raw.keys() ^ expected)
    require(not odd, f"{what}: expected the fields {sorted(expected)}; missing or unknown: {odd}")


def mapping(what: str, raw: object) -> Mapping[str, Any]:
    """Return a JSON object unchanged; raise ProfileError for anything else."""
    if not isinstance(raw, dict):
        raise ProfileError(f"{what}: expected a JSON object, found a {type(raw).__name__}")
    return raw


def listed(what: str, raw: object) -> tuple[Any, ...]:
    """Return a JSON list as a tuple; raise ProfileError for anything else."""
    if not isinstance(raw, list):
        raise ProfileError(f"{what}: expected a list, found a {type(raw).__name__}")
    return tuple(raw)
