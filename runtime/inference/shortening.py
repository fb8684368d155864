"""Cutting of a text to the characters that can fit the model, before anything is made of the rest.

Time and memory follow from the number of characters that are kept, however long the text is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

BLOCK = 1 << 14
"""Characters that are looked at at once."""


@dataclass(frozen=True)
class Shortened:
    """Part of a text that can fit the model."""

    text: str
    cut: bool = False
    """Whether the rest was cut off."""
    start: int = 0
    """Place of the part in the text, where its blanks are as they were."""


def shortened(
    text: str, longest: int, *, prompt: str = "", keeps_places: bool = False, cuts_beginning: bool = False
) -> Shortened:
    """Cut a text with `prompt` before it to `longest` characters, at its beginning if `cuts_beginning`.

    Unless places matter, each run of blanks counts as one, so that it does not use up the characters; a text that is
    short enough stays as it is.
    """
    if len(prompt) + len(text) <= longest:
        return Shortened(prompt + text)
    if keeps_places:
        start = len(text) - longest if cuts_beginning else 0
        return Shortened(text[start : start + longest], cut=True, start=start)
    blocks = _blocks_from_end(prompt, text) if cuts_beginning else _blocks(prompt, text)
    kept = ""
    for block in blocks:
        joined = _single_blanks(kept + block if not cuts_beginning else block + kept)
        if len(joined.strip()) > longest:
            joined = joined.strip()
            return Shortened(joined[-longest:] if cuts_beginning else joined[:longest], cut=True)
        kept = joined
    return Shortened(kept.strip())


def _single_blanks(text: str) -> str:
    """Replace each run of blanks by one, also at the ends, where the next block may go on with a word."""
    before, behind = " " * text[:1].isspace(), " " * text[-1:].isspace()
    joined = " ".join(text.split())
    return f"{before}{joined}{behind}" if joined else before


def _blocks(*parts: str) -> Iterator[str]:
    """Give the characters of texts in order."""
    for part in parts:
        for start in range(0, len(part), BLOCK):
            yield part[start : start + BLOCK]


def _blocks_from_end(*parts: str) -> Iterator[str]:
    """Give the characters of texts, the last block first."""
    for part in reversed(parts):
        for end in range(len(part), 0, -BLOCK):
            yield part[max(0, end - BLOCK) : end]
