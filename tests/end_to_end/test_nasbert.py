"""Tests from a search to an engine that answers, by the command line, with a tiny teacher."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest

from gearshift.__main__ import main
from gearshift.export.dedicated import dedicated_graphs
from gearshift.export.trim import trim_bundle
from gearshift.runtime import Engine, open_bundle
from gearshift.runtime.bench.dedicated import run_bench
from gearshift.runtime.space.blocks import BlockSubnet, parse_subnet
from tests.trainer.nasbert.tiny import write_text
from tests.trainer.tiny import LABELS, make_data, write_checkpoint

DATA = make_data(train=150, test=30)
TEXT = ["--max-length", "16", "--tokens", "600", "--dev-tokens", "150"]
BATCH = ["--batch-size", "16"]


def gearshift(*arguments: object) -> dict[str, Any]:
    """Return what a command prints as JSON."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main([str(argument) for argument in (*arguments, "--json")]) == 0
    result: dict[str, Any] = json.loads(printed.getvalue())
    return result


def write_rows(folder: Path) -> Path:
    folder.mkdir()
    for split, rows in DATA.splits.items():
        lines = ["sentence\tlabel", *(f"{row.text}\t{row.label}" for row in rows)]
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search, a net of it, a teacher of the task, the tuned net and its bundle."""
    top = tmp_path_factory.mktemp("nas")
    model, text, data = write_checkpoint(top / "model"), write_text(top / "text.txt"), write_rows(top / "data")
    states = ["--states", top / "states"]
    search = ["--sizes", "8,16", "--buckets", 2, "--deleted", 0.9, "--kept", 3, "--warm-epochs", 1, "--lr", 2e-2]
    gearshift("nas-search", "--model", model, "--text", text, "-o", top / "nas", *states, *TEXT, *BATCH, *search)
    net = ["--embedding", 16, "--epochs", 2, "--lr", 3e-3, *states]
    (top / "train.json").write_text(
        json.dumps(
            gearshift("nas-train", top / "nas", "--parameters", 9000, "--top", 5, "-o", top / "net", *BATCH, *net)
        )
    )
    stages = [
        "--teacher-epochs",
        15,
        "--teacher-lr",
        2e-3,
        "--head-lr-factor",
        4,
        "--width-epochs",
        0,
        "--depth-epochs",
        0,
    ]
    gearshift("train", "--model", model, "--data", data, "-o", top / "teacher", "--max-length", 16, *BATCH, *stages)
    tune = ["--epochs", 40, "--lr", 1e-3, "--head-lr-factor", 1, "--max-length", 16]
    tuned = gearshift(
        "nas-tune", top / "net", "--data", data, "--teacher", top / "teacher", "-o", top / "tuned", *BATCH, *tune
    )
    (top / "tune.json").write_text(json.dumps(tuned))
    gearshift("export", top / "tuned", "-o", top / "x.gearshift", "--licence", "Apache-2.0")
    return top


def test_the_net_is_the_best_of_those_within_the_limit(folder: Path) -> None:
    found = json.loads((folder / "train.json").read_text())
    assert found["parameters"] <= 9000
    losses = [one["measured"] for one in found["rescored"]]
    assert len(losses) == 5 and losses == sorted(losses) and found["rescored"][0]["name"] == found["name"]


def test_its_bundle_holds_one_subnet_of_blocks_at_both_precisions(folder: Path) -> None:
    bundle, tuned = open_bundle(folder / "x.gearshift"), json.loads((folder / "tune.json").read_text())
    assert bundle.manifest.labels == LABELS
    for precision in ("fp32", "int8"):
        entry = bundle.entry(tuned["name"], precision)
        assert isinstance(entry.subnet, BlockSubnet) and entry.subnet == parse_subnet(tuned["name"])
        assert entry.parameters == tuned["parameters"]
    assert bundle.entry(tuned["name"], "fp32").accuracy == pytest.approx(tuned["test"])


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_an_engine_answers_with_it(folder: Path, precision: str) -> None:
    right = 0
    with Engine.load(folder / "x.gearshift", precision=precision, threads=1, cache=False) as engine:
        for row in DATA.splits["test"]:
            answer = engine.run(row.text, deadline_ms=1000)
            right += answer.label == row.label
    share = open_bundle(folder / "x.gearshift").entry(engine.ladder[0], precision).accuracy
    assert right / len(DATA.splits["test"]) == pytest.approx(share) and share > 0.5


def test_what_works_on_any_bundle_works_on_this_one(folder: Path, tmp_path: Path) -> None:
    bundle = open_bundle(folder / "x.gearshift")
    (name,) = bundle.pool("fp32")
    assert gearshift("verify", folder / "x.gearshift")["verified"]
    assert gearshift("inspect", folder / "x.gearshift")["pool"]
    smaller = trim_bundle(bundle, tmp_path / "small.gearshift", keep=[name], precisions=["int8"])
    assert list(smaller.pool("int8")) == [name]
    report = run_bench(bundle, lengths=(8,), rounds=1, rivals=dedicated_graphs(bundle))
    assert len(report.rows) == 2 and report.to_dict()["granularity"] == "block"


def test_a_device_times_the_operations_and_the_best_net_for_it_is_picked(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    operations, profile = tmp_path / "operations.gearshift", tmp_path / "device.json"
    assert gearshift("nas-operations", folder / "nas", "-o", operations)["subnets"] == 2 * 5 + 2 + 1
    with Engine.load(operations, precision="fp32", threads=1, cache=False) as engine:
        engine.save_profile(profile)
    device = ["--profile", profile, "--operations", operations, "--length", 16, "--top", 2]
    missing = ["nas-train", folder / "nas", "--latency-ms", 9, *device, "--precision", "int8", "-o", tmp_path / "net"]
    assert main(list(map(str, missing))) == 1
    assert "expected a int8 table of" in (told := capsys.readouterr().err) and "found fp32, 1 threads" in told
    assert f"`gearshift run {operations} --precision int8 --save-profile" in told
    net = ["--epochs", 0, "--embedding", 16, "--states", folder / "states", "-o", tmp_path / "net"]
    found = gearshift("nas-train", folder / "nas", "--latency-ms", 1000, *device, *BATCH, *net)
    assert len(found["rescored"]) == 2
    assert main([str(one) for one in ("nas-train", folder / "nas", "--latency-ms", 1e-9, *device, *net)]) == 1


def test_a_search_that_leaves_more_than_it_was_asked_to_says_so(folder: Path, tmp_path: Path) -> None:
    """Buckets of one width, as in the paper: the first has most blocks, and one deletion does not do."""
    found = gearshift(
        *(
            "nas-search",
            "--model",
            folder / "model",
            "--text",
            folder / "text.txt",
            "-o",
            tmp_path / "nas",
            *TEXT,
            *BATCH,
        ),
        *("--states", folder / "states", "--sizes", "8,16", "--buckets", 2, "--bucketing", "fixed", "--kept", 3),
        *("--deleted", 0.9, "--max-rounds", 1, "--warm-epochs", 1, "--last-epochs", 0),
    )
    first, second = found["history"][0][0]["buckets"]
    assert first != second and len(found["history"][0]) == 2
    (note,) = found["notes"]
    assert note.endswith("more than --kept 3: --max-rounds 1 deletions were too few")


def test_a_search_that_empties_buckets_says_so(folder: Path, tmp_path: Path) -> None:
    """An operation that is deleted at a place takes all blocks with it, of whatever size."""
    text = ["--model", folder / "model", "--text", folder / "text.txt", "--states", folder / "states"]
    few = ["--sizes", "8,16", "--buckets", 6, "--deleted", 0.9, "--kept", 1, "--warm-epochs", 1, "--last-epochs", 0]
    found = gearshift("nas-search", *text, "-o", tmp_path / "nas", *TEXT, *BATCH, *few, "--shrink", "operations")
    gone = sum(not left for history in found["history"] for left in history[-1]["buckets"])
    assert gone > 0
    assert found["notes"] == [f"{gone} of 12 buckets are empty now: deleting operations left no blocks of their sizes"]


def test_operators_of_other_engines_will_do(folder: Path, tmp_path: Path) -> None:
    arguments = ["export", folder / "tuned", "-o", tmp_path / "s.gearshift", "--operators", "standard"]
    assert gearshift(*arguments)["parity"] < 1e-4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("export", "net", "-o", "y", "--data", "data"), "tune it with `gearshift nas-tune`"),
        (("export", "tuned", "-o", "y", "--portable", "all"), "transformers has no class for mixed operations"),
        (("nas-train", "nas", "-o", "y"), "expected either limits, such as --parameters 5e6, or a net by name"),
        (("nas-train", "nas", "-o", "y", "--net", "8M-8F", "--macs", "9"), "expected either limits, such as"),
        (("nas-train", "nas", "-o", "y", "--latency-ms", "9"), "expected --profile and --operations beside it"),
        (("nas-train", "nas", "-o", "y", "--bytes", "9"), "no subnet is within 9 bytes; the nearest takes"),
        (("nas-train", "nas", "-o", "y", "--net", "8MX-8F"), "expected blocks such as 128MFS3"),
        (("nas-train", "nas", "-o", "y", "--parameters", "9"), "no subnet is within 9 parameters; the nearest takes"),
        (
            ("nas-train", "data", "-o", "y", "--parameters", "9"),
            "expected a run directory with mixed.json, found none; make one with `gearshift nas-search`",
        ),
        (("nas-tune", "net", "-o", "y", "--data", "data"), "pass a run of `gearshift train`"),
        (("nas-tune", "nas", "-o", "y", "--data", "data"), "expected the run of one net, found 0"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(folder)
    assert main(list(arguments)) == 1
    printed = capsys.readouterr()
    assert message in printed.err and printed.err.count("\n") == 1 and not printed.out
    assert not (folder / "y").exists()
