"""Windows of a long text: rows that overlap, each as long as the model reads, and one answer of their outputs.

The tokens of the beginning (special ones, a question, a prompt) and of the end are in every window; the others are cut
into runs that share some tokens, as `tokenizers` does it with a stride.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from tokenizers import Encoding

from gearshift.errors import InputError
from gearshift.number_checks import is_whole, shown
from gearshift.runtime.inference.text import CHARACTERS_PER_TOKEN, Text, TextEncoder
from gearshift.runtime.inference.words import SplitText

MOST_WINDOWS = 1024
"""Largest number of windows of one text: a text of a thousand pages is a mistake, or somebody's attempt to stop us."""


@dataclass(frozen=True)
class Window:
    """Tokens of one window, with what readers ask of `tokenizers.Encoding`."""

    ids: list[int]
    type_ids: list[int]
    attention_mask: list[int]
    offsets: list[tuple[int, int]]
    sequence_ids: list[int | None]

    @classmethod
    def of(cls, whole: Encoding, places: Sequence[int]) -> Self:
        """Make the window of some tokens of a text."""
        columns = (whole.ids, whole.type_ids, whole.attention_mask, whole.offsets, whole.sequence_ids)
        return cls(*([column[place] for place in places] for column in columns))


@dataclass(frozen=True)
class LongText:
    """Text with all of its tokens, and the windows that it is read in."""

    whole: Encoding
    parts: tuple[str, ...]
    split: SplitText | None
    head: int
    """Number of tokens at the beginning that every window has."""
    starts: tuple[int, ...]
    """First token of each window behind the head, in the whole text."""
    room: int
    """Most tokens of a window between head and tail."""
    tail: int
    """Number of tokens at the end that every window has."""

    @property
    def body_end(self) -> int:
        """Token behind the last one that is not of the tail."""
        return len(self.whole.ids) - self.tail

    def places(self, window: int) -> list[int]:
        """Return the tokens of a window, as places in the whole text."""
        start = self.starts[window]
        body = range(start, min(start + self.room, self.body_end))
        return [*range(self.head), *body, *range(self.body_end, len(self.whole.ids))]

    def windows(self) -> list[Window]:
        """Return the windows, in the order of the text."""
        return [Window.of(self.whole, self.places(window)) for window in range(len(self.starts))]

    def nearest(self) -> list[int]:
        """Return for each token of the body the window in which it has most tokens on its poorer side (Devlin and
        others 2019, the maximal context of their code for SQuAD); of equal ones the first."""
        ends = [min(start + self.room, self.body_end) for start in self.starts]
        found, first = [], 0
        for token in range(self.head, self.body_end):
            while ends[first] <= token:
                first += 1
            begun = bisect_right(self.starts, token)
            margins = [min(token - self.starts[one], ends[one] - 1 - token) for one in range(first, begun)]
            found.append(first + margins.index(max(margins)))
        return found


def long_text(
    encoder: TextEncoder, text: Text, overlap: int, *, paired: bool, where: str = "", prompt: str | None = None
) -> LongText:
    """Return the windows of a text; raise InputError for one that cannot be read so.

    `paired`: whether the text is the second of a pair, the question the first. `overlap`: tokens that two windows
    share. `prompt`: prompt before the text, of every window; None for that of the bundle.
    """
    if isinstance(text, tuple) != paired:
        wanted = "a question and its text (a pair)" if paired else "single texts"
        raise InputError(f"{where}overlap: expected {wanted} to read in windows, got {type(text).__name__}")
    whole, split, parts = encoder.whole(text, MOST_WINDOWS * encoder.max_length * CHARACTERS_PER_TOKEN, where, prompt)
    body = [place for place, sequence in enumerate(whole.sequence_ids) if sequence == int(paired)]
    head = body[0] if body else len(whole.ids)
    head += encoder.prompt_tokens(whole, prompt)
    tail = len(whole.ids) - 1 - body[-1] if body else 0
    room = encoder.max_length - head - tail
    if overlap >= room and len(whole.ids) > encoder.max_length:
        raise InputError(
            f"{where}overlap: expected fewer tokens than a window has room for ({max(0, room)} of "
            f"{encoder.max_length}), got {overlap}"
        )
    starts = [head]
    while starts[-1] + room < len(whole.ids) - tail:
        starts.append(starts[-1] + room - overlap)
    if len(starts) > MOST_WINDOWS:
        raise InputError(f"{where}expected at most {MOST_WINDOWS} windows, got {len(starts)}; cut the text yourself")
    return LongText(whole, parts, split, head, tuple(starts), room, tail)


def checked_overlap(overlap: object) -> int:
    """Return a number of tokens; raise InputError for anything but a whole number of at least 0."""
    if not is_whole(overlap, 0):
        raise InputError(f"overlap: expected a whole number of tokens, at least 0, or None, got {shown(overlap)}")
    return overlap
