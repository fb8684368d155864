"""`gearshift bench` from the command line: what it prints, writes and refuses."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from gearshift.__main__ import parse
from gearshift.commands.bench import seconds
from gearshift.device_profiles import load_profile
from gearshift.export.trim import trim_bundle
from gearshift.runtime import Bundle, Engine
from gearshift.runtime.profiles.own import own_path
from gearshift.runtime.profiles.store import this_device
from tests.command_line import Command
from tests.runtime.altered import change_manifest, edit_json, set_field
from tests.runtime.bench.machine import Machine

QUICK = ("--budget", "1.5", "--lengths", "4,9", "--threads", "1")


@pytest.fixture(autouse=True)
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of profiles for each test."""
    monkeypatch.setenv("GEARSHIFT_PROFILE_DIR", str(tmp_path / "profiles"))
    return tmp_path / "profiles"


def test_it_shows_what_fits_and_every_size_and_writes_the_profile_that_the_engine_finds(
    command: Command,
    bundle: Bundle,
) -> None:
    ended = command("bench", bundle.path, *QUICK)
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0].startswith(f"{bundle.path}: a stage per layer, on ")
    for title in (
        "What fits a deadline",
        "All subnets: fp32, 1 thread",
        "All subnets: int8, 1 thread",
        "How far to trust it",
    ):
        assert title in lines
    assert len([line for line in lines if re.fullmatch(r"w\d+-d\d+ +\d+\.\d %( +\d+\.?\d*){4}", line)]) == 24
    path = own_path(this_device())
    assert lines[-1] == f"{path}: written"
    with Engine.load(bundle.path, threads=1) as engine:
        assert engine.table in load_profile(path).tables


def test_as_json_it_has_the_figures_their_error_and_where_they_were_written(
    command: Command,
    bundle: Bundle,
    tmp_path: Path,
) -> None:
    target = tmp_path / "mine.json"
    ended = command("bench", bundle.path, *QUICK, "--precision", "int8", "-o", target, "--json")
    assert (ended.code, ended.err) == (0, "")
    facts = ended.json
    assert facts["profile"] == str(target)
    (condition,) = facts["conditions"]
    assert set(condition["check"]) == {"median_error", "p95_error", "cells"}
    table = load_profile(target).table_for(bundle.hash, "int8", 1)
    assert table is not None
    first = condition["subnets"][0]
    assert table.median_ms[first["subnet"]] == tuple(times["p50"] for times in first["times"])
    assert not own_path(this_device()).exists()


def test_a_report_has_everything_in_it(command: Command, bundle: Bundle, tmp_path: Path) -> None:
    report, picture = tmp_path / "r.html", tmp_path / "r.svg"
    given = ("--report", report, "--plot", picture, "--deadline-ms", "0.3", "--compare", "boards")
    ended = command("bench", bundle.path, *QUICK, *given)
    assert ended.code == 0
    page = report.read_text()
    assert "deadline 0.3 ms" in page and "deadline 0.3 ms" in picture.read_text()
    assert page.count("<svg") >= 6
    assert not re.search(r"(src|href)=|url\(|@import", page)  # nothing is fetched from anywhere
    assert all(name in page for name in bundle.pool("fp32"))
    estimated = re.findall(r'<tr class="estimated"><td>([^<]*)</td><td>([^<]*)', page)
    assert "Raspberry Pi 5" in {name for name, _ in estimated}
    assert {how for _, how in estimated} == {"estimated"}


def test_devices_stand_side_by_side_and_estimates_are_marked(
    command: Command,
    bundle: Bundle,
    tmp_path: Path,
) -> None:
    first = tmp_path / "first.json"
    assert command("bench", bundle.path, *QUICK, "-o", first).code == 0
    ended = command("bench", bundle.path, *QUICK, "--compare", first, "raspberry-pi-4-b")
    rows = [line for line in ended.out.splitlines() if re.match(r"(this device|first|Raspberry)", line)]
    assert rows[0].startswith("this device")
    assert all("estimated" in row and " to " in row for row in rows if row.startswith("Raspberry"))
    assert all("measured" in row for row in rows if not row.startswith("Raspberry"))


def test_a_batch_is_measured_and_kept_out_of_the_profile(
    command: Command,
    bundle: Bundle,
    profiles: Path,
) -> None:
    ended = command("bench", bundle.path, *QUICK, "--batch", "4", "--json")
    assert {condition["batch"] for condition in ended.json["conditions"]} == {4}
    assert ended.json["profile"] is None
    assert not profiles.exists()


def test_a_bundle_with_one_subnet_is_measured_as_it_is(
    command: Command, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    single = trim_bundle(bundle, tmp_path / "single.gearshift", keep=("w050-d050",))
    Machine(single).take_over(monkeypatch)
    ended = command("bench", single.path, *QUICK, "--report", tmp_path / "r.html", "--json")
    assert (ended.code, ended.err) == (0, "")
    for condition in ended.json["conditions"]:
        (row,) = condition["subnets"]
        assert row["subnet"] == "w050-d050" and row["times"][0]["p50"] > 0
        assert condition["check"]["median_error"] < 0.05


def test_beside_dedicated_graphs_it_gives_ratios(command: Command, bundle: Bundle) -> None:
    given = ("bench", bundle.path, "--rounds", 1, "--lengths", "4", "--precision", "int8", "--compare", "dedicated")
    ended = command(*given, "--json")
    assert (ended.code, ended.err) == (0, "")
    rows = {row["subnet"]: row for row in ended.json["rows"]}
    assert len(rows) == 12
    for row in rows.values():
        assert row["ratio"] == pytest.approx(row["median_ms"] / row["dedicated"]["median_ms"])
    mean = sum(row["ratio"] for row in rows.values()) / 12
    assert ended.json["mean_ratios"] == {"int8": {"4": pytest.approx(mean)}}
    assert [rows[name]["segments"] for name in ("w100-d100", "w075-d050", "w025-d075")] == [4, 3, 1]
    assert ended.json["granularity"] == "layer"
    shown = command(*given).out
    assert re.search(r"^w100-d100 \(4 segments\) +\d+\.\d\d +\d+\.\d\d$", shown, re.M)
    assert re.search(r"^mean +\d+\.\d\d$", shown, re.M)


def test_beside_dedicated_graphs_it_names_the_package_that_is_missing(
    command: Command,
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in sys.modules if name.startswith("gearshift.export")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("gearshift.extras._installed", lambda package: package != "onnx")
    error = command("bench", bundle.path, "--compare", "dedicated").error
    assert error == "this needs onnx, which is not installed; run: pip install 'gearshift[export]'"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--lengths", "0"), "lengths: expected numbers of tokens from 1 to 32, got [0]"),
        (("--lengths", "16,64"), "lengths: expected numbers of tokens from 1 to 32, got [16, 64]"),
        (("--rounds", "0", "--compare", "dedicated"), "rounds: expected a whole number of at least 1, got 0"),
        (("--threads", "0"), "threads: expected 1 to "),
        (("--threads", "9999"), "threads: expected 1 to "),
        (("--compare", "dedicated", "boards"), "--compare: expected dedicated alone, or devices, got dedicated boards"),
        (
            ("--compare", "no-such-board"),
            "--compare no-such-board: expected a profile file, boards, dedicated, or one of",
        ),
        (("--plot", "r.gif"), "r.gif: expected a name that ends in .svg"),
        (("--report", "/nowhere/r.html"), "/nowhere/r.html: could not be written (No such file or directory)"),
        (("-o", "/proc/p.json"), "/proc/p.json: could not be written"),
        (("--budget", "0.001"), "budget: expected "),
        (("--deadline-ms", "-5"), "deadline_ms: expected a positive number of milliseconds or None, got -5"),
        (("--plot", "r.png"), "r.png: expected a name that ends in .svg"),
        (("--deadline-ms", "0"), "deadline_ms: expected a positive number"),
    ],
    ids=str,
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(
    command: Command,
    bundle: Bundle,
    profiles: Path,
    given: tuple[str, ...],
    message: str,
) -> None:
    assert command("bench", bundle.path, *given).error.startswith(message)
    assert not profiles.exists() or not list(profiles.iterdir())


def test_a_profile_of_another_schema_is_refused_before_the_work_and_kept(
    command: Command,
    bundle: Bundle,
    tmp_path: Path,
) -> None:
    path = tmp_path / "old.json"
    path.write_text(json.dumps({"schema_version": 1}))
    error = command("bench", bundle.path, "-o", path).error
    assert (
        error == f"{path}: expected schema version 2, found 1; measure the device again; or name another file with -o"
    )
    assert json.loads(path.read_text()) == {"schema_version": 1}


@pytest.mark.parametrize(("text", "expected"), [("90", 90.0), ("90s", 90.0), ("30m", 1800.0), ("1.5h", 5400.0)])
def test_a_time_has_a_unit(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "m", "0", "-1m", "soon", "nan", "inf"])
def test_what_is_no_time_is_wrong_usage(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["bench", "bundle", "--budget", text])
    assert ended.value.code == 2
    assert "--budget" in capsys.readouterr().err


def test_progress_goes_to_a_terminal_alone(
    command: Command,
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    ended: Any = command("bench", bundle.path, *QUICK, "--json")
    assert json.loads(ended.out)["hash"] == bundle.hash
    assert "1 thread [" in ended.err and ended.err.endswith("\r\x1b[K")


@pytest.mark.parametrize("given", [[], ["--compare", "dedicated"]], ids=["profile", "dedicated"])
def test_a_bundle_that_an_engine_refuses_is_not_measured(
    command: Command, bundle_copy: Path, profiles: Path, given: list[str]
) -> None:
    edit_json(bundle_copy / "tokenizer.json", set_field("normalizer", "lowercase", to=False))
    change_manifest(bundle_copy)
    error = command("bench", bundle_copy, *QUICK, *given).error
    assert "self-test of the tokenizer: expected other tokens for" in error
    assert not profiles.exists()


def test_a_precision_that_an_engine_passes_over_is_not_measured_either(
    command: Command, bundle_copy: Path, profiles: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = (bundle_copy / "int8.weights").read_bytes()
    (bundle_copy / "int8.weights").write_bytes(bytes(len(content) // 2) + content[len(content) // 2 :])
    change_manifest(bundle_copy)
    assert "int8 self-test, subnet" in command("bench", bundle_copy, *QUICK, "--precision", "int8").error
    assert not profiles.exists()
    ended = command("bench", bundle_copy, *QUICK, "--json")
    assert ended.code == 0
    assert "int8 self-test, subnet" in caplog.text and "going on with fp32" in caplog.text
    assert {condition["precision"] for condition in ended.json["conditions"]} == {"fp32"}


def test_the_accuracy_that_chooses_stands_beside_the_one_that_is_reported(
    command: Command, bundle_copy: Path, bundle: Bundle
) -> None:
    pool = tuple(dataclasses.replace(entry, dev_accuracy=0.125) for entry in bundle.manifest.pool)
    change_manifest(bundle_copy, pool=pool, chosen_by="dev", dev_rows=77)
    ended = command("bench", bundle_copy, *QUICK, "--precision", "int8")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    begin = lines.index("All subnets: int8, 1 thread")
    assert lines[begin + 1].split()[:3] == ["int8", "accuracy", "dev"]
    for row in lines[begin + 2 : begin + 14]:
        name, *figures = row.split()
        assert figures[:4] == [f"{100 * bundle.entry(name, 'int8').accuracy:.1f}", "%", "12.5", "%"]
