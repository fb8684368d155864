"""Pruning in a training and after one: the zeros are there at the end, in every subnet, and after an interruption."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from gearshift.errors import InputError, StorageError
from gearshift.trainer.dynabert.prune import prune_run
from gearshift.trainer.dynabert.settings import Recovery
from gearshift.trainer.dynabert.train import train_supernet
from gearshift.trainer.dynabert.training_stages import PRUNING
from gearshift.trainer.learning.interrupted import read_note
from gearshift.trainer.learning.settings import Pruning
from gearshift.trainer.learning.sparsity import prunable, sparsity_of
from gearshift.trainer.model.elastic import ElasticClassifier
from gearshift.trainer.model.run import Run, load_supernet
from tests.trainer.tiny import SETTINGS, make_data

DATA = make_data()
RECOVERY = Recovery(epochs=2, lr=1e-3, batch_size=8, save_every_s=0)  # 6 steps


@pytest.fixture(scope="module")
def run_path(checkpoint_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_supernet(checkpoint_path, DATA, SETTINGS, tmp_path_factory.mktemp("dense") / "run").path


def share(run: Run, *, embeddings: bool = False) -> float:
    return sparsity_of(prunable(run.checkpoint.model, embeddings=embeddings))


def weights(run: Run) -> dict[str, torch.Tensor]:
    return run.checkpoint.model.state_dict()


@pytest.mark.parametrize("stage", PRUNING)
def test_a_training_prunes_in_any_stage_and_keeps_the_zeros(checkpoint_path: Path, tmp_path: Path, stage: str) -> None:
    settings = dataclasses.replace(SETTINGS, sparsity=0.6, prune_stage=stage, prune_embeddings=True)
    run = train_supernet(checkpoint_path, DATA, settings, tmp_path / "run")
    assert run.facts["sparsity"] == share(run, embeddings=True) == pytest.approx(0.6, abs=0.002)
    assert run.facts["settings"]["prune_stage"] == stage


@pytest.mark.parametrize(("sparsity", "embeddings"), [(0.0, False), (0.3, True), (0.9, False)])
def test_a_finished_supernet_is_pruned(run_path: Path, tmp_path: Path, sparsity: float, embeddings: bool) -> None:
    pruned = prune_run(
        load_supernet(run_path), DATA, Pruning(sparsity, embeddings=embeddings), RECOVERY, tmp_path / "pruned"
    )
    assert share(pruned, embeddings=embeddings) == pytest.approx(sparsity, abs=0.002)
    assert pruned.facts["sparsity"] == share(pruned, embeddings=embeddings)
    assert pruned.facts["pruning"]["sparsity"] == sparsity
    dense = load_supernet(run_path)
    assert pruned.subnets == dense.subnets and set(pruned.accuracies) == set(dense.accuracies)
    assert set(pruned.dev_accuracies) == set(pruned.accuracies)
    for field, main in (("metrics", pruned.accuracies), ("dev_metrics", pruned.dev_accuracies)):  # its own, not dense's
        assert {name: metrics["accuracy"] for name, metrics in pruned.facts[field].items()} == main
    assert not torch.equal(
        weights(pruned)["layers.0.query.bias"], weights(dense)["layers.0.query.bias"]
    )  # it learnt on
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pruned"]


class Interrupted(KeyboardInterrupt):
    pass


def interrupt_at(monkeypatch: pytest.MonkeyPatch, stop: int | None) -> None:
    really_forward = ElasticClassifier.forward
    count = 0

    def forward(model: ElasticClassifier, *arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count == stop:
            raise Interrupted
        return really_forward(model, *arguments)

    monkeypatch.setattr(ElasticClassifier, "forward", forward)


GRADUAL = Pruning(0.7, "global", ramp=0.5)


@pytest.fixture(scope="module")
def whole(run_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return prune_run(load_supernet(run_path), DATA, GRADUAL, RECOVERY, tmp_path_factory.mktemp("pruned") / "whole")


@pytest.mark.parametrize("stop", [2, 10, 22])  # of 6 steps of a teacher and three subnets each
def test_an_interrupted_pruning_goes_on_to_the_same_weights(
    run_path: Path, whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    with monkeypatch.context() as patched:
        interrupt_at(patched, stop)
        with pytest.raises(Interrupted):
            prune_run(load_supernet(run_path), DATA, GRADUAL, RECOVERY, tmp_path / "again")
    assert not (tmp_path / "again").exists()
    again = prune_run(load_supernet(run_path), DATA, GRADUAL, RECOVERY, tmp_path / "again")
    for name, weight in weights(whole).items():
        assert torch.equal(weight, weights(again)[name]), name


def test_a_pruning_of_an_older_version_goes_on_where_newer_settings_are_left_alone(
    run_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = prune_run(load_supernet(run_path), DATA, GRADUAL, RECOVERY, tmp_path / "whole")
    with monkeypatch.context() as patched:
        interrupt_at(patched, 10)
        with pytest.raises(Interrupted):
            prune_run(load_supernet(run_path), DATA, GRADUAL, RECOVERY, tmp_path / "pruned")
    description = tmp_path / "pruned.partial" / "training.json"
    older = read_note(description)
    del older["recovery"]["hidden_weight"]
    description.write_text(json.dumps(older))
    other = dataclasses.replace(RECOVERY, hidden_weight=0.5)
    with pytest.raises(InputError, match=r"with other settings or rows \(hidden_weight\)"):
        prune_run(load_supernet(run_path), DATA, GRADUAL, other, tmp_path / "pruned")
    again = prune_run(load_supernet(run_path), DATA, GRADUAL, RECOVERY, tmp_path / "pruned")
    for name, weight in weights(whole).items():
        assert torch.equal(weight, weights(again)[name]), name


def test_another_sparsity_does_not_go_on_from_an_interrupted_one(
    run_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        interrupt_at(patched, 10)
        with pytest.raises(Interrupted):
            prune_run(load_supernet(run_path), DATA, Pruning(0.3), RECOVERY, tmp_path / "pruned")
    with pytest.raises(InputError, match="holds an interrupted training with other settings or rows"):
        prune_run(load_supernet(run_path), DATA, Pruning(0.4), RECOVERY, tmp_path / "pruned")


def test_a_directory_that_is_no_run_is_not_replaced(run_path: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_text("mine")
    with pytest.raises(StorageError, match=r"not empty and has no supernet\.json"):
        prune_run(load_supernet(run_path), DATA, Pruning(0.3), RECOVERY, tmp_path)


def test_the_run_that_is_pruned_is_not_written_over(run_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in run_path.iterdir()}
    with pytest.raises(StorageError, match="is the input, and would be overwritten; name another output"):
        prune_run(load_supernet(run_path), DATA, GRADUAL, RECOVERY, run_path)
    assert {path.name: path.read_bytes() for path in run_path.iterdir()} == before


def test_pruning_takes_steps() -> None:
    with pytest.raises(InputError, match="prune: expected epochs above 0, in which weights become zeros, got 0"):
        Recovery(epochs=0)


def test_the_facts_of_a_pruned_run_can_be_read_as_json(whole: Run) -> None:
    facts = json.loads((whole.path / "supernet.json").read_text())
    assert {"scope": "global", "embeddings": False, "ramp": 0.5, "epochs": 2}.items() <= facts["pruning"].items()
