"""The checks that every part of a device profile makes of what it is given."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gearshift.errors import ProfileError
from gearshift.number_checks import is_finite


def require(holds: bool, message: str) -> None:
    """Raise ProfileError with that message where it does not hold."""
    if not holds:
        raise ProfileError(message)


def positive(value: object) -> bool:
    """Whether this is a finite number above 0."""
    return is_finite(value) and value > 0


def check_date(text: str) -> None:
    """Raise ProfileError for what is no ISO 8601."""
    try:
        datetime.fromisoformat(text)
    except ValueError as error:
        raise ProfileError(f"date: expected ISO 8601, such as 2026-01-31, found {text!r}") from error


def check_names(what: str, raw: Mapping[str, Any], expected: set[str]) -> None:
    """Raise ProfileError where fields are missing or unknown."""
    odd = sorted(raw.keys() ^ expected)
    require(not odd, f"{what}: expected the fields {sorted(expected)}; missing or unknown: {odd}")


def mapping(what: str, raw: object) -> Mapping[str, Any]:
    """A JSON object as it is; raises ProfileError for anything else."""
    if not isinstance(raw, dict):
        raise ProfileError(f"{what}: expected a JSON object, found a {type(raw).__name__}")
    return raw


def listed(what: str, raw: object) -> tuple[Any, ...]:
    """A JSON list as a tuple; raises ProfileError for anything else."""
    if not isinstance(raw, list):
        raise ProfileError(f"{what}: expected a list, found a {type(raw).__name__}")
    return tuple(raw)
