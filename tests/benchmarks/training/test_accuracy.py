"""The table of accuracies from figures that were made up, and the rows that each figure is of."""

import argparse
import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import report
from benchmarks.training import accuracy, accuracy_report
from benchmarks.training.accuracy_tasks import SUBJECTS, VARIANTS, Subject, load
from benchmarks.training.bootstrap import paired_difference
from benchmarks.training.retention import kept
from benchmarks.training.row_scores import RowScores
from gearshift.errors import InputError
from gearshift.trainer.dynabert.settings import Settings
from gearshift.trainer.model.run import load_supernet
from tests.trainer.tiny import make_rows, write_checkpoint

NAMES = ("w100-d100", "w050-d100", "w100-d050", "w050-d050", "w025-d050")


def figures(subject: str, seed: int, teacher: float, subnets: dict[str, float], variant: str = "") -> dict[str, Any]:
    settings = json.loads(json.dumps(Settings(seed=seed, augment=2).to_dict()))
    cost = {"cpu_s": 120.0, "wall_s": 200.0}
    return {
        "subject": subject,
        "seed": seed,
        "task": "classification",
        "variant": variant,
        "device": {"gpu": "NVIDIA X1", "cpu_model": "a CPU", "trainings_at_once": 4},
        "rows": {"train": 100, "dev": 10, "test": 1000},
        "teacher": {"settings": settings, "metrics": {"accuracy": teacher, "macro_f1": 0.1}, **cost},
        "supernet": {
            "settings": settings,
            "metrics": {name: {"accuracy": value, "macro_f1": 0.2} for name, value in subnets.items()},
            **cost,
        },
    }


@pytest.fixture
def report_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], str]:
    """Writes the report of files of figures, by name."""
    monkeypatch.setattr(report, "RESULTS", tmp_path)

    def written(made: dict[str, Any]) -> str:
        folder = tmp_path / "accuracy"
        folder.mkdir()
        for name, one in made.items():
            (folder / f"{name}.json").write_text(json.dumps(one))
        accuracy_report.report(folder)
        return (tmp_path / "accuracy.md").read_text()

    return written


@pytest.fixture
def table(report_of: Callable[[dict[str, Any]], str]) -> str:
    """The report of three seeds of TREC, one of SNIPS, and one subnet alone."""
    made = {
        f"trec-seed{seed}": figures("TREC", seed, 0.9, dict.fromkeys(NAMES, 0.8 + 0.01 * seed)) for seed in range(3)
    }
    values = dict(zip(NAMES, (1.0, 0.9, 0.5, 0.7, 0.6), strict=True))
    made["snips-seed0"] = figures("SNIPS", 0, 1.0, values)
    made["snips-seed0-alone-w025-d050"] = figures("SNIPS", 0, 1.0, {"w025-d050": 0.55})
    made["trec-seed1-alone-w025-d050"] = figures("TREC", 1, 0.7, {"w025-d050": 0.55})
    tried = {**values, "w025-d050": 0.7, "w050-d100": 0.88}
    made["snips-seed0-variant-dropout"] = figures("SNIPS", 0, 1.0, tried, "dropout")
    made["trec-gpu-longer"] = figures("TREC", 0, 0.1, dict.fromkeys(NAMES, 0.1))  # of another name: not of the table
    return report_of(made)


def test_a_cell_is_the_mean_of_the_seeds_with_its_interval(table: str) -> None:
    assert "|  | TREC (accuracy, test only) | SNIPS (accuracy, test only) |" in table
    assert "| teacher | 90.0 ± 1.9 | 100.0 ± 0.0 |" in table  # 1.96 x sqrt(.9 x .1 / 1000)
    assert "| w050-d100 | 81.0 ± 3.5 | 90.0 ± 1.9 |" in table  # with 4.303 (t of 2) x 1 / sqrt(3)


def test_shares_are_a_mean_of_shares_and_a_share_of_means(table: str) -> None:
    # (.81 / .9 + .6 / 1) / 2, and (.81 + .6) / (.9 + 1)
    assert "| w025-d050 | 75.0 % | 74.2 % | 96.0 % |" in table


def test_a_share_is_of_the_better_of_teacher_and_full_size() -> None:
    weak = [figures("SQuAD", 0, 0.6, {"w100-d100": 0.8, "w050-d100": 0.6})]
    good = [figures("TREC", 0, 0.9, {"w100-d100": 0.8, "w050-d100": 0.72})]
    assert kept({"SQuAD": weak}, "w050-d100").mean_of_shares == pytest.approx(0.75)
    both = kept({"SQuAD": weak, "TREC": good}, "w050-d100")
    assert both.mean_of_shares == pytest.approx(0.775)
    assert both.share_of_means == pytest.approx(1.32 / 1.7)


def test_a_set_whose_teacher_is_at_chance_stands_apart(report_of: Callable[[dict[str, Any]], str]) -> None:
    values = dict.fromkeys(NAMES, 0.9)
    made = {"trec-seed0": figures("TREC", 0, 0.9, values), "rte-seed0": figures("RTE", 0, 0.54, values)}
    table = report_of(made)
    assert "RTE (accuracy, at chance, test only)" in table
    assert "full size, 1 sets (RTE apart: its teacher is at chance):" in table
    assert "| w050-d100 | 100.0 % | 100.0 % | 99.5 % |" in table


def with_dev(one: dict[str, Any], right: dict[str, list[int]]) -> dict[str, Any]:
    """Figures as they are stored now: with dev rows, and with each row of the test. `right`: net -> right or wrong."""
    scores = {name: RowScores("classification", np.array(rows)[:, None]).to_dict() for name, rows in right.items()}
    one["teacher"]["dev_metrics"] = {"accuracy": 0.5}
    one["supernet"]["dev_metrics"] = {name: {"accuracy": 0.25} for name in NAMES}
    return {**one, "majority": {"dev": 0.1, "test": 0.1}, "row_scores": {"dev": scores, "test": scores}}


def test_dev_stands_beside_test_and_nets_are_compared_row_by_row(report_of: Callable[[dict[str, Any]], str]) -> None:
    right = {"teacher": [1] * 90 + [0] * 10, **dict.fromkeys(NAMES, [1] * 80 + [0] * 20)}
    made = {
        "trec-0": with_dev(figures("TREC", 0, 0.9, dict.fromkeys(NAMES, 0.8)), right),
        "trec-seed0": figures("TREC", 0, 0.7, dict.fromkeys(NAMES, 0.7)),  # older: gives way
        "trec-0-variant-dropout": with_dev(figures("TREC", 0, 0.9, dict.fromkeys(NAMES, 0.8), "dropout"), right),
    }
    table = report_of(made)
    assert "|  | TREC (accuracy) |" in table
    assert "| dev | TREC |" in table and "| teacher | 50.0 |" in table
    assert "| subnet | mean of shares | share of means | mean of shares, dev rows (1 sets) | aimed at |" in table
    assert "| w050-d100 | 88.9 % | 88.9 % | 50.0 % | 99.5 % |" in table
    difference = next(line for line in table.splitlines() if line.startswith("| w050-d050 | -10.0 ("))
    low, high = (float(end) for end in re.findall(r"[-+]\d+\.\d", difference)[1:])
    assert -18 < low < -12 and -8 < high < -2  # 1.96 x sqrt(.1 x .9 / 100) on either side
    for split in ("dev", "test"):
        assert f"| TREC, seed 0 | dropout | {split} | +0.0 (+0.0 to +0.0) |" in table


def test_width_stands_against_depth_and_a_subnet_against_a_model_alone(table: str) -> None:
    assert "| w050-d100 | 81.0 | 90.0 | 85.5 |" in table
    assert "| w100-d050 | 81.0 | 50.0 | 65.5 |" in table
    assert "| SNIPS, seed 0 | w025-d050 | 100.0 | 60.0 (lr 3e-04) | 55.0 (lr 3e-04) |" in table
    assert "| TREC, seed 1 | w025-d050 | 70.0 | - | 55.0 (lr 3e-04) |" in table  # of another teacher


def test_what_made_a_figure_stands_beside_it(table: str) -> None:
    place = "NVIDIA X1, shared by 4 trainings"
    assert f"| TREC | 100 / 10 / 1000 | 0, 1, 2 | augment 2 | augment 2 | {place} | 3.3 + 3.3 |" in table


def test_what_was_tried_stands_beside_the_recipe_and_not_in_the_table(table: str) -> None:
    assert "| SNIPS, seed 0 | dropout | test | -2.0 | +0.0 | +10.0 | +1.6 |" in table
    assert "| w025-d050 | 81.0 ± 3.5 | 60.0 ± 3.0 |" in table


def test_alone_has_as_many_steps_and_one_subnet() -> None:
    whole = Settings(width_epochs=1, depth_epochs=2, depth_only_epochs=0.5)
    alone = accuracy._alone_settings(whole, "w025-d050")
    assert (alone.widths, alone.depths) == ((0.25,), (0.5,))
    assert (alone.width_epochs, alone.depth_only_epochs, alone.depth_epochs) == (0, 0, 3.5)


def test_other_numbers_of_copies_make_as_many_steps() -> None:
    usual = Settings(augment=5, depth_epochs=3)
    for name, copies in (("no-augmentation", 0), ("twice-the-copies", 10)):
        changed = dataclasses.replace(usual, **VARIANTS[name](usual))
        assert changed.augment == copies
        assert (1 + copies) * changed.epochs("depth") == pytest.approx(6 * 3)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_differs_from_the_recipe(variant: str) -> None:
    usual = accuracy._supernet_settings(SUBJECTS["TREC"], 0)
    assert dataclasses.replace(usual, **VARIANTS[variant](usual)) != usual


def test_every_subjects_settings_are_settings() -> None:
    for subject in SUBJECTS.values():
        assert accuracy._teacher_settings(subject, 1).depth_epochs == 0
        assert len(subject.seeds) == (1 if subject.name == "SICK" else 3)  # SICK has 4,927 test rows
        assert accuracy._supernet_settings(subject, 1).teacher_epochs == 0


def test_no_row_is_in_two_splits(tmp_path: Path) -> None:
    lines = [f"text {number}\t{number % 2}\n" for number in range(60)]
    (tmp_path / "train.tsv").write_text("".join(["sentence\tlabel\n", *lines[:50]]))
    (tmp_path / "dev.tsv").write_text("".join(["sentence\tlabel\n", *lines[50:]]))
    assert len(load(Subject("own", ".", test_is_dev=True), tmp_path).splits["train"]) == 45  # none held out as test
    data = load(Subject("own", ".", test_is_dev=True, train_rows=30), tmp_path)
    texts = {split: {row.text for row in rows} for split, rows in data.splits.items()}
    assert {split: len(rows) for split, rows in texts.items()} == {"train": 30, "dev": 5, "test": 10}
    assert texts["test"] == {f"text {number}" for number in range(50, 60)}
    assert not (texts["train"] & texts["dev"] or texts["train"] & texts["test"] or texts["dev"] & texts["test"])
    assert load(Subject("own", ".", test_is_dev=True, train_rows=30), tmp_path) == data


# A training, small


SMALL = Subject(
    "Small",
    ".",
    teacher={"teacher_epochs": 1, "max_length": 16, "batch_size": 8},
    supernet={"width_epochs": 0.2, "depth_epochs": 0.4, "random_subnets": 1},
)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a small data set, and of what the benchmark made of it with seed 0. Not to be written to."""
    folder = tmp_path_factory.mktemp("measured")
    for split, count in (("train", 40), ("dev", 12), ("test", 20)):
        rows = make_rows(count, seed=count)
        lines = ["sentence\tlabel\n", *(f"{row.text}\t{row.label}\n" for row in rows)]
        (folder / f"{split}.tsv").write_text("".join(lines))
    write_checkpoint(folder / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accuracy, "find_model", lambda: folder / "model")
        patch.setattr(accuracy, "_precision", dict)  # a process has one, and other tests have theirs
        accuracy.measure(SMALL, 0, options_of(folder))
    return folder


def options_of(folder: Path) -> argparse.Namespace:
    return argparse.Namespace(
        data=folder, runs=folder / "runs", figures=folder / "figures", alone="", variant="", threads=1, beside=1,
        most_rows=0, epochs_share=1,
    )  # fmt: skip


@pytest.fixture
def options(measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    """Options of the benchmark for a copy of the folder."""
    shutil.copytree(measured, tmp_path / "copy")
    monkeypatch.setattr(accuracy, "find_model", lambda: measured / "model")
    monkeypatch.setattr(accuracy, "_precision", dict)
    return options_of(tmp_path / "copy")


def test_a_training_stores_dev_and_test_of_teacher_and_all_subnets_and_each_row(options: argparse.Namespace) -> None:
    found = json.loads((options.figures / "small-0.json").read_text())
    assert found["command"].endswith("accuracy --data DATA --runs RUNS --subjects Small --seeds 0")
    assert found["chosen_by"] == "dev" and found["rows"] == {"train": 40, "dev": 12, "test": 20}
    names = list(found["supernet"]["metrics"])
    assert len(names) == 12 and list(found["supernet"]["dev_metrics"]) == names
    for split, field in (("dev", "dev_metrics"), ("test", "metrics")):
        scores = found["row_scores"][split]
        assert list(scores) == ["teacher", *names]
        for name, raw in scores.items():
            net = found["teacher"][field] if name == "teacher" else found["supernet"][field][name]
            rows = RowScores.from_dict("classification", raw)
            assert list(net) == ["accuracy", "macro_f1", "matthews"]
            assert len(rows) == found["rows"][split] and rows.metric() == pytest.approx(net["accuracy"])
    run = load_supernet(options.runs / "small-0")
    assert run.facts["metrics"] == found["supernet"]["metrics"]
    assert run.facts["dev_metrics"] == found["supernet"]["dev_metrics"]


def test_a_seed_that_is_done_is_left_alone_and_another_goes_on(
    options: argparse.Namespace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = (options.figures / "small-0.json").read_bytes()
    monkeypatch.setattr(accuracy, "train_supernet", lambda *_: pytest.fail("trained again"))
    accuracy.measure(SMALL, 0, options)
    assert "small-0.json: there already" in capsys.readouterr().out
    (options.figures / "small-0.json").unlink()
    accuracy.measure(SMALL, 0, options)  # from the finished trainings
    assert json.loads((options.figures / "small-0.json").read_bytes()) == json.loads(written)
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        accuracy.measure(SMALL, 1, options)


def test_a_run_of_another_recipe_gives_no_figures(options: argparse.Namespace) -> None:
    (options.figures / "small-0.json").unlink()
    other = dataclasses.replace(SMALL, supernet={**SMALL.supernet, "width_lr": 1e-4})
    with pytest.raises(InputError, match=r"small-0: was trained with other settings \(width_lr\); remove it, or pass"):
        accuracy.measure(other, 0, options)


def test_a_variant_is_of_the_same_teacher_and_compared_with_the_recipe_row_by_row(options: argparse.Namespace) -> None:
    options.variant = "dropout"
    accuracy.measure(SMALL, 0, options)
    usual, tried = (
        json.loads((options.figures / f"small-0{kind}.json").read_text()) for kind in ("", "-variant-dropout")
    )
    assert usual["teacher"] == tried["teacher"]
    assert sorted(path.name for path in options.runs.iterdir() if path.is_dir()) == [
        "small-0", "small-0-teacher", "small-0-variant-dropout",
    ]  # fmt: skip
    one, other = (
        [RowScores.from_dict("classification", found["row_scores"]["dev"]["w050-d050"])] for found in (tried, usual)
    )
    gain = tried["supernet"]["dev_metrics"]["w050-d050"]["accuracy"]
    gain -= usual["supernet"]["dev_metrics"]["w050-d050"]["accuracy"]
    assert paired_difference(one, other).value == pytest.approx(gain)
