"""Tables and pool of a tiny supernet, from training to an engine that answers with every subnet.

It is trained on from weights that make every subnet answer something else: a training of eleven steps from a fresh
model leaves losses so near each other that the kernels of a CPU would decide which subnets are the best.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from gearshift.__main__ import main
from gearshift.drawing.search import plot_search
from gearshift.errors import InputError, ProfileError, SchemaError
from gearshift.export.pipeline import export_bundle
from gearshift.runtime import Engine
from gearshift.runtime.bundle.bundle import open_bundle
from gearshift.runtime.profiles.own import own_path
from gearshift.runtime.profiles.store import this_device
from gearshift.runtime.space.space import Option
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.runtime.tables.limits import Limits
from gearshift.runtime.tables.tables_file import load_tables
from gearshift.sealed_json import SEAL
from gearshift.trainer.data.batches import EncodedRows, encode
from gearshift.trainer.data.splits import DataSet
from gearshift.trainer.dynabert.supernet import Supernet
from gearshift.trainer.dynabert.train import train_supernet
from gearshift.trainer.model.checkpoint import load_checkpoint
from gearshift.trainer.model.run import Run, load_supernet, save_run
from gearshift.trainer.search.pool import kinds_of_device
from gearshift.trainer.search.search import Scorer, SearchReport, search_run, search_space
from tests.runtime.tables.test_operation_latency import true_latency
from tests.trainer.tiny import SETTINGS, SHAPE, encoded_rows, make_data, random_model, scatter, write_checkpoint

DATA = make_data(train=48, test=24)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, SearchReport]:
    folder = tmp_path_factory.mktemp("search")
    start = load_checkpoint(write_checkpoint(folder / "tiny"), DATA.labels)
    torch.manual_seed(0)
    scatter(start.model)
    save_run(folder / "scattered", start, subnets={}, accuracies={}, facts={})
    run = train_supernet(folder / "scattered", DATA, SETTINGS, folder / "run")
    report = search(run)
    return load_supernet(run.path), report


def search(run: Run, data: DataSet = DATA) -> SearchReport:
    """Search two widths in four layers: with the four that were trained, most of the time goes into looking up."""
    return search_run(run, data, widths=(1, 0.5), pool=20, rescored=40)


def encode_dev(run: Run) -> EncodedRows:
    return encode(DATA.splits["dev"], DATA.labels, run.checkpoint.tokenizer, max_length=SETTINGS.max_length)


def test_options_of_a_stage_run_its_first_layers_at_one_width() -> None:
    space = search_space(SHAPE, (1.0, 0.5), 2)
    assert [len(stage.options) for stage in space.stages] == [5, 5]
    assert [option.layers for option in space.stages[0].options] == [
        ((4, 64), (4, 64)),
        ((2, 32), (2, 32)),
        ((4, 64), (0, 0)),
        ((2, 32), (0, 0)),
        ((0, 0), (0, 0)),
    ]
    with pytest.raises(InputError, match="expected 1 among them"):
        search_space(SHAPE, (0.5,), 1)


def test_heads_and_neurons_can_have_widths_of_their_own() -> None:
    space = search_space(SHAPE, (1.0, 0.5, 0.25), 1, separate=True)
    assert [len(stage.options) for stage in space.stages] == [10] * 4
    assert Option(((4, 16),)) in space.stages[0].options and space.stages[0].options[-1].skips


def test_the_loss_of_the_full_net_is_the_least() -> None:
    model = random_model()
    scorer = Scorer(model, encoded_rows(40))
    full = scorer(model.full)
    for sizes in itertools.product([(4, 64), (1, 16)], repeat=SHAPE.layers):
        assert scorer(Subnet(sizes)) >= full
    assert len(scorer.known) == 2**SHAPE.layers


def test_a_row_of_the_tables_is_the_loss_with_that_stage_alone_changed(searched: tuple[Run, SearchReport]) -> None:
    run, report = searched
    tables = load_tables(run.path / "tables.json", shape=run.checkpoint.model.shape)
    assert tables == report.tables
    for stage in range(4):
        assert tables.rows[stage][0].loss == pytest.approx(0, abs=1e-6)
        assert len(tables.rows[stage]) == 3
        assert min(row.loss for row in tables.rows[stage][1:]) > 1e-5  # far more than kernels round


@pytest.mark.parametrize("trained", ["all", "w050-d050"])
def test_a_net_whose_subnets_all_answer_alike_keeps_its_full_one(trained: str, tmp_path: Path) -> None:
    """Every loss is the same number, on every CPU: the smallest subnet is as good as any."""
    checkpoint = load_checkpoint(write_checkpoint(tmp_path / "tiny"), DATA.labels)
    torch.nn.init.zeros_(checkpoint.model.classifier.weight)
    grid = uniform_grid(checkpoint.model.shape)
    subnets = grid if trained == "all" else {trained: grid[trained]}
    save_run(tmp_path / "run", checkpoint, subnets=subnets, accuracies={}, facts={"max_length": 16})
    report = search_run(load_supernet(tmp_path / "run"), DATA, widths=(1, 0.5), pool=3, rescored=6)
    assert report.pool[0].subnet == checkpoint.model.full and len(report.pool) == 3
    assert len({member.loss for member in report.pool}) == 1


def test_the_pool_is_what_the_run_has_from_then_on(searched: tuple[Run, SearchReport]) -> None:
    run, report = searched
    assert list(run.subnets) == [member.name for member in report.pool]
    assert run.subnets == {member.name: member.subnet for member in report.pool}
    assert len(run.subnets) == 20
    assert run.checkpoint.model.full in run.subnets.values()
    sizes = [subnet.parameters(run.checkpoint.model.shape) for subnet in run.subnets.values()]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) > 5
    uneven = [s for s in run.subnets.values() if len({layer for layer in s.layers if layer[0]}) > 1]
    assert uneven


def test_the_uniform_subnets_are_scored_too_and_none_beats_the_pool(searched: tuple[Run, SearchReport]) -> None:
    run, report = searched
    scorer = Scorer(run.checkpoint.model, encode_dev(run))
    shape = run.checkpoint.model.shape
    for subnet in uniform_grid(shape).values():
        own = scorer(subnet)
        macs = subnet.macs(shape, report.tables.macs_tokens)
        assert min(member.loss for member in report.pool if member.macs <= macs) <= own + 1e-6


def test_a_picture_shows_the_search(searched: tuple[Run, SearchReport], tmp_path: Path) -> None:
    plot_search(searched[1], tmp_path / "search.png")
    assert (tmp_path / "search.png").read_bytes().startswith(b"\x89PNG")
    plot_search(searched[1], tmp_path / "device.svg", kinds_of_device(SHAPE))
    assert (tmp_path / "device.svg").read_bytes().count(b'<g id="axes_') == 6
    with pytest.raises(InputError, match=r"ends in \.png or \.svg"):
        plot_search(searched[1], tmp_path / "search.pdf")


def test_the_same_search_writes_the_same_files(searched: tuple[Run, SearchReport]) -> None:
    run, _ = searched
    before = [(run.path / name).read_bytes() for name in ("tables.json", "pool.json")]
    search(run)
    assert [(run.path / name).read_bytes() for name in ("tables.json", "pool.json")] == before


def scored(run: Run, data: DataSet = DATA, *, interrupted_after: int | None = None) -> list[Subnet]:
    """The subnets whose loss a search measures on the dev rows, in order; it may be interrupted after some of them."""
    found: list[Subnet] = []
    of_test: list[Subnet] = []  # measured when all losses are, before accuracies on dev rows

    def note(_: object, inputs: tuple[Any, ...]) -> None:
        batch, subnet = inputs
        if len(batch.indices) != len(data.splits["dev"]):  # the test rows are more
            of_test.append(subnet)
        elif not of_test:
            if len(found) == interrupted_after:
                raise KeyboardInterrupt
            found.append(subnet)

    hook = run.checkpoint.model.register_forward_pre_hook(note)
    try:
        if interrupted_after is None:
            search(run, data)
        else:
            with pytest.raises(KeyboardInterrupt):
                search(run, data)
    finally:
        hook.remove()
    return found


def test_an_interrupted_search_measures_no_loss_twice(searched: tuple[Run, SearchReport]) -> None:
    """Neither those of the tables nor those of whole subnets. The full net also gives the answers, once a search."""
    run, _ = searched
    files = [run.path / name for name in ("tables.json", "pool.json")]
    before = [path.read_bytes() for path in files]
    whole, left = scored(run), run.path / "search.partial"
    assert len(set(whole)) == len(whole) - 1
    first = scored(run, interrupted_after=30)
    left.write_text(left.read_text() + '{"subnet": [[4, 6')  # cut while a line was written
    second = scored(run)
    assert [*first, *second[1:]] == whole and second[0] == whole[0]
    assert [path.read_bytes() for path in files] == before and not left.exists()


def test_losses_of_other_rows_or_weights_are_measured_again(searched: tuple[Run, SearchReport]) -> None:
    run, _ = searched
    whole = scored(run)
    scored(run, interrupted_after=9)
    rows = DATA.splits["dev"]
    other = DATA.__class__(DATA.labels, {**DATA.splits, "dev": (*rows[1:], rows[0])})
    assert len(scored(run, other)) == len(whole)
    scored(run)


def test_a_pool_chosen_on_its_own_test_rows_is_told(searched: tuple[Run, SearchReport]) -> None:
    assert searched[1].notes == ()
    same = DATA.__class__(DATA.labels, {**DATA.splits, "test": DATA.splits["dev"]})
    run, _ = searched
    assert "flatters" in search(run, same).notes[0]
    search(run)


def test_a_run_of_a_loop_of_ones_own_is_searched_too(searched: tuple[Run, SearchReport], tmp_path: Path) -> None:
    trained, path = searched[0].trained, searched[0].path
    model = transformers.AutoModelForSequenceClassification.from_pretrained(path)
    supernet = Supernet.convert(model, [trained["w100-d100"], trained["w050-d075"]])
    supernet.save(tmp_path / "run", transformers.AutoTokenizer.from_pretrained(path), max_length=16)
    run = load_supernet(tmp_path / "run")
    report = search_run(run, DATA, pool=4, rescored=6)
    assert {option.layers for stage in report.tables.space.stages for option in stage.options} == {
        ((4, 64),),
        ((2, 32),),
        ((0, 0),),
    }
    assert load_supernet(run.path).trained == supernet.subnets
    unknown = dataclasses.replace(run, facts={**run.facts, "settings": {}})
    with pytest.raises(InputError, match="run: expected the widths of its training, found none; pass them"):
        search_run(unknown, DATA, pool=4, rescored=6)


def test_more_than_are_scored_cannot_be_chosen(searched: tuple[Run, SearchReport]) -> None:
    with pytest.raises(InputError, match="expected 1 to 10 subnets"):
        search_run(searched[0], DATA, pool=11, rescored=10)


def test_a_device_that_timed_another_kind_of_net_is_refused(searched: tuple[Run, SearchReport]) -> None:
    with pytest.raises(ProfileError, match="expected kind elastic, not mixed"):
        search_run(searched[0], DATA, devices={"operations": true_latency()})  # type: ignore[dict-item]


def test_tables_of_another_supernet_are_not_exported(searched: tuple[Run, SearchReport], tmp_path: Path) -> None:
    run, _ = searched
    path = run.path / "tables.json"
    content = path.read_text()
    path.write_text(json.dumps({**json.loads(content), "supernet": "00" * 32}))
    with pytest.raises(SchemaError, match="another supernet"):
        export_bundle(run, tmp_path / "x.gearshift", DATA.splits["test"])
    path.write_text(content)


def test_a_searched_run_is_exported_and_answers(searched: tuple[Run, SearchReport], tmp_path: Path) -> None:
    run, report = searched
    target = tmp_path / "searched.gearshift"
    export_bundle(run, target, DATA.splits["test"], precisions=("fp32",), layers_per_stage=1)
    bundle = open_bundle(target)
    assert {name: entry.subnet for name, entry in bundle.pool("fp32").items()} == run.subnets
    for member in report.pool:
        assert bundle.entry(member.name, "fp32").accuracy == pytest.approx(member.accuracy)
    tables = load_tables(target / "tables.json", shape=run.checkpoint.model.shape)
    best = tables.best(Limits(parameters=run.subnets["w100-d100"].parameters(tables.space.shape)))[0]
    assert best.subnet == run.checkpoint.model.full
    with Engine.load(target, threads=1, cache=False) as engine:
        answers = {}
        for name in run.subnets:
            engine.pin(name)
            answers[name] = engine.run("the winter was full of snow").subnet
        assert answers == {name: name for name in run.subnets}


def test_the_command_searches_blocks_for_a_device_and_shows_them(
    searched: tuple[Run, SearchReport], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, data, bundle, profile = tmp_path / "run", tmp_path / "data", tmp_path / "x.gearshift", tmp_path / "device.json"
    shutil.copytree(searched[0].path, run)
    data.mkdir()
    for split, rows in DATA.splits.items():
        lines = ["sentence\tlabel", *(f"{row.text}\t{row.label}" for row in rows)]
        (data / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    export_bundle(load_supernet(run), bundle, DATA.splits["test"], precisions=("fp32",), layers_per_stage=1)
    with Engine.load(bundle, threads=1, cache=False) as engine:
        engine.save_profile(profile)
    picture = tmp_path / "search.svg"
    arguments = ["search", run, "--data", data, "--stages", "block", "--pool", 8, "--rescored", 20, "--plot", picture]
    arguments += ["--profile", profile, "--measured", bundle]
    assert main([*map(str, arguments), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    tables = load_tables(run / "tables.json", shape=SHAPE)
    assert [stage.length for stage in tables.space.stages] == [2, 2]
    assert len(found["pool"]) == 8 and list(load_supernet(run).subnets) == [one["name"] for one in found["pool"]]
    assert picture.read_text().count('<g id="axes_') == 6  # the device's two among them
    assert main([str(one) for one in arguments[:-2]]) == 1
    assert "expected both --profile and --measured" in capsys.readouterr().err
    assert main([*map(str, arguments[:10])]) == 0
    printed = capsys.readouterr().out
    assert "8 subnets chosen on 6 dev rows" in printed and "Spearman" in printed


def test_a_device_looks_up_the_best_subnets_within_limits(
    searched: tuple[Run, SearchReport],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, _ = searched
    bundle, profile = tmp_path / "searched.gearshift", tmp_path / "device.json"
    export_bundle(run, bundle, DATA.splits["test"], precisions=("fp32",), layers_per_stage=1)
    with Engine.load(bundle, threads=1, cache=False) as engine:
        engine.save_profile(profile)

    def look_up(*arguments: object) -> list[dict[str, Any]]:
        assert main(["look-up", str(bundle), *map(str, arguments), "--json"]) == 0
        found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["subnets"]
        return found

    full = look_up("--count", 1)[0]
    assert full["name"] == "w100-d100" and full["latency_ms"] is None
    assert full["accuracy"] == pytest.approx(run.accuracies["w100-d100"])
    timed = look_up("--profile", profile, "--length", 12, "--count", 200)
    limit = sorted(one["latency_ms"] for one in timed)[50]
    small = look_up("--profile", profile, "--length", 12, "--latency-ms", limit, "--macs", full["macs"] / 2)
    assert len(small) == 5 and [one["loss"] for one in small] == sorted(one["loss"] for one in small)
    assert all(one["latency_ms"] <= limit * (1 + 1e-9) and one["macs"] <= full["macs"] / 2 for one in small)
    assert main(["look-up", str(bundle), "--parameters", "1"]) == 1
    assert "the nearest takes" in capsys.readouterr().err
    assert main(["look-up", str(bundle)]) == 0
    assert "w100-d100" in capsys.readouterr().out
    monkeypatch.setenv("GEARSHIFT_PROFILE_DIR", str(tmp_path / "own"))
    (tmp_path / "own").mkdir()
    raw = json.loads(profile.read_text())
    del raw[SEAL]  # as of an earlier version, or written by hand
    for version, told in (
        (raw["device"]["versions"]["onnxruntime"], None),
        ("1.0", "is stale (onnxruntime 1.0 then, "),
    ):
        raw["device"]["versions"]["onnxruntime"] = version
        own_path(this_device()).write_text(json.dumps(raw))
        assert main(["look-up", str(bundle), "--latency-ms", "1e3"]) == (0 if told is None else 1)
        assert told is None or told in capsys.readouterr().err


def test_a_stage_that_covers_the_whole_net_cannot_be_skipped(searched: tuple[Run, SearchReport]) -> None:
    with pytest.raises(InputError, match="whole net"):
        search_run(searched[0], DATA, pool=2, rescored=8, layers_per_stage=4)
