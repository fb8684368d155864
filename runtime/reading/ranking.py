"""Ranking of texts by their relevance to a query, all of them by one subnet, the best again by a more accurate one."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gearshift.errors import InputError
from gearshift.runtime.inference.answers import RunFacts
from gearshift.runtime.inference.session import Outputs
from gearshift.runtime.inference.text import Encoded
from gearshift.runtime.reading.reading import Read
from gearshift.runtime.reading.relevance import Relevance


@dataclass(frozen=True)
class Ranked:
    """Text of a ranking."""

    place: int
    """Place of the text in the list that was given, from 0."""
    text: str
    score: float
    """Relevance: a similarity, a number, or a probability. Those of one subnet are comparable."""
    subnet: str
    """Name of the subnet whose score it is."""
    truncated: bool


@dataclass(frozen=True, kw_only=True)
class Ranking(RunFacts):
    """Texts of a list by their relevance to a query, the most relevant first.

    `subnet` read all of them; those that `close_subnet` read again, the best of the first pass, come before the others.
    `tokens`: number of tokens that the first pass read.
    """

    results: tuple[Ranked, ...]
    close_subnet: str | None
    """Name of the subnet that read the best texts again; None if there was one pass."""
    closely: int
    """Number of texts that it read."""


class RankReading:
    """Reading of one ranking, in one pass or two."""

    def __init__(self, relevance: Relevance, query: str, texts: Sequence[str]) -> None:
        self._relevance = relevance
        self._texts = tuple(texts)
        self.rows, self.prompts = relevance.rows(query, self._texts), relevance.prompts(len(self._texts))

    @property
    def texts(self) -> int:
        """Number of texts that are ranked."""
        return len(self._texts)

    @property
    def beside(self) -> int:
        """Number of rows that every pass reads beside the texts."""
        return self._relevance.beside

    def read(self, subnet: str, outputs: Outputs, encoded: Encoded) -> list[Read]:
        """Read the ranking of one pass."""
        return [self.ranking(encoded, self.first(subnet, outputs, encoded))]

    def first(self, subnet: str, outputs: Outputs, encoded: Encoded) -> list[Ranked]:
        """Return the texts by the scores of the first pass, the best first, equal ones in the order of the list."""
        cut, scores = encoded.truncated[self.beside :], self._relevance.scores(outputs)
        ranked = [
            Ranked(place, text, score, subnet, truncated)
            for place, (text, score, truncated) in enumerate(zip(self._texts, scores, cut, strict=True))
        ]
        return sorted(ranked, key=lambda one: -one.score)

    def rows_of(self, ranked: Sequence[Ranked]) -> list[int]:
        """Return the rows that a pass over these texts reads."""
        return [*range(self.beside), *(one.place + self.beside for one in ranked)]

    def again(self, subnet: str, outputs: Outputs, ranked: Sequence[Ranked]) -> list[Ranked]:
        """Return texts with the scores of a second pass, the best first."""
        scores = self._relevance.scores(outputs)
        scored = [replace(one, score=score, subnet=subnet) for one, score in zip(ranked, scores, strict=True)]
        return sorted(scored, key=lambda one: -one.score)

    def ranking(self, encoded: Encoded, ranked: Sequence[Ranked], closely: int = 0) -> Read:
        """Return the ranking, whose first `closely` texts were read twice."""
        close_subnet = ranked[0].subnet if closely else None
        finish = functools.partial(Ranking, results=tuple(ranked), close_subnet=close_subnet, closely=closely)
        return Read(finish, sum(encoded.tokens), any(encoded.truncated))


def rank_reading(relevance: Relevance, query: object, texts: object) -> RankReading:
    """Return the reading of a query and its texts; raise InputError for anything but a text and a list of texts."""
    if not isinstance(query, str):
        raise InputError(f"query: expected a text (str), got {type(query).__name__}")
    if not isinstance(texts, list):
        raise InputError(f"texts: expected a list of texts (str), got {type(texts).__name__}")
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"texts: expected a list of texts (str), got {type(text).__name__} at place {place}")
    if not texts:
        raise InputError("texts: expected at least one text, got an empty list")
    return RankReading(relevance, query, texts)
