"""Encoders beyond BERT's form, from a run to answers: training, bundle, engine, trimming, static models."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gearshift.errors import ExportError
from gearshift.export.pipeline import export_bundle
from gearshift.export.portable import export_portable
from gearshift.export.trim import Trimming
from gearshift.runtime import Engine
from gearshift.runtime.bundle.bundle import open_bundle
from gearshift.runtime.bundle.manifest import CPU_PRECISIONS
from gearshift.runtime.inference.opened import random_inputs
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.trainer.data.batches import Batch
from gearshift.trainer.data.rows import Row
from gearshift.trainer.learning.importance import measure_importance, reorder
from gearshift.trainer.model.checkpoint import load_checkpoint
from gearshift.trainer.model.run import Run, encode_held_out, load_supernet, save_run
from tests.trainer.encoders import HEADS, add_tokenizer, write_model
from tests.trainer.tiny import make_rows

FAMILIES = ("CamemBERT", "MPNet", "ModernBERT", "ModernBERT, mean", "DeBERTa", "ALBERT")
LABELS = ("LABEL_0", "LABEL_1", "LABEL_2")
KEPT = ("w100-d100", "w050-d100", "w050-d050")


@pytest.fixture(scope="module")
def texts() -> tuple[Row, ...]:
    rows = make_rows(40, seed=9, longest=20)
    return tuple(Row(row.text, None, LABELS[number % 3]) for number, row in enumerate(rows))


@pytest.fixture(scope="module", params=FAMILIES)
def family(
    request: pytest.FixtureRequest, run: Run, texts: tuple[Row, ...], tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """A run whose heads and neurons were ranked and sorted, read from its directory. Not to be written to."""
    folder = tmp_path_factory.mktemp("family")
    write_model(folder / "model", request.param, HEADS["classification"])
    add_tokenizer(folder / "model", run.path)
    checkpoint = load_checkpoint(folder / "model", LABELS)
    model = checkpoint.model.eval()
    grid = {name: subnet for name, subnet in uniform_grid(model.shape).items() if name in KEPT}
    save_run(folder / "unsorted", checkpoint, subnets=grid, accuracies={}, facts={"max_length": 24})
    batch = encode_held_out(load_supernet(folder / "unsorted"), texts).select(range(16))
    before = model(batch, model.full).logits.detach()
    reorder(model, measure_importance(model, [batch]))
    assert torch.allclose(model(batch, model.full).logits, before, atol=1e-5)
    assert sorted_by_importance(model, batch)
    save_run(folder / "run", checkpoint, subnets=grid, accuracies={}, facts={"max_length": 24})
    return load_supernet(folder / "run")


def sorted_by_importance(model: torch.nn.Module, batch: Batch) -> bool:
    found = measure_importance(model, [batch])  # type: ignore[arg-type]
    return all(bool((scores.diff(dim=1) <= 1e-4 * scores.max()).all()) for scores in (found.heads, found.neurons))


@pytest.mark.parametrize("operators", ["fast", "standard"])
def test_the_engine_answers_as_torch_does_with_every_subnet(
    family: Run, texts: tuple[Row, ...], operators: str, tmp_path: Path
) -> None:
    precisions = CPU_PRECISIONS if operators == "fast" else ("fp32",)
    report = export_bundle(family, tmp_path / "made.gearshift", texts, precisions=precisions, operators=operators)
    assert report.parity is not None and report.parity < 1e-5
    batch = encode_held_out(family, texts).select(range(8))
    model = family.checkpoint.model.eval()
    for precision in precisions:
        with Engine.load(report.bundle.path, precision=precision, threads=1) as engine:
            for name, subnet in family.subnets.items():
                engine.pin(name)
                with torch.no_grad():
                    shares = model(batch, subnet).logits.softmax(-1).numpy()
                for row, share in zip(texts[:8], shares, strict=True):
                    answer = engine.run(row.text)
                    close = 1e-4 if precision == "fp32" else 0.1
                    assert abs(answer.score - share.max()) < close
                    if precision == "fp32":
                        assert answer.label == LABELS[int(share.argmax())]


def test_a_trimmed_bundle_answers_as_it_did(family: Run, texts: tuple[Row, ...], tmp_path: Path) -> None:
    """Its segments joined."""
    bundle = export_bundle(family, tmp_path / "made.gearshift", texts).bundle
    (tmp_path / "smaller").mkdir()
    Trimming(bundle).of(KEPT[:1], joined=True).write(tmp_path / "smaller", bundle.path)
    smaller = open_bundle(tmp_path / "smaller")
    inputs = random_inputs(bundle, 11)
    for precision, close in (("fp32", 1e-5), ("int8", 0.1)):
        answers = []
        for each in (bundle, smaller):
            session = ElasticSession(each, precision, threads=1)
            answers.append(session.run(inputs, each.entry(KEPT[0], precision).choice))
            session.close()
        assert np.abs(answers[0] - answers[1]).max() < close


def test_static_models_answer_as_torch_does(family: Run, texts: tuple[Row, ...], tmp_path: Path) -> None:
    parity = export_portable(family, tmp_path / "portable", texts, KEPT[1:])
    assert set(parity) == set(KEPT[1:]) and max(parity.values()) < 1e-5


def test_a_task_that_optimum_does_not_export_is_refused(run: Run, texts: tuple[Row, ...], tmp_path: Path) -> None:
    head = HEADS["question answering"]
    write_model(tmp_path / "model", "ModernBERT", head)
    add_tokenizer(tmp_path / "model", run.path)
    checkpoint = load_checkpoint(tmp_path / "model", task=head.task)
    grid = uniform_grid(checkpoint.model.shape)
    save_run(tmp_path / "run", checkpoint, subnets=grid, accuracies={}, facts={"max_length": 24})
    with pytest.raises(ExportError, match=r"^portable: optimum has no question-answering of modernbert; use"):
        export_portable(load_supernet(tmp_path / "run"), tmp_path / "portable", texts)
