"""README is one page, and true: its Python and its commands run, its folders are there."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest
from transformers import BertConfig, BertForSequenceClassification

from gearshift.runtime import Engine
from tests.command_line import Command
from tests.docs.pages import README, ROOT
from tests.trainer.tiny import make_rows, write_checkpoint

BLOCKS = README.code("python")
SESSION = README.commands("gearshift")
"""Train, export, bench, run: each takes the file that the one before it wrote."""

POSITIONS = 64
"""Positions of the model that is trained: as many tokens as a training cuts texts to."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with what README names: `my-model`, `my-data` and the committed bundle; tiny ones."""
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    write_checkpoint(tmp_path / "my-model")
    config = BertConfig.from_pretrained(tmp_path / "my-model")
    config.max_position_embeddings = POSITIONS
    BertForSequenceClassification(config).save_pretrained(tmp_path / "my-model")
    (tmp_path / "my-data").mkdir()
    for split, count, seed in (("train", 24, 0), ("dev", 6, 1), ("test", 12, 2)):
        lines = ["sentence\tlabel", *(f"{row.text}\t{row.label}" for row in make_rows(count, seed=seed))]
        (tmp_path / "my-data" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    monkeypatch.setenv("GEARSHIFT_PROFILE_DIR", str(tmp_path / "profiles"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_has_150_lines_at_most() -> None:
    assert len(README.text.splitlines()) <= 150


def test_it_is_python_and_commands_alone() -> None:
    assert set(README.languages) == {"python", "bash"}


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_every_python_block_runs(number: int, folder: Path) -> None:
    block = BLOCKS[number]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block, f"README.md, Python block {number}", "exec"), {"__name__": "__main__"})
    assert bool(printed.getvalue()) == ("print(" in block)


def test_the_first_example_answers_what_its_comment_says() -> None:
    """Whatever subnet the deadline and the load of this machine leave it."""
    said = re.search(r"print\(answer\.label.*# (\w+),", BLOCKS[0])
    asked = re.search(r'engine\.run\("(.*?)"', BLOCKS[0])
    assert said and asked
    for precision in ("fp32", "int8"):
        with Engine.load(ROOT / "tests" / "data" / "tiny.gearshift", precision=precision) as engine:
            for name in engine.subnets:
                engine.pin(name)
                assert engine.run(asked[1]).label == said[1], name


def test_models_are_made_from_python_with_two_imports() -> None:
    (making,) = (block for block in BLOCKS if "train_supernet" in block)
    assert re.findall(r"^from (gearshift\.(?:trainer|export)\S*)", making, re.M) == [
        "gearshift.export",
        "gearshift.trainer",
    ]


def test_its_commands_go_from_data_to_an_answer(command: Command, folder: Path) -> None:
    """Run them as they stand, but for a shorter measurement."""
    assert [words[0] for words in SESSION] == ["train", "export", "bench", "run"]
    for words in SESSION:
        ended = command(*words, *(["--budget", "3s"] if words[0] == "bench" else []))
        assert ended.code == 0, ended.err
    assert (folder / "report.html").is_file()
    assert ended.out.split()[0] in {"cold", "hot", "mild"}


def test_the_table_of_folders_is_that_of_the_repository() -> None:
    listed = re.findall(r"^\| `([\w/]+)/` \|", README.text, re.M)
    assert len(set(listed)) == len(listed)
    assert {"runtime", "device_profiles", "trainer", "export", "examples", "benchmarks", "tests"} <= set(listed)
    assert [name for name in listed if not (ROOT / name).is_dir()] == []


def test_every_page_of_docs_is_linked() -> None:
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")}
    assert pages - {link.partition("#")[0] for link in README.links} == set()
