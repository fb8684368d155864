"""One line of what the doctor found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """One fact about the device, and what to do about it."""

    level: Level
    subject: str
    text: str
    advice: str = ""
    """Empty where there is nothing to do."""
