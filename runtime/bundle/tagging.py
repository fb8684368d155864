"""Tagging: what a bundle of token classification knows of its words and their tags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from gearshift.runtime.bundle.tag_schemes import Scheme
from gearshift.runtime.bundle.words import WordRule


@dataclass(frozen=True)
class Tagging:
    """Rule of the words that are tagged, and scheme of their tags."""

    words: WordRule
    scheme: Scheme

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON."""
        return {"words": self.words.to_dict(), "scheme": self.scheme.to_dict()}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Self:
        """Read the tagging that `to_dict` wrote."""
        return cls(WordRule.from_dict(raw["words"]), Scheme.from_dict(raw["scheme"]))
