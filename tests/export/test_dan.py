"""A DAN beside a bundle's graph: train, export, open, answer."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from gearshift.__main__ import main
from gearshift.errors import DataError, ExportError, InputError, IntegrityError
from gearshift.export.dan import NAME, add_dan, calibrated, dan_accuracy, pruned_dan
from gearshift.export.pipeline import export_bundle
from gearshift.export.trim import trim_bundle
from gearshift.runtime import Engine
from gearshift.runtime.bundle.bundle import open_bundle
from gearshift.runtime.bundle.manifest import DAN_FILE, SELF_TEST
from gearshift.runtime.dan.model import open_dan, save_dan
from gearshift.runtime.inference.self_test import check_dan
from gearshift.trainer.dan.run import DanRun, load_dan_run
from gearshift.trainer.dan.settings import DanSettings
from gearshift.trainer.dan.train import text_of, train_dan
from gearshift.trainer.data.rows import Row
from gearshift.trainer.data.unseen import classes_of
from gearshift.trainer.model.run import Run
from tests.trainer.tiny import make_data

SETTINGS = DanSettings(table_parameters=8000, width=8, hidden=4, longest=2, epochs=1, batch_size=8)
DATA = make_data(train=60, test=30)


@pytest.fixture(scope="module")
def dan_run(run: Run, tmp_path_factory: pytest.TempPathFactory) -> DanRun:
    """A DAN of the tiny supernet's full subnet."""
    return train_dan(run.path, DATA, SETTINGS, tmp_path_factory.mktemp("dan") / "run")


def test_the_bundle_has_a_measured_gear_below_its_graph(
    dan_run: DanRun, bundle_path: Path, rows: tuple[Row, ...], tmp_path: Path
) -> None:
    shutil.copytree(bundle_path, tmp_path / "b.gearshift")
    add_dan(open_bundle(tmp_path / "b.gearshift"), dan_run, rows, max_mb=0.03, held_out=rows)
    bundle = open_bundle(tmp_path / "b.gearshift")
    dan = open_dan(bundle.path / DAN_FILE)
    entry = bundle.dan
    assert entry is not None and (entry.name, entry.precision) == (NAME, "int8")
    assert entry.accuracy == dan_accuracy(dan, bundle.manifest.labels, rows)
    assert dan.calibration is not None and dan.calibration.rows == len(rows)
    assert NAME not in bundle.pool("int8") and bundle.precisions == ("fp32", "int8")
    assert "and a DAN" in (bundle.path / "README.md").read_text(encoding="utf-8")
    with Engine.load(bundle.path) as engine:
        assert engine.run("snow").label in bundle.manifest.labels
        engine.pin(NAME)
        expected = dan.logits("snow and ice")[0]
        assert engine.run("snow and ice").label == bundle.manifest.labels[int(expected.argmax())]
    (bundle.path / DAN_FILE).write_bytes((bundle.path / DAN_FILE).read_bytes()[:-1])
    with pytest.raises(IntegrityError, match=r"expected .* bytes"):
        open_bundle(bundle.path)


def test_of_a_bundle_that_dev_rows_choose_it_has_an_accuracy_on_them(
    dan_run: DanRun, run: Run, rows: tuple[Row, ...], tmp_path: Path
) -> None:
    test, dev = rows[:25], rows[25:]
    made = export_bundle(run, tmp_path / "b.gearshift", test, dev=dev, precisions=("fp32",)).bundle
    entry = add_dan(made, dan_run, test, max_mb=0.03, held_out=dev).dan
    dan = open_dan(made.path / DAN_FILE)
    assert entry is not None and entry.accuracy == dan_accuracy(dan, run.labels, test)
    assert entry.choosing_accuracy == entry.dev_accuracy == dan_accuracy(dan, run.labels, dev)


def test_without_other_rows_it_is_not_calibrated(
    dan_run: DanRun, bundle_path: Path, rows: tuple[Row, ...], tmp_path: Path
) -> None:
    shutil.copytree(bundle_path, tmp_path / "b.gearshift")
    written = add_dan(open_bundle(tmp_path / "b.gearshift"), dan_run, rows, max_mb=0.03)
    assert open_dan(written.path / DAN_FILE).calibration is None


def test_trimming_keeps_it_where_it_is_named_or_fits(
    dan_run: DanRun, bundle_path: Path, rows: tuple[Row, ...], tmp_path: Path
) -> None:
    shutil.copytree(bundle_path, tmp_path / "b.gearshift")
    bundle = add_dan(open_bundle(tmp_path / "b.gearshift"), dan_run, rows, max_mb=0.03)
    smallest = min(bundle.pool("fp32").values(), key=lambda entry: entry.macs).name
    with_it = trim_bundle(bundle, tmp_path / "with.gearshift", keep=[NAME, smallest])
    assert with_it.dan == bundle.dan and list(with_it.pool("fp32")) == [smallest]
    check_dan(with_it)
    without = trim_bundle(bundle, tmp_path / "without.gearshift", keep=[smallest])
    assert without.dan is None and DAN_FILE not in without.manifest.files
    with np.load(without.path / SELF_TEST, allow_pickle=False) as arrays:
        assert not any(name.endswith(NAME) for name in arrays.files)
    assert trim_bundle(bundle, tmp_path / "fits.gearshift", max_mb=100).dan == bundle.dan
    with pytest.raises(InputError, match="expected at least one subnet to keep"):
        trim_bundle(bundle, tmp_path / "dan.gearshift", keep=[NAME])


@pytest.mark.parametrize("max_mb", [0.006, 0.008, 0.02])
def test_a_pruned_table_fits(dan_run: DanRun, tmp_path: Path, max_mb: float) -> None:
    dan = pruned_dan(dan_run, max_mb=max_mb)
    save_dan(tmp_path / "dan", dan)
    assert (tmp_path / "dan").stat().st_size <= max_mb * 1e6
    assert np.count_nonzero(dan.rows.any(1)) <= len(dan_run.ngrams)


def test_a_size_without_room_is_refused(dan_run: DanRun) -> None:
    with pytest.raises(ExportError, match="no n-gram fits"):
        pruned_dan(dan_run, max_mb=0.001)


def test_a_dan_of_other_labels_is_refused(dan_run: DanRun, bundle_path: Path, rows: tuple[Row, ...]) -> None:
    with pytest.raises(InputError, match="expected a DAN of the labels"):
        add_dan(open_bundle(bundle_path), dataclasses.replace(dan_run, labels=("a", "b", "c")), rows, max_mb=1)


def test_the_command_line_trains_exports_and_runs_one(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["sentence\tlabel", *(f"{row.text}\t{row.label}" for row in DATA.splits["train"])]
    (tmp_path / "data.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "more.txt").write_text("ice and sun\n\nspring\n", encoding="utf-8")
    teacher, data, out = str(run.path), str(tmp_path / "data.tsv"), tmp_path / "dan"
    sizes = ["--table-parameters", "800", "--width", "8", "--hidden", "4", "--epochs", "1"]
    more = ["--unlabelled", str(tmp_path / "more.txt")]
    assert main(["train-dan", "--json", "--teacher", teacher, "--data", data, "-o", str(out), *more, *sizes]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["rows"]["unlabelled"] == 2 and "GB of memory" in said.err
    assert load_dan_run(out).table.shape == (100, 8)
    bundle = tmp_path / "b.gearshift"
    assert main(["export", teacher, "--data", data, "--dan", str(out), "-o", str(bundle)]) == 0
    assert open_bundle(bundle).dan is not None
    capsys.readouterr()
    assert main(["verify", str(bundle)]) == 0
    capsys.readouterr()
    texts = [row.text for row in DATA.splits["test"][:5]]
    assert main(["run", str(bundle), "--subnet", "dan", "--json", *texts]) == 0
    answers = json.loads(capsys.readouterr().out)["answers"]
    expected = pruned_dan(load_dan_run(out), max_mb=30).run(texts).argmax(1)
    assert {answer["subnet"] for answer in answers} == {"dan"}
    assert [answer["label"] for answer in answers] == [DATA.labels[place] for place in expected]


def test_rows_with_a_label_that_the_dan_lacks_count_as_wrong_and_calibrate_nothing(
    dan_run: DanRun, rows: tuple[Row, ...]
) -> None:
    dan = pruned_dan(dan_run, max_mb=0.03)
    odd = tuple(dataclasses.replace(row, label="cloudy") for row in rows)
    labels = dan_run.labels
    assert dan_accuracy(dan, labels, rows + odd) == pytest.approx(dan_accuracy(dan, labels, rows) / 2)
    texts = [text_of(row) for row in rows]
    answers = dan.run(texts)
    known = calibrated(dan, texts, np.array(classes_of(rows, labels)), answers)
    more = calibrated(dan, texts * 2, np.array(classes_of(rows + odd, labels)), np.concatenate([answers] * 2))
    assert np.array_equal(known.dense.output_bias, more.dense.output_bias)
    with pytest.raises(DataError, match="expected held-out rows with the labels of the DAN, found none"):
        calibrated(dan, texts, np.array(classes_of(odd, labels)), answers)
