"""`gearshift train`: its flags, and what it refuses before it trains."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command_line import Command


def test_data_that_cannot_be_read_is_named_with_its_line(command: Command, tmp_path: Path) -> None:
    data = tmp_path / "data.tsv"
    data.write_text("sentence\tlabel\nhello\tx\n\nbye\ty\n")
    error = command("train", "--data", data, "-o", tmp_path / "run").error
    assert error == f"{data}:3: empty row; expected 2 fields; delete the line"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.tsv"]


def test_a_column_is_read_by_the_name_that_was_given(command: Command, tmp_path: Path) -> None:
    data = tmp_path / "data.tsv"
    data.write_text("said\tmeant\nhello\tx\n")
    error = command("train", "--data", data, "--text-column", "said", "-o", tmp_path / "run").error
    assert error == f"{data}:1: no column 'label'; found said, meant; name the column to use"


def test_an_unknown_architecture_is_answered_with_those_that_are_known(
    command: Command, small_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "gpt2"}')
    error = command("train", "--data", small_data, "--model", tmp_path / "model", "-o", tmp_path / "run").error
    known = "bert, roberta, xlm-roberta, camembert, electra, distilbert, mpnet, modernbert, deberta-v2, albert"
    assert error == f"{tmp_path}/model: architecture 'gpt2' is not supported; expected one of {known}"


def test_a_directory_of_somebody_else_is_refused_before_training(
    command: Command, small_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    error = command("train", "--data", small_data, "--model", tmp_path, "-o", tmp_path / "mine").error
    assert "the directory is not empty and has no supernet.json" in error


@pytest.mark.parametrize("flag", ["--task", "--label-column", "--pair-column", "--label-names"])
def test_heads_stand_in_place_of_a_task_and_its_columns(
    command: Command, small_data: Path, tmp_path: Path, flag: str
) -> None:
    heads = ("--heads", "intent=label,slots=ner_tags", flag, "classification")
    error = command("train", "--data", small_data, *heads, "-o", tmp_path / "run").error
    assert error.startswith("--heads: expected none of --task, --label-column, --pair-column and --label-names with it")


def test_heads_that_are_no_columns_are_named(command: Command, small_data: Path, tmp_path: Path) -> None:
    error = command("train", "--data", small_data, "--heads", "label", "-o", tmp_path / "run").error
    assert error.startswith("heads: expected two or more names, each with a column of its own, such as intent=label,")
    error = command("train", "--data", small_data, "--heads", "a=label,b=tags", "-o", tmp_path / "run").error
    assert "no column 'tags'; found sentence, label" in error
