"""The form of OpenAI's `/v1/embeddings`, which clients of many programs speak."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gearshift.errors import InputError
from gearshift.number_checks import shown
from gearshift.runtime.bundle.manifest import Manifest
from gearshift.runtime.inference.answers import Embedding
from gearshift.server.asked import Asked, check_count, check_model, refuse_others, width_of

KNOWN = ("input", "model", "encoding_format", "dimensions", "user")
ENCODINGS = ("float", "base64")


def read_openai(fields: Mapping[str, Any], manifest: Manifest, most: int) -> Asked:
    """Read a body with `input`, a string or a list of strings; tokens in place of texts are refused."""
    refuse_others(fields, KNOWN)
    check_model(fields, manifest)
    given = fields.get("input")
    texts = given if isinstance(given, list) else [given]
    for text in texts:
        if not isinstance(text, str):
            raise InputError(f"input: expected a string or a list of strings, got {shown(text)}")
    check_count(len(texts), most)
    encoding = fields.get("encoding_format", "float")
    if encoding not in ENCODINGS:
        raise InputError(f"encoding_format: expected {' or '.join(ENCODINGS)}, got {shown(encoding)}")
    width, wanted = width_of(manifest), fields.get("dimensions")
    if wanted is not None and wanted != width:
        raise InputError(
            f"dimensions: expected {width}, the width of this model's vectors, or none, got {shown(wanted)}"
        )
    return Asked(texts, lambda answers: _written(answers, manifest.name, as_text=encoding == "base64"))


def _written(answers: Sequence[Embedding], model: str, *, as_text: bool) -> dict[str, Any]:
    tokens = sum(answer.tokens for answer in answers)
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": number, "embedding": _vector(answer.vector, as_text=as_text)}
            for number, answer in enumerate(answers)
        ],
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _vector(vector: NDArray[np.float32], *, as_text: bool) -> str | list[float]:
    """Return the numbers, or base64 of them as float32, little endian."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode() if as_text else vector.tolist()
