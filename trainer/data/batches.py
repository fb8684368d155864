"""Tokenize rows once, then cut them into padded batches for every epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from gearshift.errors import DataError, InputError
from gearshift.runtime.bundle.tasks import TASKS
from gearshift.trainer.data.formats import listed
from gearshift.trainer.data.rows import Row
from gearshift.trainer.data.targets import IGNORED, Target, target_reader
from gearshift.trainer.data.tokenizer import cut_side, cutting, pad_id_of
from gearshift.trainer.data.unseen import UnseenLabels, unseen_labels

_CHUNK_BATCHES = 50
"""Number of batches whose rows are sorted by length together: enough to waste little padding."""

_LEAST_CHUNKS = 4
"""Least number of chunks of a small data set; sorted as one, it would group the same rows in every epoch."""

_ROWS_AT_ONCE = 1000
"""Number of rows tokenized in one call; each result also holds offsets and words, many times the size of its ids."""


@dataclass(frozen=True)
class Counts:
    """Counts of the items that losses are means over."""

    rows: float
    tokens: float
    """Number of real tokens, without the padding."""
    labels: float
    """Number of labels that are not IGNORED."""
    heads: tuple[float, ...] = ()
    """The same of each head, if there are several."""

    def shared(self, count: int) -> Counts:
        """Return the counts divided by a number of processes."""
        of_heads = tuple(labels / count for labels in self.heads)
        return Counts(self.rows / count, self.tokens / count, self.labels / count, of_heads)


@dataclass(frozen=True, eq=False)
class HeadTargets:
    """Targets of one of several heads."""

    task: str
    labels: torch.Tensor
    """Targets as in `Batch.labels`."""
    weight: float
    """Weight of its loss in the sum of the heads' losses."""


class AnyBatch(Protocol):
    """Rows of a training step: of texts (`Batch`) or of images (`images.ImageBatch`)."""

    @property
    def labels(self) -> torch.Tensor: ...
    @property
    def indices(self) -> torch.Tensor: ...
    @property
    def counts(self) -> Counts: ...
    @property
    def heads(self) -> tuple[HeadTargets, ...]: ...
    @property
    def length(self) -> int: ...
    @property
    def told(self) -> str: ...
    def to(self, device: torch.device | str) -> Self: ...
    def part(self, start: int, stop: int, mean_over: Counts) -> Self: ...


class AnyRows(Protocol):
    """Rows that a stage learns from: texts (`EncodedRows`) or images (`images.ImageRows`)."""

    def __len__(self) -> int: ...
    def batch_count(self, batch_size: int) -> int: ...
    def batches(self, batch_size: int, *, seed: int | None = None) -> Iterator[AnyBatch]: ...


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows padded to the longest of them. All tensors are int64, except labels that are numbers."""

    input_ids: torch.Tensor
    """Token ids, (batch, tokens); the pad id after the end of each row."""
    attention_mask: torch.Tensor
    """Mask, (batch, tokens); 1 for a token, 0 for padding."""
    token_type_ids: torch.Tensor
    """Token types, (batch, tokens); 1 for the tokens of the second text of a pair, if the tokenizer marks them."""
    labels: torch.Tensor
    """Targets of the rows, as in `targets`: (batch,) for classification, and float32 for regression; (batch, labels)
    float32 for multi-label classification; (batch, tokens) for token classification, with IGNORED at tokens without a
    target; (batch, 2) for question answering; for an embedding (batch, 0), or float32 reference vectors (batch,
    width)."""
    indices: torch.Tensor
    """Place of each row among the encoded rows, (batch,), to bring results back into their order."""
    mean_over: Counts | None = None
    """Counts of the whole batch if this is a part of one, so that the losses of the parts add up to that of the
    whole."""
    heads: tuple[HeadTargets, ...] = ()
    """Targets of several heads; `labels` is (batch, 0) then."""

    @property
    def counts(self) -> Counts:
        """Counts by which losses divide their sums."""
        if self.mean_over is not None:
            return self.mean_over
        of_heads = tuple(_known(head.labels) for head in self.heads)
        return Counts(len(self.indices), int(self.attention_mask.sum()), _known(self.labels), of_heads)

    def of_head(self, head: int) -> Batch:
        """Return the batch of one of several heads, by its place."""
        mean_over = self.mean_over
        if mean_over is not None:
            mean_over = replace(mean_over, labels=mean_over.heads[head], heads=())
        return replace(self, labels=self.heads[head].labels, heads=(), mean_over=mean_over)

    @property
    def length(self) -> int:
        """Number of tokens that the rows are padded to."""
        return self.input_ids.shape[1]

    @property
    def told(self) -> str:
        """Size of the batch, for messages."""
        rows, tokens = self.input_ids.shape
        return f"{rows} rows of {tokens} tokens"

    def to(self, device: torch.device | str) -> Batch:
        """Return the same batch on another device."""
        return self._map(lambda tensor: tensor.to(device))

    def part(self, start: int, stop: int, mean_over: Counts) -> Batch:
        """Return some rows of the batch, with their present padding."""
        return replace(self._map(lambda tensor: tensor[start:stop]), mean_over=mean_over)

    def _map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        tensors = (self.input_ids, self.attention_mask, self.token_type_ids, self.labels, self.indices)
        ids, mask, types, labels, indices = map(change, tensors)
        heads = tuple(replace(head, labels=change(head.labels)) for head in self.heads)
        return Batch(ids, mask, types, labels, indices, self.mean_over, heads)


def _known(labels: torch.Tensor) -> int:
    return max(1, int((labels != IGNORED).sum()))


@dataclass(frozen=True, eq=False)
class EncodedHead:
    """Rows of one of several heads, with the same tokens as those of the others."""

    name: str
    rows: EncodedRows
    weight: float
    """Weight of its loss in the sum of the heads' losses."""


@dataclass(frozen=True, eq=False)
class EncodedRows:
    """Tokenized rows, in their original order."""

    ids: tuple[NDArray[np.int32], ...]
    """Token ids of each row, (tokens,), with the special tokens and without padding."""
    type_ids: tuple[NDArray[np.int8], ...]
    """Token types of each row, (tokens,)."""
    labels: NDArray[Any] | tuple[NDArray[np.int64], ...]
    """Targets as in `Batch.labels`, (rows, ...); for token classification an array (tokens,) for each row."""
    pad_id: int
    pad_type_id: int
    truncated: int
    """Number of rows that were cut to the maximum length."""
    task: str = "classification"
    names: tuple[str, ...] = ()
    """Names of the labels."""
    rows: tuple[Row, ...] = ()
    """Rows that the tokens were made from."""
    places: tuple[NDArray[np.int32], ...] = ()
    """Places of each row's answer, as in `targets.Target`."""
    dropped: int = 0
    """Number of rows that were left out because their answer is cut off."""
    unseen: int = 0
    """Number of rows with a label that is not among `names`; each metric counts them as wrong."""
    null_threshold: float | None = None
    """Threshold of the null score difference above which a question is taken to have no answer; None for other tasks,
    and where every question gets an answer."""
    heads: tuple[EncodedHead, ...] = ()
    """Rows of several heads; `labels` is (rows, 0) then, and there are no `names` and `places`."""

    def __len__(self) -> int:
        return len(self.ids)

    def batch_count(self, batch_size: int, *, drop_last: bool = False) -> int:
        """Return the number of batches that `batches` gives."""
        _check_batch_size(batch_size)
        return len(self) // batch_size if drop_last else -(-len(self) // batch_size)

    def batches(self, batch_size: int, *, seed: int | None = None, drop_last: bool = False) -> Iterator[Batch]:
        """Give the batches of one epoch: each row once, in batches of rows of similar length.

        With a seed: shuffled, sorted by length within chunks, cut into batches, the batches shuffled. Pass another seed
        for each epoch; the same seed gives the same batches. Without a seed: in order of length.
        `drop_last` leaves out the rows, picked by the seed, that do not fill a batch.
        Raises InputError for a batch size below 1.
        """
        _check_batch_size(batch_size)
        order = self._order(batch_size, seed, drop_last)
        starts = np.arange(0, len(order), batch_size)
        if seed is not None:
            # A generator apart from that of the order: neither may depend on the draws of the other.
            starts = np.random.default_rng((seed, 1)).permutation(starts)
        return (self._batch(order[start : start + batch_size]) for start in starts)

    def select(self, rows: Sequence[int]) -> Batch:
        """Return the rows at these places as one batch, in this order."""
        return self._batch(np.asarray(rows, dtype=np.int64))

    def _order(self, batch_size: int, seed: int | None, drop_last: bool) -> NDArray[np.int64]:
        """Return the places of the rows, ordered so that each run of `batch_size` from the start is a batch."""
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
        arrays = (input_ids, mask, type_ids, self._labels_of(rows, tokens), rows)
        ids, mask_, types, labels, indices = (torch.from_numpy(np.ascontiguousarray(array)) for array in arrays)
        heads = tuple(
            HeadTargets(head.rows.task, torch.from_numpy(head.rows._labels_of(rows, tokens)), head.weight)
            for head in self.heads
        )
        return Batch(ids, mask_, types, labels, indices, heads=heads)

    def _labels_of(self, rows: NDArray[np.int64], tokens: int) -> NDArray[Any]:
        if not isinstance(self.labels, tuple):
            return self.labels[rows]
        padded = np.full((len(rows), tokens), IGNORED, dtype=np.int64)
        for place, row in enumerate(rows):
            padded[place, : len(self.labels[row])] = self.labels[row]
        return padded


def encode(
    rows: Sequence[Row],
    labels: Sequence[str],
    tokenizer: Tokenizer,
    *,
    max_length: int,
    task: str = "classification",
    pad_id: int | None = None,
    drop_cut: bool = False,
    held_out: bool = False,
    prompt: str = "",
) -> EncodedRows:
    """Tokenize the rows of a task, cut to `max_length` tokens with the special ones included.

    A label becomes its place in `labels`; of a pair the longer text is cut first. `prompt` is put before every text.
    A text is cut on the side that the tokenizer names. The tokenizer is not changed: a copy is used. `pad_id` is the
    tokenizer's unless given.
    `drop_cut` leaves out the questions whose answer is cut off: there is nothing to learn from them.
    `held_out`: the rows are only measured, so that some may have a label that is not among `labels`; the result counts
    these.
    Raises DataError for a label that is not among `labels`, of held-out rows if all have such labels, for a row without
    tokens, and if all rows are left out;
    InputError for a maximum length without room for text, and for a tokenizer without a pad token.
    """
    unseen = unseen_labels(rows, labels) if held_out and TASKS[task].labelled else UnseenLabels()
    if unseen.alone:
        label = next(iter(unseen.rows_of))
        raise DataError(f"label {label!r} is not among {listed(labels)}, and no row has one of these; pass other rows")
    read_target = target_reader(task, labels, cut_side(tokenizer), unseen=tuple(unseen.rows_of))
    by_length = _cutting(tokenizer, max_length, paired=any(row.pair is not None for row in rows))
    kept: list[tuple[Row, NDArray[np.int32], NDArray[np.int8], Target]] = []
    truncated = 0
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        part = rows[start : start + _ROWS_AT_ONCE]
        texts = [prompt + row.text for row in part]
        pairs = [text if row.pair is None else (text, row.pair) for text, row in zip(texts, part, strict=True)]
        encodings = by_length.encode_batch(pairs)
        for number, (row, encoding) in enumerate(zip(part, encodings, strict=True), start=start):
            if not encoding.ids:
                raise DataError(f"row {number}: the tokenizer finds no tokens in its text; remove the row")
            truncated += bool(encoding.overflowing)
            target = read_target(f"row {number}", row, encoding)
            if not (drop_cut and target.cut):
                ids, type_ids = np.array(encoding.ids, dtype=np.int32), np.array(encoding.type_ids, dtype=np.int8)
                kept.append((row, ids, type_ids, target))
    if rows and not kept:
        raise DataError(f"the answers of all {len(rows)} rows are cut off at {max_length} tokens; raise max_length")
    per_token = task == "token-classification"
    values = [target.values for *_, target in kept]
    return EncodedRows(
        tuple(ids for _, ids, _, _ in kept),
        tuple(type_ids for _, _, type_ids, _ in kept),
        tuple(values) if per_token else np.array(values),
        pad_id_of(tokenizer) if pad_id is None else pad_id,
        int((tokenizer.padding or {}).get("pad_type_id", 0)),
        truncated,
        task,
        tuple(labels),
        tuple(row for row, *_ in kept),
        tuple(target.places for *_, target in kept),
        len(rows) - len(kept),
        unseen.rows,
    )


def _cutting(tokenizer: Tokenizer, max_length: int, *, paired: bool) -> Any:
    """Return a copy of the tokenizer that cuts to `max_length`; raise InputError if no text has room in that."""
    special = tokenizer.num_special_tokens_to_add(paired)
    least = special + (2 if paired else 1)
    if max_length < least:
        raise InputError(f"max_length: expected at least {least}, room for {special} special tokens, got {max_length}")
    return cutting(tokenizer, max_length)


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise InputError(f"batch_size: expected at least 1, got {batch_size}")
