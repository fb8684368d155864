"""Tokenizer of a bundle: converts texts to token arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from gearshift.errors import InputError
from gearshift.runtime.batches import Work, group, work_of
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.bundle.manifest import TOKENIZER
from gearshift.runtime.bundle.tasks import TASKS
from gearshift.runtime.inference.tokenizer_file import failure, open_tokenizer

Text = str | tuple[str, str]
"""One text, or a pair of texts that the model reads together."""

CHARACTERS_PER_TOKEN = 32
"""Characters per token of max_length beyond which a text is cut before it is tokenized, to keep the time bounded.
English has 4 to 5 characters per token; 32 leaves room for text that is mostly long, frequent words."""


@dataclass(frozen=True)
class Call:
    """Texts that run in one call of the graph."""

    rows: tuple[int, ...]
    """Indices of the texts, in the order of the inputs."""
    inputs: dict[str, NDArray[np.int64]]
    """Arrays by name of the graph's input, each (rows, tokens), padded to the longest of these texts."""


@dataclass(frozen=True)
class Encoded:
    """One or more texts as the graph takes them."""

    calls: tuple[Call, ...]
    """Calls of texts of similar length, so that little is padded (`batches`)."""
    tokens: tuple[int, ...]
    """Number of tokens of each text, special ones included, without padding."""
    truncated: tuple[bool, ...]
    """Whether the end of each text was cut off."""
    parts: tuple[tuple[str, ...], ...]
    """Texts, one or two, of each row, as they were tokenized."""
    encodings: tuple[Encoding, ...]
    """Tokens of each row with their offsets in its parts."""
    work: Work
    """Work of the texts: tokens and number of texts of each call."""


class TextEncoder:
    """Tokenizer of a bundle. Safe to use from several threads."""

    def __init__(self, bundle: Bundle) -> None:
        self._path = bundle.path / TOKENIZER
        self._tokenizer = open_tokenizer(bundle)
        self._names = bundle.manifest.inputs
        self._pad_id = bundle.manifest.pad_id
        task = TASKS.get(bundle.manifest.task)
        self._keeps_places = task is not None and task.per_token
        self._characters = bundle.manifest.max_length * CHARACTERS_PER_TOKEN

    def encode(self, texts: Sequence[Text]) -> Encoded:
        """Convert one or more texts to token arrays; raise InputError for an empty text and for anything but a text.

        Texts are tokenized one after another: the tokenizer's own batches would use every core of the device.
        """
        encodings, truncated, kept = [], [], []
        for index, text in enumerate(texts):
            where = f"text {index}: " if len(texts) > 1 else ""
            parts = [self._shortened(part) for part in _parts(text, where)]
            encoding = self._encode_one([part for part, _ in parts], where)
            encodings.append(encoding)
            kept.append(tuple(part for part, _ in parts))
            truncated.append(bool(encoding.overflowing) or any(cut for _, cut in parts))
        lengths = tuple(len(encoding.ids) for encoding in encodings)
        calls = tuple(Call(rows, self._inputs([encodings[row] for row in rows])) for rows in group(lengths))
        return Encoded(calls, lengths, tuple(truncated), tuple(kept), tuple(encodings), work_of(lengths))

    def _inputs(self, encodings: Sequence[Encoding]) -> dict[str, NDArray[np.int64]]:
        columns = {
            "input_ids": ([encoding.ids for encoding in encodings], self._pad_id),
            "attention_mask": ([encoding.attention_mask for encoding in encodings], 0),
            "token_type_ids": ([encoding.type_ids for encoding in encodings], 0),
        }
        longest = max(len(encoding.ids) for encoding in encodings)
        return {name: _padded(*columns[name], longest) for name in self._names}

    def _encode_one(self, parts: list[str], where: str) -> Encoding:
        try:
            return self._tokenizer.encode(*parts)
        except (TypeError, UnicodeEncodeError) as error:  # a str with a lone surrogate, which UTF-8 lacks
            raise InputError(f"{where}not valid Unicode; expected text without lone surrogates") from error
        except BaseException as error:
            raise failure(self._path, error) from error

    def _shortened(self, text: str) -> tuple[str, bool]:
        """Return the part of a text that can fit the model, and whether the rest was cut off."""
        if len(text) <= self._characters:
            return text, False
        if not self._keeps_places:
            text = " ".join(text.split())  # so that a run of blanks does not use up the characters
        return text[: self._characters], len(text) > self._characters


def _parts(text: object, where: str) -> tuple[str, ...]:
    """Return the one or two strings of a text; raise InputError for anything else."""
    parts = text if isinstance(text, tuple) else (text,)
    if isinstance(text, tuple) and len(text) != 2:
        raise InputError(f"{where}expected a text or a pair of texts, got a tuple of {len(text)}")
    for part in parts:
        if not isinstance(part, str):
            raise InputError(f"{where}expected a text (str) or a pair of texts, got {type(part).__name__}")
        if not part.strip():
            raise InputError(f"{where}empty text; expected at least one word")
    return parts


def _padded(rows: list[list[int]], value: int, length: int) -> NDArray[np.int64]:
    array = np.full((len(rows), length), value, dtype=np.int64)  # (batch, tokens)
    for index, row in enumerate(rows):
        array[index, : len(row)] = row
    return array
