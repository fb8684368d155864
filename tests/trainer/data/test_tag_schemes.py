"""Schemes of tags, against seqeval over every short row of tags."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence

import pytest
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import BILOU, IOB1, IOB2, IOBES, IOE1, IOE2, Entities, auto_detect

from gearshift.errors import InputError
from gearshift.runtime.bundle.tag_schemes import PLAIN, Scheme, recognise, recognise_known
from gearshift.runtime.inference.spans import Word, entities

LETTERS = {"IO": "I", "IOB2": "BI", "IOE2": "IE", "IOBES": "BIES", "BILOU": "BILU", "BMES": "BMES", "BMEWO": "BMEW"}


def tags_of(letters: str, kinds: str = "xy") -> list[str]:
    return ["O", *(f"{letter}-{kind}" for kind in kinds for letter in letters)]


def found(tags: Sequence[str], scheme: Scheme) -> list[tuple[str, int, int]]:
    """Kind, first and last word of each entity."""
    words = [Word("w", 2 * number, 2 * number + 1, tag, 1.0) for number, tag in enumerate(tags)]
    return [(one.label, one.start // 2, one.end // 2) for one in entities(words, " ".join("w" * len(tags)), scheme)]


def as_seqeval_reads(tag: str, letters: str) -> str:
    """A tag with the letters that seqeval's default mode knows."""
    canonical = {"L": "E", "U": "S", "M": "I", "W": "S"}
    return tag if tag == "O" else canonical.get(tag[0], tag[0]) + tag[1:]


@pytest.mark.parametrize("name", LETTERS)
def test_entities_are_those_of_seqeval_for_every_short_row_of_tags(name: str) -> None:
    scheme, tags = Scheme(name), tags_of(LETTERS[name])
    for row in itertools.product(tags, repeat=4):
        assert found(row, scheme) == get_entities([as_seqeval_reads(tag, name) for tag in row]), row


@pytest.mark.parametrize(
    ("strict", "letters"),
    [(IOB1, "BI"), (IOB2, "BI"), (IOE1, "IE"), (IOE2, "IE"), (IOBES, "BIES"), (BILOU, "BILU")],
    ids=lambda one: getattr(one, "__name__", one),
)
def test_rows_without_a_slip_have_the_entities_of_the_strict_scheme(strict: type, letters: str) -> None:
    """Without a slip: seqeval's strict reading leaves no tagged word out, and splits no entity."""
    compared = 0
    tags = tags_of(letters)
    scheme = recognise(tags)
    for row in itertools.product(tags, repeat=4):
        (spans,) = Entities([list(row)], strict).entities
        whole = [(one.tag, one.start, one.end - 1) for one in spans]
        covered = sum(last - first + 1 for _, first, last in whole)
        if covered == sum(tag != "O" for tag in row) and written(whole, 4, strict.__name__) == row:
            compared += 1
            assert found(row, scheme) == whole, row
    assert compared > 50


def written(spans: Sequence[tuple[str, int, int]], length: int, name: str) -> tuple[str, ...]:
    """The one right row of tags for these entities."""
    row = ["O"] * length
    for number, (kind, first, last) in enumerate(spans):
        begin, end, single = [*{"IOBES": "BES", "BILOU": "BLU", "IOB2": "BIB", "IOE2": "IEE"}.get(name, "III")]
        row[first : last + 1] = [begin, *"I" * (last - first - 1), end] if last > first else [single]
        row[first : last + 1] = [f"{letter}-{kind}" for letter in row[first : last + 1]]
        before = number and spans[number - 1][0] == kind and spans[number - 1][2] == first - 1
        after = number + 1 < len(spans) and spans[number + 1][0] == kind and spans[number + 1][1] == last + 1
        if name == "IOB1" and before:
            row[first] = f"B-{kind}"
        if name == "IOE1" and after:
            row[last] = f"E-{kind}"
    return tuple(row)


def test_a_scheme_is_recognised_where_seqeval_recognises_one() -> None:
    """For every set of prefixes; a set of `E` or `L` alone may as well be names of plain tags, such as `E-mail`."""
    prefixes = ("B-x", "I-x", "E-x", "S-x", "L-x", "U-x")
    for size in range(1, 7):
        for tags in itertools.combinations(prefixes, size):
            try:
                theirs = auto_detect([["O", *tags]]).__name__
            except ValueError:
                continue
            ours = recognise(["O", *tags]).name
            assert ours == (PLAIN if tags == ("E-x",) else theirs), tags


@pytest.mark.parametrize(
    ("tags", "name", "form"),
    [
        ("O B-x I-x", "IOB2", "B-x"),
        ("O B-x", "IOB2", "B-x"),
        ("O I-x I-y", "IO", "B-x"),
        ("B-x I-x E-x S-x O", "IOBES", "B-x"),
        ("O S-x S-y", "IOBES", "B-x"),
        ("O B-x E-x", "IOBES", "B-x"),
        ("B-x I-x L-x U-x O", "BILOU", "B-x"),
        ("B-x M-x E-x S-x O", "BMES", "B-x"),
        ("B-x M-x E-x W-x O", "BMEWO", "B-x"),
        ("O I-x E-x", "IOE2", "B-x"),
        ("O B_x I_x", "IOB2", "B_x"),
        ("O x-B x-I", "IOB2", "x-B"),
        ("O x-y-B x-y-I", "IOB2", "x-B"),
        ("O x_B x_I", "IOB2", "x_B"),
        ("B I O", "IOB2", "B"),
        ("B I E S O", "IOBES", "B"),
        ("O city person", PLAIN, "B-x"),
        ("NOUN VERB ADJ", PLAIN, "B-x"),
        ("N V I A", PLAIN, "B-x"),
        ("O E-mail phone", PLAIN, "B-x"),
        ("O E-mail", PLAIN, "B-x"),
        ("O S-Bahn bus", PLAIN, "B-x"),
        ("O date_A", PLAIN, "B-x"),
        ("O", PLAIN, "B-x"),
    ],
)
def test_a_set_of_tags_has_a_scheme(tags: str, name: str, form: str) -> None:
    assert recognise(tags.split()) == Scheme(name, form)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        (
            "O B-x I-x city",
            r"^tags: 'B-x' says where an entity begins and 'city' does not; expected one scheme, such as",
        ),
        ("O x-B x-I city", r"^tags: 'x-B' says where an entity begins and 'city' does not"),
        ("o B-x I-x", r"^tags: 'B-x' says where an entity begins and 'o' does not; .* O for words outside"),
        ("O B-x I-x L-x S-x", r"^tags: the prefixes B, I, L, S are of no scheme; expected those of IO, IOB2, IOE2"),
        ("o b-x i-x", r"^tags: 'b-x' has a small prefix; expected capitals, such as B-person, and O"),
    ],
)
def test_tags_of_two_schemes_or_none_are_one_line(tags: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        recognise(tags.split())
    assert recognise_known(tags.split()).name in ("IOB2", PLAIN)


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ("I-x I-x O I-y", "IO"),
        ("I-x B-x O I-y", "IOB1"),
        ("I-x O B-y", "IOB2"),
        ("B-x I-x B-y", "IOB2"),
        ("I-x E-x I-x O I-y", "IOE1"),
        ("I-x E-x O E-y", "IOE2"),
        ("I-x E-x E-x", "IOE2"),
    ],
)
def test_rows_tell_whether_borders_alone_are_marked(row: str, name: str) -> None:
    tags = row.split()
    assert recognise(set(tags), [tags]).name == name


def test_a_word_in_pieces_has_its_tag_again_from_theirs() -> None:
    for name, letters in {**LETTERS, PLAIN: ""}.items():
        scheme = Scheme(name)
        tags = ["O", "x", "y"] if name == PLAIN else tags_of(letters)
        for tag, count in itertools.product(tags, (1, 2, 3, 4)):
            spread = scheme.spread(tag, count)
            assert len(spread) == count
            assert set(spread) <= set(tags)
            assert scheme.join(spread, tags) == tag, (name, tag, spread)


@pytest.mark.parametrize("name", LETTERS)
def test_entities_lie_where_they_lay_when_words_are_cut_in_pieces(name: str) -> None:
    scheme = Scheme(name)
    for row in itertools.product(tags_of(LETTERS[name]), repeat=3):
        for counts in ((2, 1, 1), (1, 3, 1), (2, 2, 2)):
            starts = [sum(counts[:word]) for word in range(4)]
            pieces = [tag for tag, count in zip(row, counts, strict=True) for tag in scheme.spread(tag, count)]
            moved = [(kind, starts[first], starts[last + 1] - 1) for kind, first, last in found(row, scheme)]
            assert found(pieces, scheme) == moved, (row, counts)


def test_an_entity_of_two_words_is_one_entity() -> None:
    assert found(("B-x", "E-x"), Scheme("IOBES")) == [("x", 0, 1)]
    assert found(("B-x", "L-x"), Scheme("BILOU")) == [("x", 0, 1)]
    assert found(("x-B", "x-I"), Scheme("IOB2", "x-B")) == [("x", 0, 1)]
    assert found(("B", "I"), Scheme("IOB2", "B")) == [("_", 0, 1)]


def test_a_scheme_is_kept_as_json_and_another_name_is_one_line() -> None:
    scheme = Scheme("BILOU", "x_B")
    assert Scheme.from_dict(json.loads(json.dumps(scheme.to_dict()))) == scheme
    with pytest.raises(InputError, match=r"scheme of tags: expected one of plain, IO, IOB2, .* found 'XYZ'"):
        Scheme("XYZ")
