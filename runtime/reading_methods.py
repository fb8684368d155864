"""Methods of an engine for more than single texts: rankings, labels of the caller, vectors of many texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gearshift.runtime.reading.encode import BATCH_SIZE, encode
from gearshift.runtime.reading.ranking import Ranking, rank_reading
from gearshift.runtime.reading.relevance import Relevance
from gearshift.runtime.reading.zero_shot import HYPOTHESIS, zero_shot_reading
from gearshift.runtime.serving.in_flight import InFlight, Place
from gearshift.runtime.serving.request import Request
from gearshift.runtime.state import EngineState


class ReadingMethods(EngineState):
    """Methods that read several rows as one request. The engine has its clock, its requests in flight, and `run`."""

    _in_flight: InFlight
    _clock: Callable[[], float]
    run: Callable[..., Any]

    def rank(self, query: str, texts: list[str], *, deadline_ms: float | None = None) -> Ranking:
        """Rank texts by their relevance to a query, the most relevant first; the list is one request.

        By a bundle that reads pairs, for regression or for classification with two labels, or by an embedding. With a
        deadline, either one subnet reads all texts, or a faster one does and a more accurate one reads the best again,
        as many as there is time for; each result says which subnet its score is of. Deadlines as for `run`.
        Raises InputError for a bundle that cannot rank, and as `run` does.
        """
        return self._in_flight.call(self._rank, query, texts, deadline_ms)

    def _rank(self, place: Place, query: object, texts: object, deadline_ms: object) -> Ranking:
        reading = rank_reading(Relevance(self.bundle.manifest), query, texts)
        request = Request.read_by(reading, deadline_ms, self._opened.texts, self._clock)
        ranking: Ranking = self._answering.answer(place, request)
        return ranking

    def classify(
        self,
        text: Any,
        labels: Sequence[str] | str,
        *,
        hypothesis: str = HYPOTHESIS,
        multi_label: bool = False,
        deadline_ms: float | None = None,
    ) -> Any:
        """Classify a text, or each of a list of texts, by labels of your own (zero-shot); return ZeroShot answers.

        By a net for natural language inference: each label is put into the hypothesis, which the text implies or not.
        `multi_label`: whether several labels may apply, each with a probability of its own. Every text runs once for
        each label, all on one subnet; the deadline is for the whole. Raises InputError for a bundle without a label
        named `entailment`, and as `run` does.
        """
        return self._in_flight.call(self._classify, text, labels, hypothesis, multi_label, deadline_ms)

    def _classify(
        self, place: Place, text: Any, labels: object, hypothesis: object, multi_label: object, deadline_ms: object
    ) -> Any:
        single = not isinstance(text, list)
        reading = zero_shot_reading(self.bundle.manifest, [text] if single else text, labels, hypothesis, multi_label)
        request = Request.read_by(reading, deadline_ms, self._opened.texts, self._clock, single=single)
        return self._answering.answer(place, request) if reading.rows else []

    def encode(
        self,
        sentences: str | Sequence[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = BATCH_SIZE,
        show_progress_bar: bool | None = None,
        *,
        convert_to_numpy: bool = True,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        deadline_ms: float | None = None,
    ) -> Any:
        """Encode texts as sentence-transformers' `encode` does: an array (texts, width), or (width,) of a single text.

        `convert_to_numpy`: False for a list of arrays. `truncate_dim` keeps the first numbers as they are, and
        `normalize_embeddings` gives vectors length 1. `show_progress_bar`: None shows one, on a terminal alone, of more
        texts than one batch. `deadline_ms` is for all texts together, which are one request then. Raises as `run` does.
        """
        return encode(
            self.run,
            self.bundle.manifest,
            sentences,
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
            convert_to_numpy=convert_to_numpy,
            normalize_embeddings=normalize_embeddings,
            truncate_dim=truncate_dim,
            deadline_ms=deadline_ms,
            prompts={"prompt_name": prompt_name, "prompt": prompt},
        )
