"""What the README says is true: its Python runs, its commands parse, its folders and targets are there."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from gearshift.__main__ import parse
from gearshift.runtime import Engine

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
SHELLS = ("bash", "console", "sh")


def blocks(*languages: str) -> list[str]:
    """The contents of the fenced blocks in one of these languages."""
    return [
        content for language, content in re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.M | re.S) if language in languages
    ]


def lines_of_shell() -> list[list[str]]:
    """Every line of the shell blocks as words, without prompts, comments, and settings of the environment."""
    lines = [line.removeprefix("$ ") for block in blocks(*SHELLS) for line in block.splitlines()]
    words = [shlex.split(line, comments=True) for line in lines]
    return [line for line in (_without_settings(line) for line in words) if line]


def _without_settings(words: list[str]) -> list[str]:
    while words and re.fullmatch(r"\w+=.*", words[0]):
        words = words[1:]
    return words


def commands_of(program: str) -> list[list[str]]:
    return [words[1:] for words in lines_of_shell() if words[0] == program]


def test_every_block_has_a_language_that_is_checked() -> None:
    assert {language for language in re.findall(r"^```(\w*)$", TEXT, re.M) if language} <= {"python", *SHELLS}
    assert len(re.findall(r"^```", TEXT, re.M)) == 2 * len(blocks("python", *SHELLS))


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_every_python_block_runs(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    block = blocks("python")[number]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block, f"README.md, Python block {number}", "exec"), {"__name__": "__main__"})
    assert bool(printed.getvalue()) == ("print(" in block)


def test_the_first_example_answers_what_its_comment_says() -> None:
    """Whatever subnet the deadline and the load of this machine leave it."""
    said = re.search(r"print\(answer\.label.*# (\w+),", blocks("python")[0])
    asked = re.search(r'engine\.run\("(.*?)"', blocks("python")[0])
    assert said and asked
    for precision in ("fp32", "int8"):
        with Engine.load(ROOT / "tests" / "data" / "tiny.gearshift", precision=precision) as engine:
            for name in engine.subnets:
                engine.pin(name)
                assert engine.run(asked[1]).label == said[1], name


def test_there_is_python_to_run_and_there_are_commands_to_check() -> None:
    assert blocks("python")
    assert {words[0] for words in commands_of("gearshift")} >= {"train", "export", "verify", "run"}


@pytest.mark.parametrize("words", commands_of("gearshift"), ids=" ".join)
def test_every_command_of_the_readme_parses(words: list[str]) -> None:
    assert callable(parse(words).command)


@pytest.mark.parametrize("name", re.findall(r"^\| `gearshift ([\w-]+)` \|", TEXT, re.M))
def test_every_command_of_the_table_exists(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse([name, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: gearshift {name}")


def test_the_table_of_commands_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    helped = re.findall(r"^    ([\w-]+)\s{2,}\S", capsys.readouterr().out, re.M)
    assert re.findall(r"^\| `gearshift ([\w-]+)` \|", TEXT, re.M) == helped


def test_the_table_of_folders_is_that_of_the_repository() -> None:
    listed = re.findall(r"^\| `(\w+)/` \|", TEXT, re.M)
    assert len(set(listed)) == len(listed)
    assert {"runtime", "device_profiles", "trainer", "export", "examples", "benchmarks", "tests"} <= set(listed)
    assert [name for name in listed if not (ROOT / name).is_dir()] == []


def test_every_target_of_make_exists() -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    named = {word for words in commands_of("make") for word in words if "=" not in word}
    named |= set(re.findall(r"`make ([\w-]+)`", TEXT))
    assert named >= {"demo", "test"}
    assert named <= set(targets)


@pytest.mark.parametrize("path", re.findall(r"\]\((?!http)([^)#]+)\)", TEXT))
def test_every_link_into_the_repository_leads_somewhere(path: str) -> None:
    assert (ROOT / path).exists()


def test_every_path_of_a_command_that_lies_in_the_repository_exists() -> None:
    words = {
        word for line in lines_of_shell() for word in line if word.startswith(("tests/", "examples/", "benchmarks/"))
    }
    assert words
    assert [word for word in sorted(words) if not (ROOT / word).exists()] == []
