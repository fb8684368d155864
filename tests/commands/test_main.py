"""Every command: how it ends, and what it needs."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import gearshift
from gearshift.__main__ import BROKEN_PIPE, INTERRUPTED, parse
from tests.command_line import PATIENCE_S, Command, Ended

TEXT = "turn the lights off"

BLOCKED = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
from gearshift.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def without(missing: Sequence[str], *arguments: object) -> Ended:
    """A command in an interpreter of its own that finds none of these packages."""
    call = [sys.executable, "-c", BLOCKED.format(missing=tuple(missing)), *map(str, arguments)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    return Ended(done.returncode, done.stdout, done.stderr)


EXTRAS = ("torch", "transformers", "safetensors", "huggingface_hub", "tqdm", "onnx", "matplotlib")


@pytest.mark.parametrize(
    ("missing", "arguments", "message"),
    [
        (["torch"], ["train", "--data", "x", "-o", "y"], "this needs torch, which is not installed; run: pip install"),
        (EXTRAS, ["train", "--data", "x", "-o", "y"], "'gearshift[train]'"),
        (["onnx"], ["export", "x", "-o", "y"], "this needs onnx, which is not installed; run: pip install"),
        (
            ["onnx"],
            ["trim", "x", "-o", "y", "--keep", "z"],
            "this needs onnx, which is not installed; run: pip install",
        ),
        (EXTRAS, ["export", "x", "-o", "y"], "'gearshift[export]'"),
        (
            ["aiohttp"],
            ["serve", "x"],
            "this needs aiohttp, which is not installed; run: pip install 'gearshift[serve]'",
        ),
    ],
)
def test_a_missing_extra_is_one_line_with_the_command_that_installs_it(
    missing: Sequence[str], arguments: list[str], message: str
) -> None:
    assert message in without(missing, *arguments).error


@pytest.mark.parametrize("package", ["numpy", "onnxruntime", "tokenizers"])
def test_a_package_of_the_device_that_cannot_be_imported_is_one_line(package: str, tiny_bundle: Path) -> None:
    message = f"this needs a package that cannot be imported (No module named '{package}'); run: pip install gearshift"
    assert without([package], "run", tiny_bundle, TEXT).error == message
    assert without([package], "--version").code == 0


def test_what_a_device_needs_works_without_any_extra(tiny_bundle: Path, profile: Path) -> None:
    ended = without(EXTRAS, "run", tiny_bundle, TEXT, "--threads", 1, "--profile", profile, "--json")
    assert (ended.code, ended.err) == (0, "")
    assert len(ended.json["answers"]) == 1
    assert "--teacher-epochs" in without(EXTRAS, "train", "--help").out


IMPORTED = """
import contextlib, io, json, sys
from gearshift.__main__ import main

found = {}
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        with contextlib.suppress(SystemExit):
            main(words)
    found[" ".join(words)] = sorted(set(json.loads(sys.argv[2])) & set(sys.modules))
print(json.dumps(found))
"""


def imported(lines: Sequence[Sequence[str]], watched: Sequence[str]) -> dict[str, list[str]]:
    """Command line -> which of the watched packages it and those before it have imported, all in one interpreter."""
    call = [sys.executable, "-c", IMPORTED, json.dumps(lines), json.dumps(watched)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


HEAVY = (
    *EXTRAS,
    "aiohttp",
    "optimum",
    "scipy",
    "sklearn",
    "seqeval",
    "accelerate",
    "datasets",
    "pandas",
    "tensorboard",
)


def test_no_help_and_nothing_that_a_device_does_imports_a_package_of_an_extra(
    tiny_bundle: Path, profile: Path, tmp_path: Path
) -> None:
    """Though all extras are installed here."""
    bundle, of_device = str(tiny_bundle), ["--threads", "1", "--profile", str(profile)]
    lines = [
        *([name, "--help"] for name in COMMANDS),
        ["inspect", bundle],
        ["run", bundle, TEXT, *of_device, "--log", str(tmp_path / "log.jsonl")],
        ["run", bundle, TEXT, *of_device, "--json", "--live"],
        ["verify", bundle],
        ["unpack", bundle, "-o", str(tmp_path / "plain")],
        ["look-up", bundle, "--parameters", "1e6"],
        ["simulate", bundle, "--profile", str(profile), "--trace", "contention", "--seconds", "1"],
        ["bench", bundle, "--threads", "1", "--lengths", "4", "--budget", "1.5", "-o", str(tmp_path / "device.json")],
        ["doctor"],
    ]
    assert imported(lines, HEAVY) == {" ".join(words): [] for words in lines}


def test_version_help_and_wrong_usage_need_neither_numpy_nor_onnxruntime() -> None:
    """They take seconds on a small board."""
    lines = [["--version"], ["--help"], [], ["fly"]]
    watched = [*HEAVY, "numpy", "onnxruntime", "tokenizers", "psutil"]
    assert imported(lines, watched) == {" ".join(words): [] for words in lines}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["inspect"], "the following arguments are required: BUNDLE"),
        (["inspect", "a", "b"], "unrecognized arguments: b"),
        (["inspect", "a", "--", "b"], "unrecognized arguments: b"),
        (["run", "a", "text", "--speed", "9"], "unrecognized arguments: --speed 9"),
        (
            ["run", "a", "--deadline-ms", "soon"],
            "argument --deadline-ms: expected a number, got 'soon'; see gearshift run --help",
        ),
        (["run", "a", "--precision", "fp4"], "invalid choice: 'fp4'"),
        (["train", "--data", "a"], "the following arguments are required: -o/--output"),
        (["train", "--data", "a", "-o", "b", "--seed", "x"], "argument --seed: expected a whole number, got 'x'"),
        (
            ["train", "--data", "a", "-o", "b", "--widths", "abc"],
            "argument --widths: expected numbers with commas between them, such as 1,0.5, got 'abc'",
        ),
        (["train", "--data", "a", "-o", "b", "--depths", "1,,0.5"], "argument --depths: expected numbers with commas"),
        (["train", "--data", "a", "-o", "b", "--task", "poetry"], "invalid choice: 'poetry'"),
        (["export", "a", "-o", "b", "--precision", "fp4"], "--precision: expected some of fp32,int8,fp16, got 'fp4'"),
        (["export", "a", "-o", "b", "--precision", ""], "--precision: expected some of fp32,int8,fp16, got ''"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_why_in_one_line(command: Command, arguments: list[str], message: str) -> None:
    ended = command(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
    assert re.fullmatch(r"gearshift: .+; see gearshift[\w -]* --help\n", ended.err)


COMMANDS = [
    "train",
    "train-dan",
    "prune",
    "search",
    "nas-search",
    "nas-operations",
    "nas-train",
    "nas-tune",
    "export",
    "hub",
    "trim",
    "unpack",
    "inspect",
    "sign",
    "verify",
    "vectors",
    "embed",
    "look-up",
    "run",
    "serve",
    "rank",
    "plot",
    "bench",
    "simulate",
    "doctor",
]


def test_the_commands_are_listed_in_the_order_of_their_use(command: Command) -> None:
    assert re.findall(r"^    ([\w-]+)(?:\s{2,}\S|$)", command("--help").out, re.M) == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_every_argument_is_for(command: Command, name: str) -> None:
    ended = command(name, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert "print one JSON object" in ended.out
    alone = [line for line in ended.out.splitlines() if line.startswith("  -") and line.split()[-1].isupper()]
    for line in alone:  # too long for its help to stand beside it
        assert len(line) > 20, line


def test_the_version_is_the_package_s(command: Command) -> None:
    assert command("--version").out == f"gearshift {gearshift.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["doctor"], "gearshift: interrupted\n"),
        (
            ["train", "--data", "x", "-o", "y"],
            "gearshift: interrupted; the same command goes on from where it last saved\n",
        ),
    ],
)
def test_an_interruption_is_one_line(
    command: Command, monkeypatch: pytest.MonkeyPatch, arguments: list[str], line: str
) -> None:
    def interrupt(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"gearshift.commands.{arguments[0]}.{arguments[0]}", interrupt)
    monkeypatch.setattr("gearshift.terminal.options.require", lambda extra: None)
    assert command(*arguments) == Ended(INTERRUPTED, "", line)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(13, "Permission denied", "/a/b"), "[Errno 13] Permission denied: '/a/b'"),
        (MemoryError(), "out of memory (MemoryError); free some, or ask for less"),
        (
            MemoryError("Unable to allocate 9 TiB"),
            "out of memory (Unable to allocate 9 TiB); free some, or ask for less",
        ),
    ],
    ids=repr,
)
def test_what_the_machine_refuses_is_one_line(
    command: Command, monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr("gearshift.commands.doctor.doctor", fail)
    assert command("doctor").error == line


def test_a_fault_of_the_program_keeps_its_traceback(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gearshift.commands.doctor.doctor", lambda _: int("a fault"))
    with pytest.raises(ValueError, match="a fault"):
        command("doctor")


def test_a_reader_that_goes_away_is_no_error(tiny_bundle: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    call = [sys.executable, "-m", "gearshift", "inspect", str(tiny_bundle)]
    done = subprocess.run(call, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=PATIENCE_S, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (BROKEN_PIPE, "")


def test_verbose_may_stand_before_and_after_the_command() -> None:
    given = [parse(arguments).verbose for arguments in (["doctor"], ["-v", "doctor"], ["doctor", "-v"])]
    assert given == [False, True, True]


def test_verbose_logs_what_is_done(
    command: Command,
    small_data: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging.getLogger("gearshift"), "level", logging.NOTSET)  # put back as it was
    (small_data / "test.tsv").unlink()
    arguments = ("train", "--data", small_data, "--model", tmp_path, "-o", tmp_path / "run")
    command(*arguments)
    assert caplog.messages == []
    command(*arguments, "-v")
    assert [(record.name, record.levelname) for record in caplog.records] == [("gearshift.trainer.data.splits", "INFO")]
    assert "no test file" in caplog.text
