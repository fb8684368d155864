"""File of a bundle's self-test: its arrays, whose sizes follow from the manifest."""

from __future__ import annotations

import math
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gearshift.errors import SchemaError, one_line
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.bundle.manifest import SELF_TEST, Manifest, PoolEntry
from gearshift.runtime.files.npz import Expected, read_arrays

MOST_TOKENS = 1 << 16
"""Tokens of all texts of a self-test, with padding: 128 texts of 512. The exporter takes some dozens of texts."""

MOST_NUMBERS = 1 << 24
"""Numbers of an array: a hundred texts of 512 tokens with some hundred labels."""

MOST_CHARACTERS = 1 << 20
"""Characters of the texts of a DAN's self-test, each row as long as the longest."""

Arrays = dict[str, NDArray[Any]]


def logits_names(manifest: Manifest, precision: str, subnet: str) -> tuple[str, ...]:
    """Return the names of the arrays of a subnet's logits: of each head, in the order of the outputs."""
    return tuple(
        f"logits.{precision}.{subnet}.{head.name}" if head.name else f"logits.{precision}.{subnet}"
        for head in manifest.every_head
    )


def read_logits(bundle: Bundle, precision: str) -> tuple[Arrays, dict[str, tuple[NDArray[np.float32], ...]]]:
    """Return the inputs by name, and the logits of each head that each subnet of a precision must give for them.

    Raises SchemaError if one is missing, of another kind, or larger than the manifest asks for.
    """
    manifest, path = bundle.manifest, bundle.path / SELF_TEST
    names = {name: logits_names(manifest, precision, name) for name in bundle.pool(precision)}

    def is_input(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
        return (
            dtype == np.int64
            and len(shape) == 2
            and 0 < shape[1] <= manifest.max_length
            and 0 < math.prod(shape) <= MOST_TOKENS
        )

    def is_images(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
        images = manifest.images
        sizes = () if images is None else (3, images.height, images.width)
        return dtype == np.float32 and shape[1:] == sizes and 0 < math.prod(shape) <= MOST_NUMBERS

    def is_logits(axes: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
        return dtype == np.float32 and len(shape) == axes and math.prod(shape) <= MOST_NUMBERS

    given: Expected = is_input if manifest.images is None else is_images
    expected: dict[str, Expected] = dict.fromkeys(manifest.inputs, given)
    for arrays_of in names.values():
        for name, head in zip(arrays_of, manifest.every_head, strict=True):
            expected[name] = is_images if head.form.makes_images else partial(is_logits, 2 + head.form.per_token)
    arrays = _read(path, expected, "not readable")
    inputs = {name: arrays[name] for name in manifest.inputs}
    read = inputs.get("attention_mask", np.ones(int(manifest.images is not None)))  # every text has a token
    if len({array.shape for array in inputs.values()}) != 1 or not read.any(axis=-1).all():
        raise SchemaError(f"{path}: not readable (inputs of several shapes, or no tokens); export the bundle again")
    return inputs, {subnet: tuple(arrays[name] for name in of) for subnet, of in names.items()}


def self_test_names(entry: PoolEntry) -> tuple[str, str]:
    """Return the names of the arrays of a DAN's self-test: texts (rows, 1 or 2), and their logits."""
    return f"texts.{entry.precision}.{entry.name}", f"logits.{entry.precision}.{entry.name}"


def read_texts(path: Path, entry: PoolEntry) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
    """Read texts (rows, 1 or 2) and logits (rows, labels) of a DAN's self-test; raise SchemaError without them."""

    def is_texts(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
        characters = math.prod(shape) * dtype.itemsize // 4
        return (
            dtype.kind == "U"
            and len(shape) == 2
            and 1 <= shape[1] <= 2
            and characters <= MOST_CHARACTERS
            and shape[0] > 0
        )

    def is_logits(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
        return dtype == np.float32 and len(shape) == 2 and math.prod(shape) <= MOST_NUMBERS

    of_texts, of_logits = self_test_names(entry)
    told = f"no self-test of {entry.name}"
    arrays = _read(path / SELF_TEST, {of_texts: is_texts, of_logits: is_logits}, told)
    _check_characters(path, arrays[of_texts], told)
    return arrays[of_texts], arrays[of_logits]


WORD_ARRAYS = ("words.texts", "words.ids", "words.places")
"""Names of the arrays of the self-test of words: texts (rows,); their token ids (rows, tokens), -1 after the end; and
first token, start and end in the text of each word (rows, words, 3), -1 after the last."""


def read_words(path: Path) -> tuple[NDArray[np.str_], NDArray[np.int64], NDArray[np.int64]]:
    """Read the self-test of words, the arrays of WORD_ARRAYS; raise SchemaError without them."""

    def is_texts(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
        return dtype.kind == "U" and len(shape) == 1 and math.prod(shape) * dtype.itemsize // 4 <= MOST_CHARACTERS

    def is_ids(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
        return dtype == np.int64 and len(shape) == 2 and math.prod(shape) <= MOST_TOKENS

    def is_places(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
        return dtype == np.int64 and len(shape) == 3 and shape[2] == 3 and math.prod(shape) <= 3 * MOST_TOKENS

    told, expected = "no self-test of words", dict(zip(WORD_ARRAYS, (is_texts, is_ids, is_places), strict=True))
    arrays = _read(path / SELF_TEST, dict(expected), told)
    texts, ids, places = (arrays[name] for name in WORD_ARRAYS)
    _check_characters(path, texts, told)
    if not len(texts) == len(ids) == len(places):
        raise SchemaError(f"{path / SELF_TEST}: {told} (arrays of several lengths); export the bundle again")
    return texts, ids, places


def read_self_test(bundle: Bundle) -> Arrays:
    """Return every array of the self-test that the manifest asks for, by its name; raises SchemaError."""
    found: Arrays = {}
    for precision in bundle.precisions:
        inputs, logits = read_logits(bundle, precision)
        found |= inputs
        for name, arrays in logits.items():
            found |= zip(logits_names(bundle.manifest, precision, name), arrays, strict=True)
    if bundle.dan is not None:
        found |= zip(self_test_names(bundle.dan), read_texts(bundle.path, bundle.dan), strict=True)
    if bundle.manifest.words is not None:
        found |= zip(WORD_ARRAYS, read_words(bundle.path), strict=True)
    return found


def _check_characters(path: Path, texts: NDArray[Any], told: str) -> None:
    codes = texts.view(np.uint32) if texts.size else np.zeros(0, np.uint32)
    if (codes > sys.maxunicode).any() or ((codes >= 0xD800) & (codes < 0xE000)).any():  # halves of surrogate pairs
        raise SchemaError(f"{path / SELF_TEST}: {told} (numbers that are no characters); export the bundle again")


def _read(path: Path, expected: dict[str, Expected], told: str) -> Arrays:
    try:
        return read_arrays(path, expected)
    except (ValueError, OSError) as error:
        raise SchemaError(f"{path}: {told} ({one_line(error)}); export the bundle again") from error
