"""`encode` with the names of sentence-transformers: vectors of many texts as one array."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gearshift.errors import InputError
from gearshift.number_checks import is_whole, shown
from gearshift.runtime.bundle.manifest import Manifest
from gearshift.runtime.reading.vectors import checked_dimensions, cut
from gearshift.terminal.output import progress_line

BATCH_SIZE = 32


def encode(
    run: Callable[..., list[Any]],
    manifest: Manifest,
    sentences: str | Sequence[str],
    *,
    batch_size: int,
    show_progress_bar: bool | None,
    convert_to_numpy: bool,
    normalize_embeddings: bool,
    truncate_dim: int | None,
    deadline_ms: float | None,
    prompts: dict[str, str | None],
) -> Any:
    """Return vectors as `Engine.encode` does; `run` answers a list of texts.

    Without a deadline texts of like length run together, `batch_size` at once; with one all are one request.
    """
    if manifest.task != "embedding":
        raise InputError(f"encode: expected a bundle for embedding, got {manifest.task}; use run")
    if not isinstance(sentences, Iterable):
        raise InputError(f"sentences: expected a text or a list of texts, got {type(sentences).__name__}")
    single = isinstance(sentences, str)
    texts = [sentences] if isinstance(sentences, str) else list(sentences)
    if not is_whole(batch_size, 1):
        raise InputError(f"batch_size: expected a whole number of at least 1, got {shown(batch_size)}")
    width = None if truncate_dim is None else checked_dimensions(manifest, truncate_dim)
    size = batch_size if deadline_ms is None else max(1, len(texts))
    order = sorted(range(len(texts)), key=lambda place: -_length(texts[place]))
    vectors: dict[int, NDArray[np.float32]] = {}
    with progress_line(" texts") as update:
        for start in range(0, len(texts), size):
            places = order[start : start + size]
            answers = run([texts[place] for place in places], deadline_ms=deadline_ms, **prompts)
            vectors.update(zip(places, (answer.vector for answer in answers), strict=True))
            if show_progress_bar or (show_progress_bar is None and len(texts) > size):
                update("encode", len(vectors), len(texts))
    rows = [cut(vectors[place], width, normalized=normalize_embeddings) for place in range(len(texts))]
    if single:
        return rows[0]
    if not convert_to_numpy:
        return rows
    if rows:
        return np.stack(rows)
    return np.zeros((0, width or (manifest.vectors.width if manifest.vectors else 0)), dtype=np.float32)


def _length(text: object) -> int:
    return len(text) if isinstance(text, str) else 0  # what is no text is refused when it runs
