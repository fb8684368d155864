"""Held-out rows with a label that train lacks, from training to the bundle: every figure counts them as wrong."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from gearshift.export.pipeline import export_bundle
from gearshift.trainer.data.batches import encode
from gearshift.trainer.data.rows import Row
from gearshift.trainer.data.splits import DataSet
from gearshift.trainer.dynabert.prune import prune_run
from gearshift.trainer.dynabert.settings import Recovery
from gearshift.trainer.dynabert.train import train_supernet
from gearshift.trainer.learning.evaluate import accuracy
from gearshift.trainer.learning.settings import Pruning
from gearshift.trainer.model.checkpoint import load_checkpoint
from gearshift.trainer.model.run import Run, save_run
from gearshift.trainer.search.search import search_run
from tests.command_line import Command
from tests.trainer.tiny import LABELS, SETTINGS, make_data, scatter, write_checkpoint

SEEN = make_data()
ODD = tuple(Row(f"the {word} day", None, "cloudy") for word in ("snow", "sun", "dew", "ice"))
DATA = dataclasses.replace(
    SEEN, splits={**SEEN.splits, "dev": SEEN.splits["dev"] + ODD[:2], "test": SEEN.splits["test"] + ODD}
)
FEW = dataclasses.replace(
    SETTINGS, widths=(1, 0.5), depths=(1,), teacher_epochs=0.4, width_epochs=0.4, depth_epochs=0.4, evaluate_every=0.4
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of a model whose subnets answer different things."""
    folder = tmp_path_factory.mktemp("unseen")
    start = load_checkpoint(write_checkpoint(folder / "tiny"), LABELS)
    torch.manual_seed(0)
    scatter(start.model)
    save_run(folder / "scattered", start, subnets={}, accuracies={}, facts={})
    return train_supernet(folder / "scattered", DATA, FEW, folder / "run")


def expected(run: Run, subnet: object, data: DataSet = SEEN) -> float:
    """The share of all test rows that a subnet can have right: those whose label it knows."""
    checkpoint = run.checkpoint
    rows = encode(data.splits["test"], checkpoint.labels, checkpoint.tokenizer, max_length=FEW.max_length)
    return accuracy(checkpoint.model, subnet, rows) * len(rows) / (len(rows) + len(ODD))


def test_a_training_counts_them_as_wrong_and_keeps_their_number(run: Run) -> None:
    assert run.facts["unseen_label_rows"] == {"train": 0, "dev": 2, "test": len(ODD)}
    assert run.facts["rows"]["test"] == len(SEEN.splits["test"]) + len(ODD)
    assert run.checkpoint.labels == LABELS
    for name, subnet in run.subnets.items():
        assert run.accuracies[name] == pytest.approx(expected(run, subnet))
    assert any(run.accuracies.values())


def test_a_bundle_counts_them_as_wrong(run: Run, tmp_path: Path) -> None:
    bundle = export_bundle(run, tmp_path / "b.gearshift", DATA.splits["test"], precisions=("fp32",)).bundle
    assert bundle.manifest.accuracy_rows == len(DATA.splits["test"])
    for entry in bundle.manifest.pool:
        assert entry.accuracy == pytest.approx(expected(run, run.subnets[entry.name]))


def test_a_search_and_a_pruning_count_them_as_wrong(run: Run, tmp_path: Path) -> None:
    pruned = prune_run(run, DATA, Pruning(sparsity=0.3), Recovery(epochs=0.4, batch_size=8), tmp_path / "pruned")
    for name, subnet in pruned.subnets.items():
        assert pruned.accuracies[name] == pytest.approx(expected(pruned, subnet))
    report = search_run(run, DATA, layers_per_stage=2, pool=3, rescored=4)
    for member in report.pool:
        assert member.accuracy == pytest.approx(expected(run, member.subnet))


def test_the_command_says_how_many_there_are_and_strict_labels_refuse_them(
    run: Run, command: Command, tmp_path: Path
) -> None:
    for split, rows in DATA.splits.items():
        lines = "".join(f"{row.text}\t{row.label}\n" for row in rows)
        (tmp_path / f"{split}.tsv").write_text(f"sentence\tlabel\n{lines}")
    asked = ("export", run.path, "--data", tmp_path, "-o", tmp_path / "b.gearshift", "--precision", "fp32")
    said = f"{tmp_path}/test.tsv: 4 of 16 rows have labels that train lacks, and count as wrong: cloudy (4)"
    assert said in command(*asked).out.splitlines()
    error = command(*asked, "--strict-labels").error
    known = "is not in train.tsv, which has cold, hot, mild; so it is with 2 of 8 rows"
    assert error == f"{tmp_path}/dev.tsv:8: label 'cloudy' {known}"


def test_rows_with_labels_of_their_own_train_that_the_run_lacks_are_told(
    run: Run, command: Command, tmp_path: Path
) -> None:
    for split in ("train", "dev", "test"):
        lines = "".join(f"{row.text}\t{row.label}\n" for row in DATA.splits["test"])
        (tmp_path / f"{split}.tsv").write_text(f"sentence\tlabel\n{lines}")
    asked = ("export", run.path, "--data", tmp_path, "-o", tmp_path / "b.gearshift", "--precision", "fp32")
    said = f"{tmp_path}: test: 4 of 16 rows have labels that the run lacks, and count as wrong: cloudy (4)"
    assert said in command(*asked).out.splitlines()
