"""Nets out of a search's own blocks: they share weights, and one bundle switches between them."""

from __future__ import annotations

import dataclasses

import pytest

from gearshift.errors import InputError
from gearshift.export.pipeline import ExportReport, export_bundle
from gearshift.runtime import Engine
from gearshift.trainer.dynabert.train import train_supernet
from gearshift.trainer.nasbert.run import MixedRun
from gearshift.trainer.nasbert.search import Searched, load_searched, search_blocks
from gearshift.trainer.nasbert.shared import SharedNet, choose_shared
from gearshift.trainer.nasbert.teacher import Teacher, load_teacher
from tests.trainer.nasbert.tiny import SEARCH, write_text
from tests.trainer.tiny import SETTINGS, make_data, write_checkpoint

DATA = make_data(train=150, test=30)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    folder = tmp_path_factory.mktemp("teacher")
    settings = dataclasses.replace(
        SETTINGS, teacher_epochs=12, teacher_lr=2e-3, head_lr_factor=4, batch_size=16, width_epochs=0, depth_epochs=0
    )
    train_supernet(write_checkpoint(folder / "tiny"), DATA, settings, folder / "run")
    return load_teacher(folder / "run")


@pytest.fixture(scope="module")
def searched(teacher: Teacher, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    folder = tmp_path_factory.mktemp("shared")
    settings = dataclasses.replace(SEARCH, sizes=(8, 24), warm_epochs=6)
    return search_blocks(teacher, [write_text(folder / "text.txt")], settings, folder / "nas")


@pytest.fixture(scope="module")
def chosen(searched: Searched, teacher: Teacher) -> tuple[MixedRun, list[SharedNet]]:
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


def test_a_search_of_a_teacher_without_that_task_has_no_answers(searched: Searched, teacher: Teacher) -> None:
    other = dataclasses.replace(DATA, labels=("a", "b"))
    with pytest.raises(InputError, match="expected the search of a teacher for classification of the labels a, b"):
        choose_shared(searched, teacher, other)
