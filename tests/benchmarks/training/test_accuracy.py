"""The table of accuracies from figures that were made up, and the rows that each figure is of."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report
from benchmarks.training import accuracy, accuracy_report
from benchmarks.training.accuracy_tasks import SUBJECTS, VARIANTS, Subject, load
from gearshift.trainer.dynabert.settings import Settings

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
        "rows": {"train": 100, "dev": 10, "test": 20},
        "teacher": {"settings": settings, "metrics": {"accuracy": teacher, "macro_f1": 0.1}, **cost},
        "supernet": {
            "settings": settings,
            "metrics": {name: {"accuracy": value, "macro_f1": 0.2} for name, value in subnets.items()},
            **cost,
        },
    }


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The report of three seeds of TREC, one of SNIPS, and one subnet alone."""
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    folder = tmp_path / "accuracy"
    folder.mkdir()
    made = {
        f"trec-seed{seed}": figures("TREC", seed, 0.9, dict.fromkeys(NAMES, 0.8 + 0.01 * seed)) for seed in range(3)
    }
    values = dict(zip(NAMES, (1.0, 0.9, 0.5, 0.7, 0.6), strict=True))
    made["snips-seed0"] = figures("SNIPS", 0, 1.0, values)
    made["snips-seed0-alone-w025-d050"] = figures("SNIPS", 0, 1.0, {"w025-d050": 0.55})
    made["trec-seed1-alone-w025-d050"] = figures("TREC", 1, 0.7, {"w025-d050": 0.55})
    tried = {**values, "w025-d050": 0.7, "w050-d100": 0.88}
    made["snips-seed0-variant-dropout"] = figures("SNIPS", 0, 1.0, tried, "dropout")
    for name, one in made.items():
        (folder / f"{name}.json").write_text(json.dumps(one))
    accuracy_report.report(folder)
    return (tmp_path / "accuracy.md").read_text()


def test_a_cell_is_the_mean_of_the_seeds_with_its_interval(table: str) -> None:
    assert "|  | TREC (accuracy) | SNIPS (accuracy) |" in table
    assert "| teacher | 90.0 ± 0.0 | 100.0 |" in table
    assert "| w050-d100 | 81.0 ± 2.5 | 90.0 |" in table  # 4.303 (t of 2) x 1 / sqrt(3)


def test_shares_of_the_teacher_are_a_quotient_of_averages_and_an_average_of_quotients(table: str) -> None:
    # (.81 + .6) / (.9 + 1), and (.81 / .9 + .6 / 1) / 2
    assert "| w025-d050 | 74.2 % | 75.0 % | 95.5 % |" in table


def test_width_stands_against_depth_and_a_subnet_against_a_model_alone(table: str) -> None:
    assert "| w050-d100 | 81.0 | 90.0 | 85.5 |" in table
    assert "| w100-d050 | 81.0 | 50.0 | 65.5 |" in table
    assert "| SNIPS, seed 0 | w025-d050 | 100.0 | 60.0 (lr 1e-04) | 55.0 (lr 1e-04) |" in table
    assert "| TREC, seed 1 | w025-d050 | 70.0 | - | 55.0 (lr 1e-04) |" in table  # of another teacher


def test_what_made_a_figure_stands_beside_it(table: str) -> None:
    place = "NVIDIA X1, shared by 4 trainings"
    assert f"| TREC | 100 / 10 / 20 | 0, 1, 2 | augment 2 | augment 2 | {place} | 3.3 + 3.3 |" in table


def test_what_was_tried_stands_beside_the_recipe_and_not_in_the_table(table: str) -> None:
    assert "| SNIPS, seed 0 | dropout | -2.0 | +0.0 | +10.0 | +1.6 |" in table
    assert "| w025-d050 | 81.0 ± 2.5 | 60.0 |" in table


def test_alone_has_as_many_steps_and_one_subnet() -> None:
    whole = Settings(width_epochs=1, depth_epochs=2, depth_only_epochs=0.5)
    alone = accuracy._alone_settings(whole, "w025-d050")
    assert (alone.widths, alone.depths) == ((0.25,), (0.5,))
    assert (alone.width_epochs, alone.depth_only_epochs, alone.depth_epochs) == (0, 0, 3.5)


def test_other_numbers_of_copies_make_as_many_steps() -> None:
    usual = Settings(augment=5, width_epochs=1, depth_epochs=3)
    for name, copies in (("no-augmentation", 0), ("twice-the-copies", 10)):
        changed = dataclasses.replace(usual, **VARIANTS[name](usual))
        assert changed.augment == copies
        assert (1 + copies) * changed.epochs("depth") == pytest.approx(6 * 3)
        assert (1 + copies) * changed.epochs("width") == pytest.approx(6 * 1)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_differs_from_the_recipe(variant: str) -> None:
    usual = accuracy._supernet_settings(SUBJECTS["TREC"], 0)
    assert dataclasses.replace(usual, **VARIANTS[variant](usual)) != usual


def test_every_subjects_settings_are_settings() -> None:
    for subject in SUBJECTS.values():
        assert accuracy._teacher_settings(subject, 1).depth_epochs == 0
        assert accuracy._supernet_settings(subject, 1).teacher_epochs == 0


def test_no_row_is_in_two_splits(tmp_path: Path) -> None:
    lines = [f"text {number}\t{number % 2}\n" for number in range(60)]
    (tmp_path / "train.tsv").write_text("".join(["sentence\tlabel\n", *lines[:50]]))
    (tmp_path / "dev.tsv").write_text("".join(["sentence\tlabel\n", *lines[50:]]))
    data = load(Subject("own", ".", test_is_dev=True, train_rows=30), tmp_path)
    texts = {split: {row.text for row in rows} for split, rows in data.splits.items()}
    assert {split: len(rows) for split, rows in texts.items()} == {"train": 30, "dev": 5, "test": 10}
    assert texts["test"] == {f"text {number}" for number in range(50, 60)}
    assert not (texts["train"] & texts["dev"] or texts["train"] & texts["test"] or texts["dev"] & texts["test"])
    assert load(Subject("own", ".", test_is_dev=True, train_rows=30), tmp_path) == data
