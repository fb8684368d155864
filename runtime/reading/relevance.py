"""Relevance of texts to a query, as one number each: of a cross-encoder that reads pairs, or of two vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from gearshift.errors import InputError
from gearshift.runtime.bundle.manifest import Manifest
from gearshift.runtime.inference.answers import probabilities
from gearshift.runtime.inference.session import Outputs
from gearshift.runtime.inference.text import Text
from gearshift.runtime.reading.vectors import DOCUMENT, LEAST_LENGTH, QUERY, named_prompt

RELEVANT = ("1", "label_1", "relevant", "yes", "true", "positive", "entailment", "duplicate", "equivalent", "match")
"""Names, in lower case, of a label that says that the second text of a pair fits the first."""

Vector = NDArray[np.float64]

SIMILARITY: dict[str, Callable[[Vector, Vector], float]] = {
    "cosine": lambda one, other: (
        float(one @ other) / max(float(np.linalg.norm(one) * np.linalg.norm(other)), LEAST_LENGTH)
    ),
    "dot": lambda one, other: float(one @ other),
    "euclidean": lambda one, other: -float(np.linalg.norm(one - other)),
    "manhattan": lambda one, other: -float(np.abs(one - other).sum()),
}
"""Name in a manifest -> similarity of two vectors, higher for nearer ones, as sentence-transformers has it."""


class Relevance:
    """Relevance by a bundle: rows to run for a query and its texts, and the score of each text.

    A cross-encoder reads (query, text) pairs: its number, or of two labels the probability of the relevant one. An
    embedding reads query and texts each by itself, and its similarity compares them. Raises InputError for a bundle
    that can do neither.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest, self._embeds = manifest, manifest.task == "embedding"
        vectors = manifest.vectors
        self._similar = SIMILARITY["cosine" if vectors is None else vectors.similarity]
        self._label = _relevant(manifest.labels) if manifest.task == "classification" else None
        if not self._embeds and self._label is None and manifest.task != "regression":
            raise InputError(
                f"rank: expected a bundle for embedding, regression or classification of pairs, got {manifest.task}; "
                "train one of these"
            )

    @property
    def beside(self) -> int:
        """Number of rows before those of the texts: the query's own, which vectors are compared with."""
        return int(self._embeds)

    def rows(self, query: str, texts: Sequence[str]) -> list[Text]:
        """Return the rows to run."""
        return [query, *texts] if self._embeds else [(query, text) for text in texts]

    def prompts(self, texts: int) -> list[str | None] | None:
        """Return the prompt of each row: those for queries and for documents, if the bundle has them; None for its own
        before all."""
        if not self._embeds:
            return None
        return [named_prompt(self._manifest, QUERY), *[named_prompt(self._manifest, DOCUMENT)] * texts]

    def scores(self, outputs: Outputs) -> list[float]:
        """Return the score of each text by the outputs of the rows."""
        if self._embeds:
            query, *others = (output.astype(np.float64) for output in outputs)
            return [self._similar(query, other) for other in others]
        if self._label is None:
            return [float(output[0]) for output in outputs]
        return [float(probabilities(output)[self._label]) for output in outputs]


def _relevant(labels: Sequence[str]) -> int:
    """Return the place of the label that says that a text is relevant."""
    found = [place for place, label in enumerate(labels) if label.lower() in RELEVANT]
    if len(labels) != 2 or len(found) != 1:
        raise InputError(
            f"rank: expected two labels, one of them named as relevant ({', '.join(RELEVANT)}), found "
            f"{', '.join(labels[:9])}; train on rows with such labels, or with a number as the label"
        )
    return found[0]
