"""Training of a DAN from a tiny teacher."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gearshift.errors import DataError, InputError, ModelError
from gearshift.runtime.dan.model import Floats, Text, fold, open_dan, pack, save_dan
from gearshift.runtime.dan.ngrams import keys
from gearshift.trainer.dan import train as dan_module
from gearshift.trainer.dan.run import DanRun, load_dan_run
from gearshift.trainer.dan.settings import DanSettings
from gearshift.trainer.dan.student import RowwiseAdagrad, left_out
from gearshift.trainer.dan.train import text_of, train_dan
from gearshift.trainer.data.splits import DataSet
from tests.trainer.tiny import KEYWORDS, LABELS, make_data

SETTINGS = DanSettings(
    table_parameters=16_000, width=16, hidden=8, longest=2, epochs=8, batch_size=8, table_lr=0.3, lr=0.02, dropout=0.0
)
DATA = make_data(train=300, test=60)


def _known(texts: Sequence[Text], labels: Sequence[str] = LABELS) -> Floats:
    """A teacher that reads the keyword of a row."""
    said = [
        [float(any(w in " ".join([t] if isinstance(t, str) else t).split() for w in KEYWORDS[n])) for n in labels]
        for t in texts
    ]
    return np.array(said, np.float32) * 6


@pytest.fixture(autouse=True)
def _teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training is tested apart from the teacher, which has its own tests."""
    monkeypatch.setattr(dan_module, "teacher_logits", lambda path, texts, *, labels, **rest: _known(texts, labels))


def _train(out: Path, data: DataSet = DATA, settings: DanSettings = SETTINGS) -> DanRun:
    return train_dan(Path("teacher"), data, settings, out)


def _accuracy(run: DanRun, path: Path, data: DataSet, precision: str = "int8") -> float:
    table, dense = (run.table, run.dense) if run.paired else fold(run.table, run.dense)
    save_dan(path, pack(run.ngrams, table, dense, precision=precision, longest=SETTINGS.longest, paired=run.paired))
    rows = data.splits["test"]
    best = open_dan(path).run([text_of(row) for row in rows]).argmax(1)
    return float(np.mean([run.labels[place] == row.label for place, row in zip(best, rows, strict=True)]))


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_it_learns_what_the_teacher_knows_and_the_device_answers_it(tmp_path: Path, precision: str) -> None:
    assert _accuracy(_train(tmp_path / "run"), tmp_path / "dan", DATA, precision) >= 0.9


def test_pairs_are_learnt(tmp_path: Path) -> None:
    splits = {
        name: tuple(dataclasses.replace(row, pair="the day") for row in rows) for name, rows in DATA.splits.items()
    }
    data = dataclasses.replace(DATA, splits=splits)
    assert _accuracy(_train(tmp_path / "run", data), tmp_path / "dan", data) >= 0.9


def test_labels_alone_teach_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dan_module, "teacher_logits", lambda path, texts, **rest: _known(texts) * 0)
    settings = dataclasses.replace(SETTINGS, epochs=0, finetune_epochs=8)
    assert _accuracy(_train(tmp_path / "run", settings=settings), tmp_path / "dan", DATA) >= 0.9


def test_unlabelled_texts_alone_teach_it_too(tmp_path: Path) -> None:
    texts = [row.text for row in DATA.splits["train"]]
    hidden = dataclasses.replace(DATA.splits["train"][0], text="unheard")
    data = dataclasses.replace(DATA, splits={**DATA.splits, "train": (hidden,)})
    settings = dataclasses.replace(SETTINGS, unlabelled_only=True)
    run = train_dan(Path("teacher"), data, settings, tmp_path / "run", unlabelled=texts)
    assert run.facts["rows"] == {"train": 0, "unlabelled": len(texts)}
    assert not np.isin(keys("unheard", 1), run.ngrams).any()
    assert _accuracy(run, tmp_path / "dan", DATA) >= 0.9
    with pytest.raises(DataError, match="expected unlabelled texts"):
        train_dan(Path("teacher"), data, settings, tmp_path / "none")
    with pytest.raises(InputError, match="expected no finetune_epochs"):
        dataclasses.replace(settings, finetune_epochs=1)


def test_a_run_says_how_right_it_and_its_teacher_are_on_held_out_rows(tmp_path: Path) -> None:
    run = _train(tmp_path / "run")
    told = run.facts["held_out"]["test"]
    rows = DATA.splits["test"]
    teacher = _known([row.text for row in rows]).argmax(1)
    assert told["rows"] == len(rows)
    assert told["teacher"] == np.mean([LABELS[place] == row.label for place, row in zip(teacher, rows, strict=True)])
    assert told["accuracy"] == pytest.approx(_accuracy(run, tmp_path / "dan", DATA, "fp32"), abs=0.02)
    assert 0.9 <= told["agreement"] <= 1


def test_a_state_of_other_texts_is_not_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = dataclasses.replace(SETTINGS, save_every_s=0, epochs=1)
    other = make_data(train=300, test=60, seed=9)
    whole = _train(tmp_path / "whole", other, settings)

    def interrupted(self: RowwiseAdagrad, factor: float) -> None:
        if factor < 0.5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RowwiseAdagrad, "step", interrupted)
        _train(tmp_path / "run", settings=settings)
    np.testing.assert_array_equal(_train(tmp_path / "run", other, settings).table, whole.table)


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = _train(tmp_path / "run")
    read = load_dan_run(tmp_path / "run")
    assert (read.labels, read.paired, read.facts) == (run.labels, run.paired, run.facts)
    np.testing.assert_array_equal(read.table, run.table)
    np.testing.assert_array_equal(read.ngrams, run.ngrams)
    assert not (tmp_path / ".run.training").exists()


def test_an_interrupted_training_goes_on_and_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = dataclasses.replace(
        SETTINGS, save_every_s=0, dropout=0.2, ngram_dropout=0.2, finetune_epochs=1, epochs=2
    )
    whole = _train(tmp_path / "whole", settings=settings)
    step, calls = RowwiseAdagrad.step, []

    def interrupted(self: RowwiseAdagrad, factor: float) -> None:
        calls.append(factor)
        if len(calls) == STOPPED:
            raise KeyboardInterrupt
        step(self, factor)

    for STOPPED in (5, 100):  # in either stage; 76 steps and 38  # noqa: N806
        calls.clear()
        out = tmp_path / f"run{STOPPED}"
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(RowwiseAdagrad, "step", interrupted)
            _train(out, settings=settings)
        assert not out.exists()
        np.testing.assert_array_equal(_train(out, settings=settings).table, whole.table)


def test_ngrams_are_left_out_of_each_text_at_random() -> None:
    torch.manual_seed(0)
    texts = [torch.arange(0, 1000), torch.arange(1000, 1000), torch.arange(1000, 1010), torch.arange(1010, 3000)]
    ends = torch.tensor([len(text) for text in texts]).cumsum(0)
    ids, offsets = left_out(torch.cat(texts), torch.cat([torch.tensor([0]), ends[:-1]]), 0.3)
    found = [set(part.tolist()) for part in ids.tensor_split(offsets[1:].tolist())]
    assert all(part <= set(text.tolist()) for part, text in zip(found, texts, strict=True))
    assert [len(part) / max(1, len(text)) for part, text in zip(found, texts, strict=True)] == pytest.approx(
        [0.7, 0, 0.7, 0.7], abs=0.15
    )


def test_only_touched_rows_change() -> None:
    bag = torch.nn.EmbeddingBag(5, 3, mode="mean", sparse=True)
    before = bag.weight.detach().clone()
    bag(torch.tensor([1, 3, 3]), torch.tensor([0])).pow(2).sum().backward()
    RowwiseAdagrad(bag.weight, 0.1).step(1)
    assert (bag.weight != before).any(1).tolist() == [False, True, False, True, False]


def test_a_table_has_at_most_the_parameters_asked_for(tmp_path: Path) -> None:
    run = _train(tmp_path / "run", settings=dataclasses.replace(SETTINGS, table_parameters=170, epochs=0.1))
    assert run.table.shape == (10, 16)


def test_a_billion_parameters_need_eight_gigabytes_beside_torch_and_texts() -> None:
    assert DanSettings(table_parameters=10**9).memory_bytes(0) == pytest.approx(8.5e9, rel=0.01)


def test_much_text_needs_memory_for_a_small_table_too() -> None:
    small = DanSettings(table_parameters=10**6)
    assert small.memory_bytes(10**8) > small.memory_bytes(10**6) + 10**9


@pytest.mark.parametrize(
    "wrong", [{"table_parameters": 10}, {"table_parameters": 10**10}, {"longest": 5}, {"lr": 0}, {"ngram_dropout": 1}]
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        DanSettings(**wrong)


def test_unlabelled_texts_of_another_form_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unlabelled texts"):
        train_dan(Path("teacher"), DATA, SETTINGS, tmp_path / "run", unlabelled=[("a", "b")])


def test_a_directory_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="train-dan"):
        load_dan_run(tmp_path)
    _train(tmp_path / "run", settings=dataclasses.replace(SETTINGS, epochs=0.1))
    (tmp_path / "run" / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(ModelError, match="not a whole DAN run"):
        load_dan_run(tmp_path / "run")


def test_held_out_rows_with_a_label_that_train_lacks_count_as_wrong(tmp_path: Path) -> None:
    odd = tuple(dataclasses.replace(row, label="cloudy") for row in DATA.splits["test"])
    data = dataclasses.replace(DATA, splits={**DATA.splits, "test": DATA.splits["test"] + odd})
    settings = dataclasses.replace(SETTINGS, epochs=1)
    plain, more = (_train(tmp_path / name, one, settings).facts for name, one in (("a", DATA), ("b", data)))
    for figure in ("accuracy", "teacher"):
        assert more["held_out"]["test"][figure] == pytest.approx(plain["held_out"]["test"][figure] / 2)
    assert plain["held_out"]["test"]["teacher"] == 1
