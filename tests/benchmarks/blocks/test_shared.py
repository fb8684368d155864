"""Nets out of a search's own blocks: they share weights, and one bundle switches between them."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import safetensors.torch

from benchmarks.blocks.shared import SharedNet, choose_shared
from gearshift.__main__ import main
from gearshift.errors import InputError, ModelError
from gearshift.export.pipeline import ExportReport, export_bundle
from gearshift.runtime import Engine, open_bundle
from gearshift.trainer.data.splits import Origin
from gearshift.trainer.dynabert.train import train_supernet
from gearshift.trainer.nasbert.run import MixedRun
from gearshift.trainer.nasbert.search import Searched, load_searched, search_blocks
from gearshift.trainer.nasbert.teacher import TeacherEncoder, load_teacher
from tests.trainer.nasbert.tiny import SEARCH, write_text
from tests.trainer.tiny import SETTINGS, make_data, write_checkpoint

DATA = make_data(train=150, test=30)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> TeacherEncoder:
    folder = tmp_path_factory.mktemp("teacher")
    settings = dataclasses.replace(
        SETTINGS, teacher_epochs=12, teacher_lr=2e-3, head_lr_factor=4, batch_size=16, width_epochs=0, depth_epochs=0
    )
    train_supernet(write_checkpoint(folder / "tiny"), DATA, settings, folder / "run")
    return load_teacher(folder / "run")


@pytest.fixture(scope="module")
def searched(teacher: TeacherEncoder, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    folder = tmp_path_factory.mktemp("shared")
    settings = dataclasses.replace(SEARCH, sizes=(8, 24), warm_epochs=6)
    return search_blocks(teacher, [write_text(folder / "text.txt")], settings, folder / "nas")


@pytest.fixture(scope="module")
def chosen(searched: Searched, teacher: TeacherEncoder) -> tuple[MixedRun, list[SharedNet]]:
    return choose_shared(searched, teacher, DATA, pool=4)


@pytest.fixture(scope="module")
def exported(chosen: tuple[MixedRun, list[SharedNet]], tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    out = tmp_path_factory.mktemp("bundle") / "shared.gearshift"
    return export_bundle(chosen[0], out, DATA.splits["test"])


def test_the_pool_is_a_front_of_sizes_and_losses(chosen: tuple[MixedRun, list[SharedNet]]) -> None:
    run, scored = chosen
    assert 1 < len(run.subnets) <= 4 and run.accuracies.keys() == run.subnets.keys()
    by_subnet = {one.subnet: one for one in scored}
    pool = [by_subnet[subnet] for subnet in run.subnets.values()]
    assert [one.macs for one in pool] == sorted((one.macs for one in pool), reverse=True)
    for one in pool:
        assert not [other for other in scored if other.macs <= one.macs and other.loss < one.loss]


def test_the_search_is_still_whole(searched: Searched, chosen: tuple[MixedRun, list[SharedNet]]) -> None:
    assert load_searched(searched.run.path).tables == searched.tables


def test_one_bundle_switches_between_nets_that_share_their_weights(
    chosen: tuple[MixedRun, list[SharedNet]], exported: ExportReport
) -> None:
    run = chosen[0]
    bundle = exported.bundle
    assert list(bundle.pool("fp32")) == list(run.subnets)
    for name, accuracy in run.accuracies.items():
        assert bundle.entry(name, "fp32").accuracy == pytest.approx(accuracy)
    with Engine.load(bundle.path, threads=1, cache=False) as engine:
        for name in run.subnets:
            engine.pin(name)
            assert engine.run("the winter was full of snow").subnet == name
    alone = sum(subnet.bytes(run.checkpoint.model.shape, "fp32") for subnet in run.subnets.values())
    assert bundle.manifest.files["fp32.weights"].bytes < alone


def test_a_search_of_a_teacher_without_that_task_has_no_answers(searched: Searched, teacher: TeacherEncoder) -> None:
    other = dataclasses.replace(DATA, labels=("a", "b"))
    with pytest.raises(InputError, match="expected the search of a teacher for classification of the labels a, b"):
        choose_shared(searched, teacher, other)


def test_another_teacher_than_that_of_the_search_is_refused(
    searched: Searched, teacher: TeacherEncoder, tmp_path: Path
) -> None:
    copied = shutil.copytree(teacher.checkpoint.source, tmp_path / "teacher")
    weights = safetensors.torch.load_file(copied / "model.safetensors")
    safetensors.torch.save_file({name: 1.5 * tensor for name, tensor in weights.items()}, copied / "model.safetensors")
    with pytest.raises(ModelError, match="expected the teacher of"):
        choose_shared(searched, load_teacher(copied), DATA)


@pytest.mark.parametrize("pool", [0, -1])
def test_a_pool_of_no_nets_is_refused(searched: Searched, teacher: TeacherEncoder, pool: int) -> None:
    with pytest.raises(InputError, match=f"pool: expected 1 net or more, got {pool}"):
        choose_shared(searched, teacher, DATA, pool=pool)


def test_the_search_of_a_teacher_without_a_task_has_no_head(tmp_path: Path) -> None:
    untaught = load_teacher(write_checkpoint(tmp_path / "model"))
    settings = dataclasses.replace(SEARCH, sizes=(8,), warm_epochs=1, max_rounds=0)
    nas = search_blocks(untaught, [write_text(tmp_path / "text.txt")], settings, tmp_path / "nas")
    with pytest.raises(InputError, match="its teacher was not trained for a task"):
        choose_shared(nas, untaught, DATA)


def test_a_pool_is_exported_with_the_data_and_columns_that_it_was_chosen_on(
    searched: Searched, teacher: TeacherEncoder, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for split, rows in DATA.splits.items():
        lines = ["words\tkind", *(f"{row.text}\t{row.label}" for row in rows)]
        (data / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    nas = dataclasses.replace(
        searched, run=dataclasses.replace(searched.run, path=shutil.copytree(searched.run.path, tmp_path / "nas"))
    )
    columns = {"text_column": "words", "label_column": "kind"}
    run, _ = choose_shared(nas, teacher, dataclasses.replace(DATA, origin=Origin(str(data), columns)), pool=2)
    assert main(["export", str(tmp_path / "nas"), "-o", str(tmp_path / "x.gearshift")]) == 0
    entries = open_bundle(tmp_path / "x.gearshift").pool("fp32")
    assert {name: entry.accuracy for name, entry in entries.items()} == pytest.approx(run.accuracies)
