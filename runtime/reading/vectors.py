"""Vectors as a request asks for them: with another prompt, or cut to their first numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gearshift.errors import InputError
from gearshift.number_checks import is_whole, shown
from gearshift.runtime.bundle.manifest import Manifest
from gearshift.runtime.inference.answers import Embedding, RunFacts
from gearshift.runtime.inference.session import Outputs
from gearshift.runtime.inference.text import Encoded
from gearshift.runtime.reading.reading import Read, Reading

QUERY = ("query",)
DOCUMENT = ("document", "passage", "corpus")
"""Names of the prompts of queries and of texts that are searched, as sentence-transformers looks for them."""

LEAST_LENGTH = 1e-12
"""Lower bound of the length that a vector is divided by, as in the graph."""


def prompt_of(manifest: Manifest, prompt_name: object, prompt: object) -> str | None:
    """Return the prompt that a request asks for, by its name or its text, which comes first; None for the bundle's own.

    Raises InputError for a bundle that cannot have another, and for an unknown name.
    """
    if prompt_name is None and prompt is None:
        return None
    vectors = manifest.vectors
    if vectors is None:
        raise InputError(
            f"prompt: expected a bundle whose manifest has vectors, got {manifest.task}; put it into the text"
        )
    if prompt is not None:
        if not isinstance(prompt, str):
            raise InputError(f"prompt: expected a text (str) or None, got {type(prompt).__name__}")
        wanted = prompt
    elif isinstance(prompt_name, str) and prompt_name in vectors.prompts:
        wanted = vectors.prompts[prompt_name]
    else:
        known = ", ".join(sorted(vectors.prompts)) or "none"
        raise InputError(f"prompt_name: expected one of the model's prompts ({known}), got {shown(prompt_name)}")
    if not vectors.pools_prompt and wanted != vectors.prompt:
        raise InputError(
            f"prompt: the pooling of this model leaves its prompt out, and its graph knows that of {vectors.prompt!r} "
            f"alone; got {shown(wanted)}"
        )
    return wanted


def named_prompt(manifest: Manifest, names: tuple[str, ...]) -> str | None:
    """Return the first prompt of these names that the bundle has and can be asked for; None for its own."""
    vectors = manifest.vectors
    if vectors is None or not vectors.pools_prompt:
        return None
    return next((vectors.prompts[name] for name in names if name in vectors.prompts), None)


def cut(vector: NDArray[np.float32], dimensions: int | None, *, normalized: bool) -> NDArray[np.float32]:
    """Return the first numbers of vectors (..., width), made of length 1 if `normalized`."""
    kept = vector if dimensions is None else vector[..., :dimensions]
    if not normalized:
        return kept
    lengths = np.linalg.norm(kept, axis=-1, keepdims=True)
    return (kept / np.maximum(lengths, LEAST_LENGTH)).astype(np.float32)  # type: ignore[no-any-return]


def checked_dimensions(manifest: Manifest, dimensions: object) -> int:
    """Return a number of dimensions; raise InputError unless the bundle's vectors have as many."""
    vectors = manifest.vectors
    if vectors is None:
        raise InputError(f"dimensions: expected a bundle whose manifest has vectors, got {manifest.task}")
    if not is_whole(dimensions, 1, vectors.width):
        raise InputError(f"dimensions: expected a whole number from 1 to {vectors.width}, got {shown(dimensions)}")
    return dimensions


class CutReading:
    """Reading of vectors by another reading, each cut to its first numbers, of length 1 where the model's are."""

    def __init__(self, reading: Reading, dimensions: int, *, normalized: bool) -> None:
        self._reading, self._dimensions, self._normalized = reading, dimensions, normalized

    def read(self, subnet: str, outputs: Outputs, encoded: Encoded) -> list[Read]:
        """Read the cut vectors."""
        found = self._reading.read(subnet, outputs, encoded)
        return [dataclasses.replace(one, finish=self._cutting(one.finish)) for one in found]

    def _cutting(self, finish: Callable[..., RunFacts]) -> Callable[..., RunFacts]:
        def cut_answer(**facts: Any) -> RunFacts:
            answer = finish(**facts)
            assert isinstance(answer, Embedding)
            vector = cut(answer.vector, self._dimensions, normalized=self._normalized)
            return dataclasses.replace(answer, vector=vector.copy())  # not a view that keeps the whole

        return cut_answer
