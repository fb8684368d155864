"""`gearshift train`: its flags, and what it refuses before it trains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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


def write_images(folder: Path, count: int) -> None:
    """Write random images of two classes."""
    source = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        for number in range(count):
            pixels = source.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")


def test_images_are_trained_exported_and_answered(command: Command, tmp_path: Path) -> None:
    data, run, bundle = tmp_path / "data", tmp_path / "run", tmp_path / "pets.gearshift"
    for split, count in (("train", 8), ("dev", 4), ("test", 4)):
        write_images(data / split, count)
    of_images = ["train", "--task", "image-classification", "--data", data, "-o", run, "--image-size", "8"]
    trained = command(
        *of_images, "--teacher-epochs", "1", "--depth-epochs", "1", "--batch-size", "8", "--depths", "1,.5", "--json"
    ).json
    assert trained["rows"] == {"train": 16, "dev": 8, "test": 8}
    assert len(trained["subnets"]) == 8 and all("macs" in subnet for subnet in trained["subnets"])
    assert "--granularity: not for images" in command("export", run, "-o", bundle, "--granularity", "layer").error
    exported = command("export", run, "-o", bundle, "--json").json
    assert exported["parity"] < 1e-5
    file = data / "test" / "cat" / "0.png"
    answers = command("run", bundle, file, "--deadline-ms", "1000", "--threads", "1", "--json").json["answers"]
    assert [answer["label"] in ("cat", "dog") for answer in answers] == [True]
    assert "images of 8 x 8 pixels" in command("inspect", bundle).out


def test_what_is_for_images_is_refused_for_texts_and_the_reverse(
    command: Command, small_data: Path, tmp_path: Path
) -> None:
    out = ["-o", tmp_path / "run"]
    error = command("train", "--data", small_data, "--image-size", "8", *out).error
    assert error == "--pretrained, --image-size, --statistics-images: for images, not for classification"
    error = command("train", "--data", small_data, "--heads", "a=label,b=label", "--image-size", "8", *out).error
    assert error == "--pretrained, --image-size, --statistics-images: for images, not for multi-task"
    of_images = ["train", "--task", "image-classification", "--data", tmp_path / "data"]
    write_images(tmp_path / "data", 40)
    assert "columns: images have none" in command(*of_images, "--text-column", "a", *out).error
    assert "max_length is for texts" in command(*of_images, "--max-length", "8", *out).error
    assert "head_weights is for texts" in command(*of_images, "--head-weights", "1,2", *out).error
    known = "mobilenet-small, ofa-small, resnet-generator, mobile-generator, torchvision/NAME, timm/NAME, got 'alexnet'"
    assert known in command(*of_images, "--model", "alexnet", "--image-size", "8", *out).error
    assert "resnet20 has no pretrained weights" in command(*of_images, "--pretrained", "--image-size", "8", *out).error
    assert not (tmp_path / "run").exists()
