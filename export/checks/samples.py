"""Rows on which a graph is compared with its model: no two subnets answer alike on them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from gearshift.export.checks.parity import SEPARATION, closest, torch_logits
from gearshift.export.graph.segments import Array
from gearshift.trainer.data.batches import Batch, EncodedRows
from gearshift.trainer.model.elastic import TaskModel

SAMPLE_ROWS = 8
SEARCHED_ROWS = 64
"""Number of held-out rows, and of rows of random tokens, that are searched if the sample does not tell subnets
apart."""


def telling_sample(model: TaskModel, subnets: Mapping[str, object], encoded: EncodedRows, max_length: int) -> Batch:
    """Select SAMPLE_ROWS held-out rows of different lengths as one batch, so that all but the longest are padded.

    If they separate two subnets by less than SEPARATION, the row that separates these most is added: a held-out one, or
    if none does, one of random tokens. Even then the separation may stay below SEPARATION.
    """
    rows = _with_random(encoded, model.shape.vocabulary, 1 + model.head.skipped, max_length)
    held_out = len(encoded)
    by_length = sorted(range(held_out), key=lambda row: len(encoded.ids[row]))
    chosen = _spread(by_length, SAMPLE_ROWS)
    if len({len(rows.ids[row]) for row in chosen}) == 1:  # nothing would be padded
        other = (row for row in range(held_out, len(rows)) if len(rows.ids[row]) != len(rows.ids[chosen[0]]))
        chosen.append(next(other))
    sample = rows.select(chosen)
    if len(subnets) < 2 or closest(torch_logits(model, subnets, sample), sample)[2] >= SEPARATION:
        return sample
    parts = (_spread(by_length, SEARCHED_ROWS), list(range(held_out, len(rows))))
    for part in parts:
        for row in _separating(model, subnets, rows, chosen, part):
            chosen.append(row)
    return rows.select(chosen)


def _separating(
    model: TaskModel,
    subnets: Mapping[str, object],
    rows: EncodedRows,
    chosen: Sequence[int],
    candidates: Sequence[int],
) -> list[int]:
    """Return, for each pair of subnets that the chosen rows do not separate, the candidate that separates it most."""
    found: list[int] = []
    apart = _distances(model, subnets, rows, candidates)
    so_far = _distances(model, subnets, rows, chosen).max(axis=1)
    for pair in np.flatnonzero(~(so_far >= SEPARATION)):
        if found and apart[pair, [candidates.index(row) for row in found]].max() >= SEPARATION:
            continue  # a row found for another pair separates this one too
        best = int(np.nan_to_num(apart[pair]).argmax())
        if candidates[best] not in (*chosen, *found):
            found.append(candidates[best])
    return found


def _distances(model: TaskModel, subnets: Mapping[str, object], rows: EncodedRows, places: Sequence[int]) -> Array:
    """Return the largest difference of a logit, (pairs of subnets, rows)."""
    batch = rows.select(list(places))
    logits = torch_logits(model, subnets, batch)
    real = batch.attention_mask.numpy()[..., None]
    answers = [
        np.concatenate([(own * real if own.ndim == 3 else own).reshape(len(places), -1) for own in answer], axis=1)
        for answer in logits.values()
    ]
    return np.stack([np.abs(one - other).max(axis=1) for one, other in itertools.combinations(answers, 2)])


def _spread(ordered: Sequence[int], count: int) -> list[int]:
    return [ordered[place] for place in np.linspace(0, len(ordered) - 1, min(count, len(ordered))).astype(int)]


def _with_random(encoded: EncodedRows, vocabulary: int, least: int, max_length: int) -> EncodedRows:
    """Return the rows, followed by SEARCHED_ROWS rows of random tokens, of evenly spaced lengths from `least` on."""
    source = np.random.default_rng(0)
    lengths = [least + number * (max_length - least) // (SEARCHED_ROWS - 1) for number in range(SEARCHED_ROWS)]
    words = np.setdiff1d(np.arange(vocabulary, dtype=np.int32), [encoded.pad_id])
    return dataclasses.replace(
        encoded,
        ids=(*encoded.ids, *(source.choice(words, length) for length in lengths)),
        type_ids=(*encoded.type_ids, *(np.zeros(length, np.int8) for length in lengths)),
        labels=np.zeros(len(encoded) + SEARCHED_ROWS, np.int64),  # never used
        heads=(),
    )
