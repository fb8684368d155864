"""Inputs that tell the subnets of a pool apart."""

import copy

import numpy as np
import pytest
import torch

from gearshift.export.checks.parity import SEPARATION, closest, torch_logits
from gearshift.export.checks.samples import SAMPLE_ROWS, telling_sample
from gearshift.trainer.data.batches import EncodedRows, encode
from gearshift.trainer.data.rows import Row
from gearshift.trainer.model.elastic import ElasticClassifier
from gearshift.trainer.model.run import Run


@pytest.fixture(scope="module")
def encoded(run: Run, rows: tuple[Row, ...]) -> EncodedRows:
    return encode(rows, run.checkpoint.labels, run.checkpoint.tokenizer, max_length=24)


def scaled(run: Run, factor: float) -> ElasticClassifier:
    """The model with all its logits multiplied."""
    model = copy.deepcopy(run.checkpoint.model).eval()
    with torch.no_grad():
        model.classifier.weight.mul_(factor)
    return model


def least(model: ElasticClassifier, run: Run, encoded: EncodedRows, places: list[int]) -> float:
    batch = encoded.select(places)
    return closest(torch_logits(model, run.subnets, batch), batch)[2]


def test_rows_of_different_lengths_are_enough_where_they_tell_all_subnets_apart(run: Run, encoded: EncodedRows) -> None:
    model = run.checkpoint.model
    sample = telling_sample(model, run.subnets, encoded, 24)
    assert len(sample.input_ids) == SAMPLE_ROWS
    assert len(set(sample.attention_mask.sum(1).tolist())) > 4  # some are padded
    assert closest(torch_logits(model, run.subnets, sample), sample)[2] >= SEPARATION


def test_rows_that_separate_more_are_added_where_the_first_do_not(run: Run, encoded: EncodedRows) -> None:
    """The logits are made so small that the sample falls short of what must be seen, and other rows do not."""
    first = telling_sample(run.checkpoint.model, run.subnets, encoded, 24)
    apart = closest(torch_logits(run.checkpoint.model, run.subnets, first), first)[2]
    model = scaled(run, 0.99 * SEPARATION / apart)
    sample = telling_sample(model, run.subnets, encoded, 24)
    assert len(sample.input_ids) > SAMPLE_ROWS
    assert torch.equal(sample.input_ids[:SAMPLE_ROWS, : first.input_ids.shape[1]], first.input_ids)
    assert closest(torch_logits(model, run.subnets, sample), sample)[2] >= SEPARATION


def test_random_tokens_are_tried_where_no_held_out_row_does_it(run: Run, encoded: EncodedRows) -> None:
    """All held-out rows are one text, which separates two subnets by less than what must be seen."""
    alike = encoded.select([0] * 20)
    ids, types = (encoded.ids[0],) * 20, (encoded.type_ids[0],) * 20
    alone = EncodedRows(ids, types, alike.labels.numpy(), encoded.pad_id, encoded.pad_type_id, 0)
    model = scaled(run, 0.99 * SEPARATION / least(run.checkpoint.model, run, alone, [0]))
    sample = telling_sample(model, run.subnets, alone, 24)
    assert closest(torch_logits(model, run.subnets, sample), sample)[2] >= SEPARATION
    lengths = sample.attention_mask.sum(1)
    assert len(set(lengths.tolist())) > 1
    words = {tuple(row[: int(n)].tolist()) for row, n in zip(sample.input_ids, lengths, strict=True)}
    assert len(words - {tuple(encoded.ids[0].tolist())}) >= 1


def test_a_pool_of_one_subnet_needs_no_search(run: Run, encoded: EncodedRows) -> None:
    one = {"w100-d100": run.subnets["w100-d100"]}
    assert len(telling_sample(run.checkpoint.model, one, encoded, 24).input_ids) == SAMPLE_ROWS


def test_the_closest_pair_is_named_and_padding_does_not_count(run: Run, encoded: EncodedRows) -> None:
    batch = encoded.select([0, 1, 2])
    shape = (*batch.attention_mask.shape, 2)
    base = np.zeros(shape, np.float32)
    near, far = base.copy(), base.copy()
    near[0, 0, 0], far[0, 0, 0] = 1, 5
    padded = batch.attention_mask.numpy() == 0
    assert padded.any()
    near[padded] = 100
    assert closest({"a": (base,), "b": (near,), "c": (far,)}, batch) == ("a", "b", 1.0)
