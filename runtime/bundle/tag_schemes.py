"""Schemes of tags: how the tags of words say where entities begin and end.

Every scheme is read as `B` (begins), `I` (goes on), `E` (ends) and `S` (a single word), and entities are found in these
as CoNLL's evaluation does, and `seqeval` by default: a tag that goes on with nothing begins an entity.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from gearshift.errors import InputError

OUTSIDE = "O"
"""Label of a word that belongs to no entity."""

PLAIN = "plain"
"""Scheme of tags without prefixes: words of one tag, one after another, are an entity."""

_LETTERS = {
    "IO": " I  ",
    "IOB2": "BI  ",
    "IOE2": " IE ",
    "IOBES": "BIES",
    "BILOU": "BILU",
    "BMES": "BMES",
    "BMEWO": "BMEW",
}
"""Scheme -> its letters for B, I, E and S."""
_SAME_LETTERS = {"IOB1": "IOB2", "IOE1": "IOE2"}
"""Schemes that mark fewer words than others of the same letters: entities beside one of their kind alone."""
NAMES = (PLAIN, *_LETTERS, *_SAME_LETTERS)

_FORMS = {
    "B-x": re.compile(r"(?P<letter>[A-Z])-(?P<kind>.+)"),
    "B_x": re.compile(r"(?P<letter>[A-Z])_(?P<kind>.+)"),
    "x-B": re.compile(r"(?P<kind>.+)-(?P<letter>[A-Z])"),
    "x_B": re.compile(r"(?P<kind>.+)_(?P<letter>[A-Z])"),
    "B": re.compile(r"(?P<letter>[A-Z])"),
}
"""Form of a tag -> its pattern; `B` alone has one kind of entity."""
ONLY_KIND = "_"
"""Kind of the entities whose tags name none, as in seqeval."""

Tag = tuple[str, str]
"""Tag as one of `B`, `I`, `E`, `S` or `O`, and the kind of its entity ("" for `O`)."""


@dataclass(frozen=True)
class Scheme:
    """Scheme of the tags of a model."""

    name: str = PLAIN
    """One of NAMES."""
    form: str = "B-x"
    """Place of the prefix: one of `B-x`, `B_x`, `x-B`, `x_B`, and `B` if there is one kind of entity."""

    def __post_init__(self) -> None:
        if self.name not in NAMES or self.form not in _FORMS:
            raise InputError(f"scheme of tags: expected one of {', '.join(NAMES)}, found {self.name!r}, {self.form!r}")

    @property
    def letters(self) -> str:
        """Letters of the scheme for B, I, E and S, with a blank for one that it lacks."""
        return _LETTERS.get(_SAME_LETTERS.get(self.name, self.name), "    ")

    def read(self, tag: str) -> Tag:
        """Read a tag; one without a prefix is the kind of an entity."""
        if tag == OUTSIDE:
            return OUTSIDE, ""
        found = None if self.name == PLAIN else _FORMS[self.form].fullmatch(tag)
        if found is None or found["letter"] not in self.letters:
            return "I", tag
        return "BIES"[self.letters.index(found["letter"])], found.groupdict().get("kind", ONLY_KIND)

    def write(self, tag: Tag) -> str:
        """Write a tag, by the nearest letter that the scheme has: the opposite of `read`."""
        place, kind = tag
        if place == OUTSIDE:
            return OUTSIDE
        if self.name == PLAIN:
            return kind
        nearest = {"B": "BI", "I": "IB", "E": "EI", "S": "SBEI"}[place]
        letter = next(own for one in nearest if (own := self.letters["BIES".index(one)]) != " ")
        return self.form.replace("B", letter).replace("x", kind) if self.form != "B" else letter

    def spread(self, tag: str, count: int) -> list[str]:
        """Return the tags of the pieces that a word of this tag is cut into."""
        place, kind = self.read(tag)
        if count == 1 or place == OUTSIDE or self.name == PLAIN:
            return [tag] * count
        first = tag if place == "B" else self.write(("B" if place == "S" else "I", kind))
        last = self.write(("E" if place in "ES" else "I", kind))
        return [first, *[self.write(("I", kind))] * (count - 2), last]

    def join(self, tags: Sequence[str], known: Collection[str]) -> str:
        """Return the tag of a word from those of its pieces: the opposite of `spread`, or the first piece's tag."""
        read = [self.read(tag) for tag in tags]
        if len(tags) == 1 or len({kind for _, kind in read}) > 1:
            return tags[0]
        begins, ends = read[0][0] in "BS", read[-1][0] in "ES"
        place = ("S" if ends else "B") if begins else ("E" if ends else read[0][0])
        joined = self.write((place, read[0][1]))
        return joined if joined in known else tags[0]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON."""
        return {"name": self.name, "form": self.form}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Self:
        """Read the scheme that `to_dict` wrote."""
        return cls(**raw)


def begins(last: Tag, tag: Tag) -> bool:
    """Return whether a tag behind another begins an entity."""
    return tag[0] != OUTSIDE and (tag[0] in "BS" or last[0] in (OUTSIDE, "E", "S") or last[1] != tag[1])


def recognise(tags: Collection[str], rows: Iterable[Sequence[str]] = ()) -> Scheme:
    """Recognise the scheme of a set of tags; rows of tags tell IOB1 from IOB2, whose entities are found alike.

    Raises InputError if some tags have a prefix and some have none, or if the prefixes are of no scheme.
    """
    named = sorted(set(tags) - {OUTSIDE})
    for form, pattern in _FORMS.items():
        found = {tag: match["letter"] for tag in named if (match := pattern.fullmatch(tag))}
        letters = set(found.values())
        if not found or not _telling(letters, form, whole=len(found) == len(named)):
            continue
        others = [tag for tag in named if tag not in found]
        if others:
            raise InputError(
                f"tags: {next(iter(found))!r} says where an entity begins and {others[0]!r} does not; expected one "
                f"scheme, such as B-person, I-person and {OUTSIDE} for words outside"
            )
        name = next((name for name, own in _LETTERS.items() if letters <= set(own)), None)
        if name is None:
            raise InputError(
                f"tags: the prefixes {', '.join(sorted(letters))} are of no scheme; expected those of "
                f"{', '.join(_LETTERS)}"
            )
        return _by_rows(Scheme(name, form), rows)
    small = [tag for tag in named if tag != OUTSIDE.lower()]
    if small and all(re.fullmatch(r"[bi][-_].+", tag) for tag in small):
        raise InputError(f"tags: {small[0]!r} has a small prefix; expected capitals, such as B-person, and {OUTSIDE}")
    return Scheme()


def recognise_known(labels: Collection[str]) -> Scheme:
    """Recognise the scheme of a model that is there already: of mixed tags, `B-` and `I-` keep their sense."""
    try:
        return recognise(labels)
    except InputError:
        return Scheme("IOB2")


def _telling(letters: set[str], form: str, *, whole: bool) -> bool:
    """Return whether these letters are those of a scheme rather than the beginnings of plain names."""
    sure = whole and _fits(letters)
    if form == "B-x":
        return bool(letters & set("BI")) or (sure and (len(letters) > 1 or letters <= {"S", "U"}))
    return (sure and "B" in letters and len(letters) > 1) or (form != "B" and {"B", "I"} <= letters)


def _fits(letters: set[str]) -> bool:
    return any(letters <= set(own) for own in _LETTERS.values())


def _by_rows(scheme: Scheme, rows: Iterable[Sequence[str]]) -> Scheme:
    """Return IOB1 or IOE1 in place of IOB2 or IOE2 if the rows mark only the border between entities of a kind."""
    marked, border = {"IOB2": ("B", "IOB1"), "IOE2": ("E", "IOE1")}.get(scheme.name, ("", ""))
    bare = False
    for row in rows if marked else ():
        read = [scheme.read(tag) for tag in (row if marked == "B" else reversed(row))]
        for last, tag in zip([(OUTSIDE, ""), *read], read, strict=False):
            beside = last[0] != OUTSIDE and last[1] == tag[1]
            if tag[0] == marked and not beside:
                return scheme
            bare |= tag[0] == "I" and not beside
    return Scheme(border, scheme.form) if bare else scheme
