"""Rule by which a text is cut into the words that a model labels: the one of its training rows, kept in the bundle.

Words are what stands between blanks. Of these, marks at the ends (full stops, quotes, brackets, emoji) and endings such
as `'s` are words of their own if they were in training; what is inside a word (`Karl-Anna`, `3.5`) stays. A model reads
the words with single blanks between them, so the same words have the same tokens wherever they come from.
"""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from gearshift.errors import InputError
from gearshift.number_checks import is_whole

_CHUNK = re.compile(r"\S+")
_CLUSTER = re.compile(
    "[\U0001f1e6-\U0001f1ff]{2}|.(?:[\ufe0e\ufe0f\u20e3\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]|\u200d\\S)*",
    re.DOTALL,
)
"""Pattern of a character with what changes its looks: an emoji with its skin tone, or a family of emoji."""
_IDEOGRAPHS = (
    "\u3005-\u3007\u3041-\u3096\u309d-\u30fa\u30fc-\u30ff\u31f0-\u31ff"  # Japanese syllables
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Characters of Chinese and Japanese, which have no blanks between words."""
_WIDE_MARKS = "\u3001-\u3003\u3008-\u3011\u3014-\u301f\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f"
"""Marks of these languages, which have no blanks behind them either."""
_IDEOGRAPH_RUN = f"[{_IDEOGRAPHS}]+"
_APART = f"[{_IDEOGRAPHS}][\ufe00-\ufe0f\U000e0100-\U000e01ef]*|[{_WIDE_MARKS}]|[^{_IDEOGRAPHS}{_WIDE_MARKS}]+"
"""Patterns that `re` compiles when a text needs them: that takes some milliseconds."""
_INITIALS = re.compile(r"(?:[^\W\d_]\.){2,}")
_SIGNS = ".,+-\u2212"
"""Marks that belong to the number behind them."""

Place = tuple[int, int]
"""Start, and end after the last character, of a part of a text."""


@dataclass(frozen=True)
class WordRule:
    """Rule that cuts texts into words. Each word that it gives stays whole when it is cut again."""

    before: Mapping[str, bool] = field(default_factory=dict)
    """Mark, or two-letter Unicode category of marks -> whether it is cut off from the beginning of a word."""
    after: Mapping[str, bool] = field(default_factory=dict)
    """The same for the end of a word."""
    endings: tuple[str, ...] = ()
    """Ends of words that are words of their own, such as `'s` and `n't`, the longest first."""
    kept: frozenset[str] = frozenset()
    """Words that stay whole although the rest of the rule would cut them, such as `Mr.`"""
    initials: bool = True
    """Whether single letters with a full stop behind each (`U.S.`) are one word."""
    longest_ideographs: int = 0
    """Number of characters of the longest Chinese or Japanese word in training; 0 if each character is a word."""

    def __post_init__(self) -> None:
        for name in ("before", "after"):
            table = getattr(self, name)
            whole = isinstance(table, Mapping) and all(
                isinstance(mark, str) and isinstance(cut, bool) for mark, cut in table.items()
            )
            _require(whole, f"words: {name} (true or false by mark)", table)
        for name in ("endings", "kept"):
            texts = getattr(self, name)
            _require(all(isinstance(text, str) and text for text in texts), f"words: {name} (texts)", texts)
        _require(isinstance(self.initials, bool), "words: initials", self.initials)
        _require(is_whole(self.longest_ideographs, 0), "words: longest_ideographs", self.longest_ideographs)

    def words(self, text: str) -> list[str]:
        """Return the words of a text."""
        return [text[start:end] for start, end in self.places(text)]

    def places(self, text: str, longest: int | None = None) -> Iterator[Place]:
        """Yield the place of each word of a text; what has no blank for more than `longest` characters ends there."""
        for chunk in _CHUNK.finditer(text):
            start = chunk.start()
            end = chunk.end() if longest is None else min(chunk.end(), start + longest)
            for word in self._cut(text[start:end]):
                yield start, start + len(word)
                start += len(word)

    def unsegmented(self, text: str) -> str | None:
        """Return a part of a text that must be several words, and has nothing to cut it at; None if there is none."""
        if not self.longest_ideographs:
            return None
        runs = (run.group() for run in re.finditer(_IDEOGRAPH_RUN, text))
        return next((run for run in runs if len(run) > self.longest_ideographs), None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON."""
        return {
            "before": dict(sorted(self.before.items())),
            "after": dict(sorted(self.after.items())),
            "endings": list(self.endings),
            "kept": sorted(self.kept),
            "initials": self.initials,
            "longest_ideographs": self.longest_ideographs,
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Self:
        """Read the rule that `to_dict` wrote."""
        return cls(**{**raw, "endings": tuple(raw["endings"]), "kept": frozenset(raw["kept"])})

    def _cut(self, chunk: str) -> list[str]:
        """Cut what stands between two blanks."""
        if chunk in self.kept or (chunk.isascii() and chunk.isalnum()):
            return [chunk]
        if self.longest_ideographs or not re.search(_IDEOGRAPH_RUN, chunk):
            return self._without_marks(chunk)
        return [word for part in re.findall(_APART, chunk) for word in self._without_marks(part)]

    def _without_marks(self, part: str) -> list[str]:
        """Cut marks and endings off both ends of a word, one by one, until nothing is left to cut off."""
        found = clusters(part)
        behind: list[str] = []
        before: list[str] = []
        start, end, low, high = 0, len(part), 0, len(found)
        while low < high:
            first, last = _run(found, low, high, 1), _run(found, high - 1, low - 1, -1)
            if first == high - low or self._is_whole(part, start, end):
                break
            ending = next((one for one in self.endings if part.endswith(one, start, end)), None)
            if self._cuts_before(found[low], first, found[low + first]):
                cut = "".join(found[low : low + first])
                before.append(cut)
                low, start = low + first, start + len(cut)
            elif ending is not None:
                behind.append(ending)
                end -= len(ending)
                high = low + len(clusters(part[start:end]))
            elif cuts(self.after, found[high - 1]):
                cut = "".join(found[high - last : high])
                behind.append(cut)
                high, end = high - last, end - len(cut)
            else:
                break
        return [*before, part[start:end], *reversed(behind)]

    def _is_whole(self, part: str, start: int, end: int) -> bool:
        """Return whether a part is a word that is not cut, whatever its ends are."""
        if end - start <= self._longest_known and (part[start:end] in self.kept or part[start:end] in self.endings):
            return True
        return self.initials and _INITIALS.fullmatch(part, start, end) is not None

    @functools.cached_property
    def _longest_known(self) -> int:
        return max(map(len, (*self.kept, *self.endings)), default=0)

    def _cuts_before(self, mark: str, count: int, following: str) -> bool:
        """Return whether a mark, which stands `count` times, is cut off from what follows it."""
        if count == 1 and mark in _SIGNS and following.isdigit():
            return False
        return cuts(self.before, mark) or (count > 1 and cuts(self.after, mark))


def cuts(table: Mapping[str, bool], mark: str) -> bool:
    """Return whether a table of a rule has this character, or else its category, cut off."""
    kind = unicodedata.category(mark[0])
    return kind[0] in "PS" and table.get(mark[0], table.get(kind, False))


def clusters(word: str) -> list[str]:
    """Return the characters of a word, each with what changes its looks."""
    return _CLUSTER.findall(word)


def is_mark(cluster: str) -> bool:
    """Return whether a character is punctuation or a symbol, and no part of letters and numbers."""
    return unicodedata.category(cluster[0])[0] in "PS"


def is_initials(word: str) -> bool:
    """Return whether a word is single letters with a full stop behind each."""
    return _INITIALS.fullmatch(word) is not None


def ideographs(word: str) -> int:
    """Return the length of the longest run of Chinese or Japanese characters in a word."""
    return max((len(run.group()) for run in re.finditer(_IDEOGRAPH_RUN, word)), default=0)


def _run(found: Sequence[str], start: int, stop: int, step: int) -> int:
    """Return how often the character at `start` stands there, one after another."""
    same = itertools.takewhile(lambda place: found[place] == found[start], range(start, stop, step))
    return sum(1 for _ in same)


def _require(holds: bool, what: str, found: object) -> None:
    if not holds:
        raise InputError(f"{what}: not usable: {found!r}")
