"""Numbers and paths on the command line: every flag of every command that takes one."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from gearshift.__main__ import COMMANDS, parse
from gearshift.commands.bench import seconds
from gearshift.terminal.options import multipliers, whole_numbers
from gearshift.terminal.parser import LARGEST, Parser
from tests.command_line import Command

NEEDED = {
    "train": "--data a -o b",
    "train-dan": "--teacher a --data b -o c",
    "prune": "a -o b --sparsity .3",
    "search": "a",
    "nas-search": "--text a -o b",
    "nas-operations": "a -o b",
    "nas-train": "a -o b",
    "nas-tune": "a --data b -o c",
    "export": "a -o b",
    "hub": "a b -o c",
    "trim": "a -o b --keep c",
    "sign": "a --key k",
    "unpack": "a -o b",
    "inspect": "a",
    "verify": "a",
    "vectors": "a -o b",
    "embed": "a -o b",
    "look-up": "a",
    "run": "a",
    "serve": "a",
    "rank": "a b",
    "plot": "a -o b.svg",
    "bench": "a",
    "simulate": "a --profile b --trace c",
    "doctor": "",
}
"""Command -> the arguments that it needs."""


def flags(*kinds: object) -> list[tuple[str, str]]:
    """(command, flag) of every flag of these types."""
    found = []
    for name, (place, _) in COMMANDS.items():
        parser = Parser()
        module, _, function = place.partition(":")
        getattr(import_module(f"gearshift.commands.{module}"), function)(parser)
        found += [
            (name, action.option_strings[-1])
            for action in parser._actions
            if action.type in kinds and action.option_strings
        ]
    return found


NUMBERS = flags(int, float, multipliers, whole_numbers, seconds)
WHOLE = flags(int, whole_numbers)
PATHS = flags(Path)


def usage_error(capsys: pytest.CaptureFixture[str], words: list[str]) -> str:
    """The one line of a wrong usage."""
    with pytest.raises(SystemExit) as ended:
        parse(words)
    line = capsys.readouterr().err
    assert ended.value.code == 2
    assert line.startswith("gearshift: argument ") and line.count("\n") == 1 and len(line) < 300
    return line


def test_the_table_has_every_command_and_the_flags_that_it_should() -> None:
    assert NEEDED.keys() == COMMANDS.keys()
    for name, needed in NEEDED.items():
        assert callable(parse([name, *needed.split()]).command)
    assert len(NUMBERS) > 120 and len(PATHS) > 30
    assert {("train", "--teacher-lr"), ("run", "--deadline-ms"), ("bench", "--budget"), ("search", "--widths")} <= {
        *NUMBERS
    }


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", "", " ", "soon", "9" * 5000, "0x10", "1;2"])
def test_what_is_no_finite_number_is_refused_by_every_flag(capsys: pytest.CaptureFixture[str], text: str) -> None:
    for name, flag in NUMBERS:
        line = usage_error(capsys, [name, *NEEDED[name].split(), f"{flag}={text}"])
        assert f"{flag}: expected " in line and line.endswith(f"; see gearshift {name} --help\n")


def test_a_whole_number_that_nothing_has_room_for_is_refused_by_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    for name, flag in WHOLE:
        for text in (str(LARGEST + 1), str(-LARGEST - 1), "1.5"):
            assert f"{flag}: expected " in usage_error(capsys, [name, *NEEDED[name].split(), f"{flag}={text}"])


def test_an_empty_path_and_one_that_is_not_utf_8_are_refused_by_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    for name, flag in PATHS:
        words = [name, *NEEDED[name].split(), flag]
        assert f"{flag}: expected a path, got ''" in usage_error(capsys, [*words, ""])
        assert f"{flag}: expected a path in UTF-8, got 'caf\\udce9'" in usage_error(capsys, [*words, "caf\udce9"])


@pytest.mark.parametrize("name", [name for name, needed in NEEDED.items() if needed.startswith("a")])
def test_an_empty_path_is_refused_in_the_first_place_too(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert "expected a path, got ''" in usage_error(capsys, [name, "", *NEEDED[name].split()[1:]])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "BUNDLE", "a", "--deadline-ms=-1"], "deadline_ms: expected a positive number"),
        (["run", "BUNDLE", "a", "--deadline-ms=0"], "deadline_ms: expected a positive number"),
        (["run", "BUNDLE", "a", "--target=-1"], "target: expected a share of deadlines"),
        (["run", "BUNDLE", "a", "--target=1e300"], "target: expected a share of deadlines"),
        (["run", "BUNDLE", "a", "--min-accuracy=1e300"], "min_accuracy: expected "),
        (["run", "BUNDLE", "a", "--max-cpu-share=-1"], "max_cpu_share: expected a share above 0"),
        (["run", "BUNDLE", "a", "--threads=-1"], "threads: expected a whole number from 1 to 1024, got -1"),
        (["run", "BUNDLE", "a", f"--threads={LARGEST}"], "threads: expected a whole number from 1 to 1024, got 9"),
        (["run", "BUNDLE", "a", "--cascade=-1"], "cascade: "),
        (["bench", "BUNDLE", "--batch=-1"], "batch: expected a whole number of texts from 1 to 65536, got -1"),
        (["bench", "BUNDLE", f"--batch={LARGEST}"], "batch: expected a whole number of texts from 1 to 65536, got 9"),
        (["bench", "BUNDLE", f"--threads={LARGEST}"], "threads: expected 1 to "),
        (["bench", "BUNDLE", f"--lengths={LARGEST}"], "lengths: expected numbers of tokens from 1 to 32"),
        (["bench", "BUNDLE", "--rounds=-1", "--compare", "dedicated"], "rounds: expected a whole number"),
        (["trim", "BUNDLE", "-o", "OUT", "--max-mb=-1"], "trim: no subnet fits into -1 MB"),
        (["simulate", "BUNDLE", "--profile", "PROFILE", "--trace", "steady", "--seconds=-1"], "seconds: expected "),
        (["simulate", "BUNDLE", "--profile", "PROFILE", "--trace", "steady", "--seconds=1e300"], "seconds: expected "),
        (["simulate", "BUNDLE", "--profile", "PROFILE", "--trace", "steady", "--seed=-1"], "seed: expected a whole"),
    ],
    ids=lambda one: one[-1] if isinstance(one, list) else "",
)
def test_a_number_out_of_range_is_one_line_that_names_it(
    command: Command, tiny_bundle: Path, profile: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    places = {"BUNDLE": tiny_bundle, "PROFILE": profile, "OUT": tmp_path / "out"}
    assert command(*(places.get(word, word) for word in words)).error.startswith(message)
    assert not (tmp_path / "out").exists()


ODD = (
    "with spaces",
    'it\'s "quoted"',
    "$HOME",
    "a;b",
    "*",
    "~",
    "-",
    "--",
    "-v",
    "two\nlines",
    "tab\there",
    "日本",
    "a" * 200,
)
"""Names of files that shells and parsers make something of."""


@pytest.mark.parametrize("name", ODD)
def test_a_bundle_of_any_name_is_inspected_and_a_smaller_one_written(
    command: Command, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).symlink_to(tiny_bundle)
    ended = command("inspect", "--json", "--", name)
    assert (ended.code, ended.json["bundle"]) == (0, name)
    ended = command("unpack", f"--output={name}", "--", name)  # refused, since it needs no unpacking
    assert ended.error.endswith("it needs no unpacking")


def test_help_of_another_parser_goes_where_it_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser(prog="one")
    parser.print_help()
    assert capsys.readouterr().out == parser.format_help()
