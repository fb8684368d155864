"""Corpus: unlabelled text, cut into pieces of tokens, with a held-out part."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from gearshift.errors import DataError, InputError
from gearshift.trainer.data.batches import EncodedRows
from gearshift.trainer.data.formats import read_records
from gearshift.trainer.data.rows import DEFAULTS
from gearshift.trainer.data.tokenizer import pad_id_of, whole

_TEXTS_AT_ONCE = 200
_LEAST_TOKENS = 8
"""Fewest tokens of the last piece of a text; a shorter one is left out."""


@dataclass(frozen=True)
class Corpus:
    """Pieces to learn from, and held-out ones; all pieces of a text are on one side."""

    train: EncodedRows
    dev: EncodedRows
    hash: str
    """SHA-256 of all pieces."""


def read_corpus(
    paths: Sequence[Path], tokenizer: Tokenizer, *, max_length: int, tokens: int, dev_tokens: int
) -> Corpus:
    """Read `dev_tokens` held-out tokens and then `tokens` tokens of text, or all there are; raises DataError.

    Texts are taken in the order of their hashes, which depends neither on the order of the files nor on that within
    them. Long texts are cut into pieces of `max_length` tokens, including special ones.
    """
    texts = sorted({text for path in paths for text in _texts(path)}, key=_hash)
    special = tokenizer.num_special_tokens_to_add(False)
    if max_length < special + _LEAST_TOKENS:
        raise InputError(f"max_length: expected at least {special + _LEAST_TOKENS}, got {max_length}")
    pieces = _pieces(texts, tokenizer, max_length)
    dev = _take(pieces, dev_tokens)
    train = _take(pieces, tokens)
    if not train:
        names = ", ".join(str(path) for path in paths)
        raise DataError(f"{names}: expected more than {dev_tokens} tokens, the held-out ones, found fewer; add text")
    content = hashlib.sha256(b"".join(ids.tobytes() + b"|" for ids in (*dev, *train))).hexdigest()
    pad = pad_id_of(tokenizer)
    return Corpus(_encoded(train, pad), _encoded(dev, pad), content)


def _texts(path: Path) -> Iterator[str]:
    for _, record in read_records(path, (DEFAULTS["embedding"].text,)):
        yield str(record[DEFAULTS["embedding"].text]).strip()


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _pieces(texts: Sequence[str], tokenizer: Tokenizer, max_length: int) -> Iterator[list[NDArray[np.int32]]]:
    """Yield the pieces of each text."""
    cutting: Any = whole(tokenizer)
    cutting.enable_truncation(max_length)  # on the right, whatever the tokenizer's side: the rest becomes pieces too
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        for encoding in cutting.encode_batch(list(texts[start : start + _TEXTS_AT_ONCE])):
            found = [np.array(each.ids, np.int32) for each in (encoding, *encoding.overflowing)]
            yield [ids for ids in found[:1] if len(ids)] + [ids for ids in found[1:] if len(ids) >= _LEAST_TOKENS]


def _take(pieces: Iterable[list[NDArray[np.int32]]], tokens: int) -> list[NDArray[np.int32]]:
    """Take whole texts until they have `tokens` tokens."""
    taken: list[NDArray[np.int32]] = []
    count = 0
    for of_text in pieces:
        taken += of_text
        count += sum(map(len, of_text))
        if count >= tokens:
            break
    return taken


def _encoded(pieces: Sequence[NDArray[np.int32]], pad: int) -> EncodedRows:
    types = tuple(np.zeros(len(ids), np.int8) for ids in pieces)
    labels = np.zeros((len(pieces), 0), np.float32)
    return EncodedRows(tuple(pieces), types, labels, pad, 0, 0, task="embedding")
