"""Words of tagged rows: the rule of a data set is learnt from its training rows, and every row is cut by it.

Rows give words, a device gets a text. The rule that cuts the text into words is learnt from the words of the training
rows, and all rows are cut by it too, a tag spread over the pieces of its word. So training, evaluation and the device
label the same words of the same text, and an entity lies where it lay before.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from gearshift.runtime.bundle.tag_schemes import OUTSIDE, Scheme, recognise
from gearshift.runtime.bundle.tagging import Tagging
from gearshift.runtime.bundle.words import WordRule, clusters, cuts, ideographs, is_initials, is_mark
from gearshift.trainer.data.rows import Row, Tags

UNSEEN_BEFORE = {"Ps": True, "Pi": True, "So": True, '"': True, "'": True, "\u00a1": True, "\u00bf": True}
UNSEEN_AFTER = {"Po": True, "Pe": True, "Pf": True, "So": True}
"""Whether marks that no training row has are cut off: those that are hardly ever part of a word."""

_ENDS_ONLY = frozenset(".,;:!?%\u2026\u3002\uff0c\u3001\uff1b\uff1a\uff01\uff1f")
"""Marks that stand alone behind words, which says nothing of those before words; `Pe` and `Pf` likewise."""
_BEGINS_ONLY = frozenset("@#\u00a1\u00bf")
"""Marks that stand alone before words, which says nothing of those behind words; `Ps` and `Pi` likewise."""

_ENDING = re.compile(r"['\u2019]\w{1,3}|[nN]['\u2019][tT]")
_SINGLE_SHARE = 0.9
"""Share of Chinese or Japanese words of a single character from which on each character is a word."""
_LEAST_SEEN = 2
"""Least number of times that an ending, or a word which the rule would cut, is seen for the rule to name it."""


def cut_splits(
    splits: Mapping[str, Sequence[Row]], labels: Sequence[str], rule: WordRule | None = None
) -> tuple[dict[str, tuple[Row, ...]], Tagging, tuple[str, ...]]:
    """Return the splits with their words cut, the rule and scheme of their words and tags, and what is to be said.

    `rule`: learnt from the training rows unless given. Raises InputError for labels of no scheme, or of two.
    """
    train = splits["train"]
    tagging = learn_tagging(train, labels, rule)
    cut = {split: cut_rows(rows, tagging, labels) for split, rows in splits.items()}
    words = [word for row in train for word in words_of(row)]
    apart = [word for word in words if len(tagging.words.words(word)) > 1]
    notes = []
    if apart:
        such = repr(apart[0])
        notes.append(
            f"{len(apart)} of {len(words)} training words, such as {such}, are cut as a device cuts them from a text"
        )
    return cut, tagging, tuple(notes)


def learn_tagging(rows: Sequence[Row], labels: Sequence[str], rule: WordRule | None = None) -> Tagging:
    """Learn the rule of the words of rows unless it is given, and recognise the scheme of their tags.

    Raises InputError for labels of no scheme, or of two.
    """
    tags = (row.label.tags for row in rows if isinstance(row.label, Tags))
    return Tagging(learn_rule(rows) if rule is None else rule, recognise(labels, tags))


def cut_rows(rows: Iterable[Row], tagging: Tagging, labels: Collection[str]) -> tuple[Row, ...]:
    """Return rows with their words cut by a rule; those that need no cut as they are.

    A piece that goes on with an entity is tagged outside if `labels`, the tags of training, has no tag for it.
    """
    known = frozenset(labels)
    return tuple(_cut_row(row, tagging, known) for row in rows)


def learn_rule(rows: Iterable[Row]) -> WordRule:
    """Learn the rule of the words of tagged rows."""
    sentences = [[part for word in words_of(row) for part in word.split()] for row in rows]
    counts = Counter(word for words in sentences for word in words)
    endings = _endings(counts)
    long = max((ideographs(word) for word in counts), default=0)
    single = sum(count for word, count in counts.items() if ideographs(word) == 1)
    several = sum(count for word, count in counts.items() if ideographs(word) > 1)
    rule = WordRule(
        before=_decisions(counts, endings, UNSEEN_BEFORE, front=True),
        after=_decisions(counts, endings, UNSEEN_AFTER, front=False),
        endings=endings,
        initials=_keeps_initials(counts),
        longest_ideographs=long if several and single < _SINGLE_SHARE * (single + several) else 0,
    )
    return dataclasses.replace(rule, kept=_kept(rule, sentences, counts))


def words_of(row: Row) -> list[str]:
    """Return the words of a tagged row."""
    assert isinstance(row.label, Tags)
    ends = [*(start - 1 for start in row.label.starts[1:]), len(row.text)]
    return [row.text[start:end] for start, end in zip(row.label.starts, ends, strict=True)]


def _cut_row(row: Row, tagging: Tagging, known: frozenset[str]) -> Row:
    assert isinstance(row.label, Tags)
    words: list[str] = []
    tags: list[str] = []
    for word, tag in zip(words_of(row), row.label.tags, strict=True):
        pieces = tagging.words.words(word)
        words += pieces
        tags += _spread(tag, len(pieces), tagging.scheme, known)
    if len(words) == len(row.label.tags):
        return row
    return dataclasses.replace(row, text=" ".join(words), label=Tags(starts_of(words), tuple(tags)))


def _spread(tag: str, count: int, scheme: Scheme, known: frozenset[str]) -> list[str]:
    spread = scheme.spread(tag, count)
    if count == 1 or tag not in known or known.issuperset(spread):
        return spread
    return [tag, *[OUTSIDE if OUTSIDE in known else tag] * (count - 1)]


def starts_of(words: Sequence[str]) -> tuple[int, ...]:
    """Return the places of words in their text, with single blanks between them."""
    starts, place = [], 0
    for word in words:
        starts.append(place)
        place += len(word) + 1
    return tuple(starts)


def _endings(counts: Counter[str]) -> tuple[str, ...]:
    """Return endings with an apostrophe, such as `'s`, that stand alone more often than at the end of a word."""
    candidates = {word for word, count in counts.items() if count >= _LEAST_SEEN and _ENDING.fullmatch(word)}
    glued: Counter[str] = Counter()
    for word, count in counts.items():
        for ending in {word[-size:] for size in map(len, candidates) if size < len(word)} & candidates:
            glued[ending] += count
    chosen = (word for word in candidates if counts[word] > glued[word])
    return tuple(sorted(chosen, key=lambda word: (-len(word), word)))


def _decisions(
    counts: Counter[str], endings: Collection[str], unseen: dict[str, bool], *, front: bool
) -> dict[str, bool]:
    """Return mark or category -> whether it stands alone more often than words have it at this end.

    Each word counts once, however frequent it is: a few abbreviations are no reason to leave full stops at all words.
    """
    alone: Counter[str] = Counter()
    glued: Counter[str] = Counter()
    for word, count in counts.items():
        found = clusters(word)
        mark = found[0][0] if front else found[-1][0]
        if not is_mark(mark):
            continue
        if set(found) == {found[0]}:
            alone[mark] += count if _can_stand(mark, front=front) else 0
        elif word not in endings and not is_initials(word) and not all(map(is_mark, found)):
            glued[mark] += 1
    of_kind: Counter[str] = Counter()
    for mark in {*alone, *glued}:
        of_kind[unicodedata.category(mark)] += alone[mark] - glued[mark]
    table = {**unseen, **{kind: surplus > 0 for kind, surplus in of_kind.items() if surplus}}
    for mark in {*alone, *glued}:
        cut = alone[mark] > glued[mark]
        if alone[mark] != glued[mark] and cut != cuts(table, mark):
            table[mark] = cut
    return table


def _can_stand(mark: str, *, front: bool) -> bool:
    """Return whether a mark that stands alone can have stood at this end of a word."""
    kind = unicodedata.category(mark)
    if front:
        return mark not in _ENDS_ONLY and kind not in ("Pe", "Pf")
    return mark not in _BEGINS_ONLY and kind not in ("Ps", "Pi")


def _keeps_initials(counts: Counter[str]) -> bool:
    """Return whether `U.S.` is one word in training rather than `U.S` and a full stop."""
    whole = sum(count for word, count in counts.items() if is_initials(word))
    cut = sum(count for word, count in counts.items() if is_initials(f"{word}.") and len(word) > 2)
    return whole >= cut


def _kept(rule: WordRule, sentences: Iterable[Sequence[str]], counts: Counter[str]) -> frozenset[str]:
    """Return the words that the rule would cut, and that training has whole more often than in their pieces."""
    pieces: dict[tuple[str, ...], str] = {}
    for word, count in counts.items():
        if count >= _LEAST_SEEN:
            cut = tuple(rule.words(word))
            if len(cut) > 1:
                pieces[cut] = word
    sizes = sorted({len(cut) for cut in pieces})
    apart: Counter[str] = Counter()
    for words in sentences:
        for size in sizes:
            for start in range(len(words) - size + 1):
                found = pieces.get(tuple(words[start : start + size]))
                if found is not None:
                    apart[found] += 1
    return frozenset(word for word in pieces.values() if counts[word] > apart[word])
