"""A graph that answers otherwise than its model is not let through."""

import copy
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
import torch

from gearshift.errors import ExportError
from gearshift.export.checks.parity import (
    FP32_TOLERANCE,
    INT8_TOLERANCE,
    Logits,
    accuracy_losses,
    check_parity,
    graph_inputs,
    measure_accuracy,
    torch_logits,
)
from gearshift.export.graph.segments import Array
from gearshift.export.pipeline import ExportReport
from gearshift.runtime.inference.session import ElasticSession
from gearshift.trainer.data.batches import Batch, encode
from gearshift.trainer.data.rows import Row
from gearshift.trainer.model.elastic import ElasticClassifier
from gearshift.trainer.model.run import Run
from tests.trainer.tiny import random_batch


@pytest.fixture(scope="module")
def session(exported: ExportReport) -> Iterator[ElasticSession]:
    opened = ElasticSession(exported.bundle, "fp32", threads=1)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def batch(run: Run) -> Batch:
    return random_batch([9, 3, 22], run.checkpoint.model.shape)


def expected_of(run: Run, batch: Batch, model: ElasticClassifier | None = None) -> dict[str, Logits]:
    return torch_logits(model or run.checkpoint.model, run.subnets, batch)


def test_the_largest_difference_over_all_subnets_is_given(
    session: ElasticSession, exported: ExportReport, run: Run, batch: Batch
) -> None:
    expected = expected_of(run, batch)
    pool = exported.bundle.pool("fp32")
    inputs = graph_inputs(batch, exported.bundle.manifest.inputs)
    worst = max(np.abs(session.run(inputs, pool[name].choice) - expected[name][0]).max() for name in pool)
    found = check_parity(session, exported.bundle, batch, expected)
    assert found == worst
    assert 0 < found < FP32_TOLERANCE / 10


@pytest.mark.parametrize(
    "name", ["layers.3.query.weight", "layers.2.ffn_out.weight", "embeddings.norm.weight", "pooler.bias"]
)
def test_altered_weights_are_found_out(
    session: ElasticSession, exported: ExportReport, run: Run, batch: Batch, name: str
) -> None:
    model = copy.deepcopy(run.checkpoint.model)
    with torch.no_grad():
        model.get_parameter(name).mul_(1.02)
    message = r"fp32\.onnx: subnet w\d{3}-d\d{3}: expected logits within 0\.0001 of torch, off by"
    with pytest.raises(ExportError, match=message):
        check_parity(session, exported.bundle, batch, expected_of(run, batch, model))


@pytest.mark.parametrize("off", [2 * FP32_TOLERANCE, np.nan])
def test_one_wrong_logit_of_one_subnet_is_found_out(
    session: ElasticSession, exported: ExportReport, run: Run, batch: Batch, off: float
) -> None:
    for name in run.subnets:
        expected = expected_of(run, batch)
        expected[name][0][2, 1] += off
        with pytest.raises(ExportError, match=rf"subnet {name}: .* off by (0\.0002|nan)"):
            check_parity(session, exported.bundle, batch, expected)


class Deaf(ElasticSession):
    """A graph that gives one subnet's answer whatever is chosen."""

    def __init__(self, session: ElasticSession, logits: Logits) -> None:
        vars(self).update(vars(session))
        self.logits = logits

    def run_heads(self, inputs: Mapping[str, Array], choice: object, options: object = None) -> Logits:
        return self.logits


def test_subnets_that_cannot_be_told_apart_prove_nothing(
    session: ElasticSession, exported: ExportReport, run: Run, batch: Batch
) -> None:
    logits = expected_of(run, batch)["w100-d100"]
    same = dict.fromkeys(run.subnets, logits)
    message = r"subnets w100-d100 and w075-d100 give the same logits; nothing was compared"
    with pytest.raises(ExportError, match=message):
        check_parity(Deaf(session, logits), exported.bundle, batch, same)


def test_torch_answers_without_dropout(run: Run, batch: Batch) -> None:
    calm = expected_of(run, batch)
    loud = copy.deepcopy(run.checkpoint.model).train()
    for name, (logits,) in expected_of(run, batch, loud).items():
        assert np.array_equal(logits, calm[name][0])


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_accuracy_is_the_share_of_rows_that_the_graph_answers_right(
    session: ElasticSession, exported: ExportReport, run: Run, rows: tuple[Row, ...], batch_size: int
) -> None:
    checkpoint = run.checkpoint
    encoded = encode(rows, checkpoint.labels, checkpoint.tokenizer, max_length=24)
    entry = exported.bundle.entry("w075-d075", "fp32")
    right = 0
    for number, row in enumerate(rows):
        inputs = graph_inputs(encoded.select([number]), exported.bundle.manifest.inputs)
        right += checkpoint.labels[int(session.run(inputs, entry.choice)[0].argmax())] == row.label
    inputs_of = exported.bundle.manifest.inputs
    found = measure_accuracy(session, inputs_of, entry, encoded, batch_size=batch_size)
    assert (found.score, found.heads) == (right / len(rows), {})
    assert 0 < found.score < 1


def test_losses_above_one_point_are_named() -> None:
    assert INT8_TOLERANCE == 0.01
    fp32 = {"a": 0.90, "b": 0.90, "c": 0.90, "d": 0.90, "e": 0.29}
    int8 = {"a": 0.95, "b": 0.90, "c": 0.89, "d": 0.88, "e": 0.28}
    assert accuracy_losses(fp32, int8) == {"d": pytest.approx(0.02)}
