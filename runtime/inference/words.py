"""Words of a request: cut from a text by the rule of the bundle, or given by the caller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from gearshift.errors import InputError
from gearshift.runtime.bundle.words import Place, WordRule


@dataclass(frozen=True)
class Words:
    """Words of one text, for token classification: each gets a label, as it does in a training row.

    Places in the answer are those in `text`, the words with single blanks between them.
    """

    words: Sequence[str]

    @property
    def text(self) -> str:
        """Text of the words."""
        return " ".join(self.words)

    def checked(self, where: str = "") -> Self:
        """Return the words themselves; raise InputError, which begins with `where`, if some are none."""
        if isinstance(self.words, str) or not isinstance(self.words, Sequence):
            raise InputError(f"{where}Words: expected a list of words, got {type(self.words).__name__}")
        if not self.words:
            raise InputError(f"{where}Words: empty list; expected at least one word")
        for number, word in enumerate(self.words):
            if not isinstance(word, str):
                raise InputError(f"{where}word {number}: expected a word (str), got {type(word).__name__}")
            if not word.strip():
                raise InputError(f"{where}word {number}: empty; expected a word, leave it out together with its label")
        return self


@dataclass(frozen=True)
class SplitText:
    """Words of a text, and the text that the model reads: the words with single blanks between them."""

    text: str
    """Text that was given."""
    places: tuple[Place, ...]
    """Place of each word in `text`."""
    counts: tuple[int, ...] | None = None
    """Numbers of words that the words of the caller were cut into, in order; None for a text."""

    @property
    def joined(self) -> str:
        """Text that the model reads."""
        return " ".join(self.text[start:end] for start, end in self.places)

    @property
    def joined_places(self) -> list[Place]:
        """Place of each word in `joined`."""
        found, start = [], 0
        for length in (end - start for start, end in self.places):
            found.append((start, start + length))
            start += length + 1
        return found


def split_text(text: str, rule: WordRule, longest: int, where: str = "") -> tuple[SplitText, bool]:
    """Cut a text into words, until they have `longest` characters; return them, and whether some were left.

    Raises InputError for a text that has no blanks between its words, in a language that writes none, unless the rule
    makes a word of each character.
    """
    places: list[Place] = []
    characters = 0
    for start, end in rule.places(text, longest + 1):
        if characters + end - start > longest:
            end = start + longest - characters
            return SplitText(text, (*places, *([(start, end)] if end > start else []))), True
        _check(text[start:end], rule, where)
        places.append((start, end))
        characters += end - start + 1
    return SplitText(text, tuple(places)), False


def split_words(words: Words, rule: WordRule | None, longest: int) -> tuple[SplitText, bool]:
    """Cut the words of a caller as those of training rows were cut; return as `split_text` does."""
    places: list[Place] = []
    counts: list[int] = []
    read: list[str] = []
    start, cut = 0, False
    for word in words.words:
        cut = start + len(word if rule is None else word.rstrip()) > longest
        if cut and places:
            break
        begin = len(word) - len(word.lstrip()) if cut else 0
        read.append(word[: begin + longest] if cut else word)  # of the first word, a part is better than nothing
        found = [(begin, len(read[-1]))] if rule is None else list(rule.places(read[-1]))
        places += [(start + one, start + other) for one, other in found]
        counts.append(len(found))
        start += len(word) + 1
    return SplitText(Words(read).text, tuple(places), tuple(counts)), cut


def _check(word: str, rule: WordRule, where: str) -> None:
    found = rule.unsegmented(word)
    if found is not None:
        raise InputError(
            f"{where}{found[:20]!r} has no blanks between its words; expected text like the training rows, whose words "
            f"have at most {rule.longest_ideographs} characters; pass Words([...])"
        )
