"""Accuracy against counting one row at a time."""

import pytest
import torch

from gearshift.runtime.space.uniform import uniform_grid
from gearshift.trainer.data.batches import EncodedRows
from gearshift.trainer.learning.evaluate import accuracies, accuracy, held_out_metrics, measurements
from gearshift.trainer.model.elastic import ElasticClassifier
from tests.trainer.tiny import SHAPE, encoded_rows, random_model

GRID = uniform_grid(SHAPE)
COUNT = 40


@pytest.fixture(scope="module")
def model() -> ElasticClassifier:
    return random_model()


@pytest.fixture(scope="module")
def rows() -> EncodedRows:
    return encoded_rows(COUNT)


@torch.no_grad()
def count_right(model: ElasticClassifier, rows: EncodedRows, name: str) -> int:
    right = 0
    for row in range(len(rows)):
        batch = rows.select([row])
        right += int(model(batch, GRID[name]).logits[0].argmax() == batch.labels[0])
    return right


def test_accuracy_is_the_share_of_rows_answered_right(model: ElasticClassifier, rows: EncodedRows) -> None:
    found = dict(accuracies(model, GRID, rows))
    assert list(found) == list(GRID)
    assert found == {name: count_right(model, rows, name) / COUNT for name in GRID}
    assert len(set(found.values())) > 3  # the subnets are not all as good as each other


def test_held_out_metrics_are_those_of_dev_and_of_test_apart(model: ElasticClassifier, rows: EncodedRows) -> None:
    dev, test = encoded_rows(25), rows
    found = held_out_metrics(model, GRID, {"dev": dev, "test": test})
    assert found.facts == {"metrics": found.test, "dev_metrics": found.dev}
    for some, metrics, main in ((dev, found.dev, found.dev_accuracies), (test, found.test, found.accuracies)):
        assert metrics == {name: measurements(model, subnet, some) for name, subnet in GRID.items()}
        assert main == {name: count_right(model, some, name) / len(some) for name in GRID}
    assert found.dev != found.test


@pytest.mark.parametrize("batch_size", [1, 64, 100])
def test_the_size_of_batches_does_not_matter(model: ElasticClassifier, rows: EncodedRows, batch_size: int) -> None:
    expected = count_right(model, rows, "w050-d100") / COUNT
    assert accuracy(model, GRID["w050-d100"], rows, batch_size=batch_size) == expected


@pytest.mark.parametrize("training", [True, False])
def test_dropout_is_off_and_then_as_it_was(model: ElasticClassifier, rows: EncodedRows, training: bool) -> None:
    seen: list[bool] = []
    handle = model.register_forward_pre_hook(lambda module, arguments: seen.append(module.training))
    model.train(training)
    accuracy(model, model.full, rows)
    assert set(seen) == {False}
    assert model.training == training
    assert all(parameter.grad is None for parameter in model.parameters())
    handle.remove()
    model.eval()
