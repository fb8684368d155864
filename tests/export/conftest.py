"""A run of random weights, its bundle, and torch on one thread."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from gearshift.export.pipeline import ExportReport, export_bundle
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.trainer.data.batches import EncodedRows, encode
from gearshift.trainer.data.rows import Row
from gearshift.trainer.model.checkpoint import Checkpoint, load_checkpoint
from gearshift.trainer.model.run import Run, load_supernet, save_run
from tests.trainer.tiny import LABELS, make_rows, scatter, write_checkpoint


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def rows() -> tuple[Row, ...]:
    """Held-out rows of 3 to 28 tokens; some are cut."""
    return make_rows(60, seed=9, longest=26)


@torch.no_grad()
def make_undecided(checkpoint: Checkpoint, rows: EncodedRows) -> None:
    """Let every subnet's answer depend on the text: a random net says much the same to all.

    Takes out of the classifier what the subnets' answers have in common over the rows.
    """
    model = checkpoint.model.eval()
    (batch,) = rows.batches(len(rows))
    pooled = [
        torch.tanh(model.pooler(model(batch, subnet).hidden[-1][:, 0])).mean(0)
        for subnet in uniform_grid(model.shape).values()
    ]
    common = torch.linalg.qr(torch.stack(pooled).T).Q  # (hidden, subnets)
    model.classifier.weight.copy_(10 * (model.classifier.weight - model.classifier.weight @ common @ common.T))
    model.classifier.bias.zero_()


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, rows: tuple[Row, ...]) -> Run:
    """A supernet of 12 subnets that all answer something else. Not to be written to."""
    folder = tmp_path_factory.mktemp("supernet")
    checkpoint = load_checkpoint(write_checkpoint(folder / "model"), LABELS)
    torch.manual_seed(0)
    scatter(checkpoint.model)
    make_undecided(checkpoint, encode(rows, LABELS, checkpoint.tokenizer, max_length=24))
    subnets = uniform_grid(checkpoint.model.shape)
    save_run(
        folder / "run",
        checkpoint,
        subnets=subnets,
        accuracies=dict.fromkeys(subnets, 0.5),
        facts={"max_length": 24},
    )
    return load_supernet(folder / "run")


@pytest.fixture(scope="session")
def exported(run: Run, rows: tuple[Row, ...], tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    """The run's bundle at both precisions. Not to be written to."""
    out = tmp_path_factory.mktemp("bundle") / "small.gearshift"
    return export_bundle(run, out, rows, licence="Apache-2.0")


@pytest.fixture(scope="session")
def bundle_path(exported: ExportReport) -> Path:
    return exported.bundle.path
