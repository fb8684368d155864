"""The model card says what the manifest says."""

import dataclasses

import pytest

from gearshift.export.card import MEANINGS, model_card
from gearshift.export.pipeline import ExportReport
from gearshift.runtime.bundle.manifest import Manifest
from gearshift.runtime.bundle.tasks import METRICS
from gearshift.trainer.learning.objectives import OBJECTIVES


@pytest.fixture(scope="module")
def manifest(exported: ExportReport) -> Manifest:
    return exported.bundle.manifest


def table_of(card: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in card.splitlines() if line.startswith("|")]


def test_the_table_has_a_row_for_each_subnet_with_its_figures(manifest: Manifest) -> None:
    header, rule, *rows = table_of(model_card(manifest))
    assert header == ["subnet", "parameters", "MACs at 128 tokens", "accuracy fp32", "accuracy int8"]
    assert rule == ["---"] * 5
    by_precision = {
        precision: [entry for entry in manifest.pool if entry.precision == precision] for precision in ("fp32", "int8")
    }
    assert len(rows) == 12
    for row, fp32, int8 in zip(rows, *by_precision.values(), strict=True):
        assert row == [
            fp32.name,
            f"{fp32.parameters / 1e3:.0f} k",  # of this tiny net; millions from a million on
            f"{fp32.macs / 1e6:.1f} M" if fp32.macs >= 1e6 else f"{fp32.macs / 1e3:.0f} k",
            f"{100 * fp32.accuracy:.1f} %",
            f"{100 * int8.accuracy:.1f} %",
        ]


def test_the_card_of_one_precision_has_one_column_of_accuracy(manifest: Manifest) -> None:
    only = dataclasses.replace(manifest, pool=tuple(entry for entry in manifest.pool if entry.precision == "int8"))
    header, _, *rows = table_of(model_card(only))
    assert header[3:] == ["accuracy int8"]
    assert len(rows) == 12


def test_a_subnet_that_one_precision_lacks_has_an_empty_cell(manifest: Manifest) -> None:
    pool = tuple(e for e in manifest.pool if (e.name, e.precision) != ("w100-d100", "int8"))
    rows = table_of(model_card(dataclasses.replace(manifest, pool=pool)))[2:]
    assert [row[4] == "" for row in rows] == [True] + [False] * 11


def test_the_card_of_a_bundle_that_dev_rows_choose_has_columns_for_them(manifest: Manifest) -> None:
    pool = tuple(dataclasses.replace(entry, dev_accuracy=0.125) for entry in manifest.pool)
    card = model_card(dataclasses.replace(manifest, pool=pool, chosen_by="dev", dev_rows=77))
    header, _, *rows = table_of(card)
    assert header[3:] == ["accuracy fp32", "accuracy int8", "dev fp32", "dev int8"]
    assert {tuple(row[5:]) for row in rows} == {("12.5 %", "12.5 %")}
    assert "marked dev are of 77 other held-out rows, by which an engine chooses" in card
    assert "dev" not in model_card(manifest)


def test_the_card_names_labels_licence_and_the_rows_that_accuracy_stands_on(manifest: Manifest) -> None:
    card = model_card(manifest)
    assert card.startswith("# small\n")
    assert "classification model with 12 subnets in one graph" in card
    assert "3 labels: cold, hot, mild." in card
    assert "60 held-out rows" in card
    assert "Licence: Apache-2.0. Made by gearshift " in card
    assert 'Engine.load("small.gearshift")' in card


def test_every_metric_that_a_bundle_may_have_is_that_of_a_task_and_has_a_meaning() -> None:
    assert set(METRICS) == {objective.metric for objective in OBJECTIVES.values()} == set(MEANINGS)
