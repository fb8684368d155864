"""Rows -> token ids once, then padded batches for every epoch.

The tokenizer is a `tokenizers.Tokenizer`, the library that the device uses, so that both see the same ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from gearshift.runtime.errors import DataError, InputError
from gearshift.trainer.data import Row

_CHUNK_BATCHES = 50
"""Batches whose rows are sorted by length together: enough to waste little padding."""

_LEAST_CHUNKS = 4
"""Chunks of a small data set; sorted as one, it would put the same rows together in every epoch."""

_ROWS_AT_ONCE = 1000
"""Rows tokenised in one call; each result holds offsets and words too, many times the size of its ids."""

_PAD_TOKENS = ("[PAD]", "<pad>")
"""BERT's and RoBERTa's, for a tokenizer whose file sets no padding."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows padded to the longest of them, all int64."""

    input_ids: torch.Tensor
    """(batch, tokens); the pad id after the end of each row."""
    attention_mask: torch.Tensor
    """(batch, tokens); 1 for a token, 0 for padding."""
    token_type_ids: torch.Tensor
    """(batch, tokens); 1 for the tokens of the second text of a pair, where the tokenizer marks them."""
    labels: torch.Tensor
    """(batch,); the place of each row's label among the labels."""
    indices: torch.Tensor
    """(batch,); the place of each row among the encoded rows, to bring results back in their order."""

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return Batch(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


@dataclass(frozen=True, eq=False)
class EncodedRows:
    """Tokenised rows, in their original order."""

    ids: tuple[NDArray[np.int32], ...]
    """Token ids of each row, (tokens,), with the special tokens and without padding."""
    type_ids: tuple[NDArray[np.int8], ...]
    """Token types of each row, (tokens,)."""
    labels: NDArray[np.int64]
    """(rows,); the place of each row's label among the labels."""
    pad_id: int
    pad_type_id: int
    truncated: int
    """How many rows were cut to the maximum length."""

    def __len__(self) -> int:
        return len(self.ids)

    def batch_count(self, batch_size: int, *, drop_last: bool = False) -> int:
        """How many batches `batches` gives."""
        _check_batch_size(batch_size)
        return len(self) // batch_size if drop_last else -(-len(self) // batch_size)

    def batches(self, batch_size: int, *, seed: int | None = None, drop_last: bool = False) -> Iterator[Batch]:
        """One epoch: each row once, in batches of rows of similar length.

        With a seed: shuffled, sorted by length within chunks, cut into batches, the batches shuffled. Pass
        another seed for each epoch; the same seed gives the same batches. Without one: in order of length.
        `drop_last` leaves out the rows, picked by the seed, that do not fill a batch.
        Raises InputError for a batch size below 1.
        """
        _check_batch_size(batch_size)
        order = self._order(batch_size, seed, drop_last)
        starts = np.arange(0, len(order), batch_size)
        if seed is not None:
            # Not the generator that made the order: the two must not depend on each other's draws.
            starts = np.random.default_rng((seed, 1)).permutation(starts)
        return (self._batch(order[start : start + batch_size]) for start in starts)

    def select(self, rows: Sequence[int]) -> Batch:
        """One batch of the rows at these places, in this order."""
        return self._batch(np.asarray(rows, dtype=np.int64))

    def _order(self, batch_size: int, seed: int | None, drop_last: bool) -> NDArray[np.int64]:
        """Places of the rows, so that each run of `batch_size` from the start is a batch."""
        lengths = np.array([len(ids) for ids in self.ids], dtype=np.int64)
        if seed is None:
            order = np.argsort(lengths, kind="stable")
        else:
            order = np.random.default_rng((seed, 0)).permutation(len(self))
        if drop_last:
            order = order[: len(order) // batch_size * batch_size]
        if seed is None:
            return order
        batches = min(_CHUNK_BATCHES, max(1, len(order) // (batch_size * _LEAST_CHUNKS)))
        size = batches * batch_size
        chunks = [order[start : start + size] for start in range(0, len(order), size)]
        # The chunks are shuffled already, so equal lengths stay in random order.
        return np.concatenate([chunk[np.argsort(lengths[chunk], kind="stable")] for chunk in chunks] or [order])

    def _batch(self, rows: NDArray[np.int64]) -> Batch:
        tokens = max(len(self.ids[row]) for row in rows)
        input_ids = np.full((len(rows), tokens), self.pad_id, dtype=np.int64)
        type_ids = np.full((len(rows), tokens), self.pad_type_id, dtype=np.int64)
        mask = np.zeros((len(rows), tokens), dtype=np.int64)
        for place, row in enumerate(rows):
            length = len(self.ids[row])
            input_ids[place, :length] = self.ids[row]
            type_ids[place, :length] = self.type_ids[row]
            mask[place, :length] = 1
        arrays = (input_ids, mask, type_ids, self.labels[rows], rows)
        return Batch(*(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays))


def encode(
    rows: Sequence[Row],
    labels: Sequence[str],
    tokenizer: Tokenizer,
    *,
    max_length: int,
    pad_id: int | None = None,
) -> EncodedRows:
    """The rows as token ids, cut to `max_length` tokens, special tokens included.

    A row's label becomes its place in `labels`; of a pair the longer text is cut first. The tokenizer is not
    changed: its own padding and truncation are put aside in a copy. `pad_id` is the tokenizer's unless given.
    Raises DataError for a label that is not among `labels` and for a row without tokens, InputError for a
    maximum length that has no room for text and for a tokenizer without a pad token.
    """
    places = {label: place for place, label in enumerate(labels)}
    for number, row in enumerate(rows):
        if row.label not in places:
            raise DataError(f"row {number}: label {row.label!r} is not among {', '.join(labels)}")
    cutting = _truncating(tokenizer, max_length, paired=any(row.pair is not None for row in rows))
    ids: list[NDArray[np.int32]] = []
    type_ids: list[NDArray[np.int8]] = []
    truncated = 0
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        texts = [row.text if row.pair is None else (row.text, row.pair) for row in rows[start : start + _ROWS_AT_ONCE]]
        for encoding in cutting.encode_batch(texts):
            if not encoding.ids:
                raise DataError(f"row {len(ids)}: the tokenizer finds no tokens in its text; remove the row")
            ids.append(np.array(encoding.ids, dtype=np.int32))
            type_ids.append(np.array(encoding.type_ids, dtype=np.int8))
            truncated += bool(encoding.overflowing)
    return EncodedRows(
        tuple(ids),
        tuple(type_ids),
        np.array([places[row.label] for row in rows], dtype=np.int64),
        _pad_id(tokenizer) if pad_id is None else pad_id,
        int((tokenizer.padding or {}).get("pad_type_id", 0)),
        truncated,
    )


def _truncating(tokenizer: Tokenizer, max_length: int, *, paired: bool) -> Any:
    """A copy of the tokenizer that cuts to `max_length` and does not pad."""
    special = tokenizer.num_special_tokens_to_add(paired)
    least = special + (2 if paired else 1)
    if max_length < least:
        raise InputError(f"max_length: expected at least {least}, room for {special} special tokens, got {max_length}")
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_padding()
    copy.enable_truncation(max_length, strategy="longest_first")
    return copy


def _pad_id(tokenizer: Tokenizer) -> int:
    if tokenizer.padding is not None:
        return int(tokenizer.padding["pad_id"])
    for token in _PAD_TOKENS:
        found = tokenizer.token_to_id(token)
        if found is not None:
            return int(found)
    raise InputError(f"tokenizer: no pad token; expected {' or '.join(_PAD_TOKENS)}, or pass pad_id")


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise InputError(f"batch_size: expected at least 1, got {batch_size}")
