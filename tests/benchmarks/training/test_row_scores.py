"""Scores of each row give the metric of its task, and the intervals that they give hold what they should."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from benchmarks.training.bootstrap import half_width, paired_difference
from benchmarks.training.row_scores import RowScores, row_scores
from gearshift.trainer.data.batches import encode
from gearshift.trainer.data.splits import read_data
from gearshift.trainer.learning.evaluate import metrics_of, outputs_of
from gearshift.trainer.learning.objectives import OBJECTIVES
from gearshift.trainer.model.checkpoint import load_checkpoint
from tests.trainer.tasks import write_data
from tests.trainer.tiny import scatter, write_checkpoint

TASKS = ("classification", "regression", "token-classification", "question-answering")


@pytest.mark.parametrize("task", TASKS)
def test_scores_of_all_rows_give_the_metric_of_the_task(task: str, tmp_path: Path) -> None:
    data = read_data(write_data(tmp_path / "data", task, train=40, test=60), task=task)
    checkpoint = load_checkpoint(write_checkpoint(tmp_path / "model"), data.labels, task=task)
    torch.manual_seed(1)
    scatter(checkpoint.model)
    rows = encode(data.splits["test"], data.labels, checkpoint.tokenizer, max_length=32, task=task, held_out=True)
    found, random = [], np.random.default_rng(0)
    for subnet in checkpoint.model.grid().values():
        outputs = outputs_of(checkpoint.model, subnet, rows)
        outputs = [
            output + random.normal(scale=5, size=output.shape).astype(np.float32) for output in outputs
        ]  # a random net says much the same to all
        metric = metrics_of(outputs, rows)[OBJECTIVES[task].metric]
        assert row_scores(outputs, rows).metric() == pytest.approx(metric, abs=1e-6)
        found.append(metric)
    assert len(set(found)) > 1  # there is something to tell apart


def of_rows(right: list[int]) -> RowScores:
    return RowScores("classification", np.array(right, np.float32)[:, None])


def test_of_drawn_rows_the_spearman_is_that_of_scipy() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(80, 2)).round(1)
    values[:, 1] += values[:, 0]
    scores, drawn = RowScores("regression", values.astype(np.float32)), random.integers(80, size=(5, 80))
    expected = [spearmanr(*values[rows].astype(np.float32).T).statistic for rows in drawn]
    assert scores.metrics(drawn) == pytest.approx(expected)
    assert RowScores("regression", np.array([[1, 2], [2, 1]], np.float32)).metric() == 0.0  # as the metric: not below


@pytest.mark.parametrize(
    ("task", "values", "form"),
    [
        ("classification", [[1], [0], [1], [1], [0], [0], [0], [1], [1]], "bits"),
        ("token-classification", [[1, 2, 3], [0, 0, 0], [2, 2, 200]], "uint8"),
        ("question-answering", [[0.25], [1.0], [2 / 3]], "float32"),
        ("regression", [[-1.5, 0.0], [2.0, 5.0]], "float32"),
    ],
)
def test_scores_are_kept_in_the_shortest_form_and_read_as_they_were(
    task: str, values: list[list[float]], form: str
) -> None:
    scores = RowScores(task, np.array(values, np.float32))
    raw = json.loads(json.dumps(scores.to_dict()))
    assert raw["form"] == form
    read = RowScores.from_dict(task, raw)
    assert (read.values == scores.values).all() and read.metric() == scores.metric()


def test_two_thousand_rows_of_a_classification_take_less_than_four_hundred_bytes() -> None:
    assert len(json.dumps(of_rows([0, 1] * 1000).to_dict())) < 400


# Intervals


def test_half_an_interval_of_a_share_is_near_two_standard_errors() -> None:
    assert half_width([of_rows([1] * 900 + [0] * 100)]) == pytest.approx(1.96 * (0.9 * 0.1 / 1000) ** 0.5, rel=0.1)


def test_a_paired_difference_is_told_where_an_unpaired_one_is_not() -> None:
    one, other = of_rows([1] * 900 + [0] * 100), of_rows([1] * 892 + [0] * 108)  # eight rows more, and none less
    found = paired_difference([one], [other])
    assert found.value == pytest.approx(0.008) and 0 < found.low < found.value < found.high and found.told
    assert half_width([one]) > found.value
    swapped = paired_difference([other], [one])
    assert swapped.low == pytest.approx(-found.high)
    assert swapped.high == pytest.approx(-found.low)


def test_nets_that_differ_by_luck_are_not_told_apart() -> None:
    random = np.random.default_rng(1)
    told = [
        paired_difference([of_rows(one)], [of_rows(other)]).told
        for one, other in (random.integers(2, size=(2, 200)).tolist() for _ in range(60))
    ]
    assert sum(told) <= 9  # one in twenty, of sixty


def test_seeds_are_averaged_over_the_same_drawn_rows() -> None:
    one = [of_rows([1] * 60 + [0] * 40), of_rows([0] * 40 + [1] * 60)]
    other = [of_rows([1] * 50 + [0] * 50), of_rows([0] * 50 + [1] * 50)]
    assert paired_difference(one, other).value == pytest.approx(0.1)
    with pytest.raises(ValueError, match="expected as many seeds of both nets, on the same rows"):
        paired_difference(one, other[:1])
    with pytest.raises(ValueError, match="expected as many seeds"):
        paired_difference([of_rows([1, 0])], [of_rows([1, 0, 1])])
