"""Settings in a file."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from gearshift.__main__ import main
from gearshift.errors import InputError
from gearshift.trainer.dynabert.settings import Settings
from gearshift.trainer.dynabert.settings_file import SETTINGS_FILE, read_settings, settings_text


def other(field: dataclasses.Field[Any]) -> Any:
    """A value that is not the default."""
    if field.name == "prune_stage":
        return "depth"
    if field.name == "prune_scope":
        return "global"
    if field.name == "sparsity":
        return 0.4
    if field.name == "effort":
        return "long"
    if field.type == "bool":
        return not field.default
    if field.name == "sampling":
        return "random"  # checked as soon as it is given
    kind = str(field.type).removesuffix(" | None")
    others = {"tuple[float, ...]": (1.0, 0.3), "tuple[int, ...]": (2, 4)}
    return {"int": 7, "float": 0.25, "str": 'a "quoted" \\ name', **others}[kind]


def test_every_setting_can_be_written_and_read(tmp_path: Path) -> None:
    settings = Settings(**{field.name: other(field) for field in dataclasses.fields(Settings)})
    for one in (settings, Settings()):
        (tmp_path / "all.toml").write_text(settings_text(one))
        assert read_settings(tmp_path / "all.toml") == one


def test_what_is_given_goes_before_what_is_written(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('width_epochs = 4\nwidths = [1, 0.5]\nmixed_precision = "bf16"\n')
    found = read_settings(tmp_path / "a.toml", {"width_epochs": 2.0})
    assert found == Settings(width_epochs=2.0, widths=(1.0, 0.5), mixed_precision="bf16")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs = 3", "unknown setting 'epochs'; expected some of effort, widths, depths"),
        ("batch_size = 3.5", "batch_size: expected a whole number, got 3.5"),
        ("batch_size = true", "batch_size: expected a whole number, got True"),
        ('clip = "1"', "clip: expected a number, got '1'"),
        ("tensorboard = 1", "tensorboard: expected true or false, got 1"),
        ("sampling = 3", "sampling: expected a text in quotes, got 3"),
        ("widths = 1", "widths: expected a list of numbers, got 1"),
        ("matryoshka_dims = [2.5]", r"matryoshka_dims: expected a list of whole numbers, got \[2.5\]"),
        ('widths = ["a"]', r"widths: expected a list of numbers, got \['a'\]"),
        ("clip = ", "expected a TOML file of settings"),
        ("[stage]\nclip = 1", "unknown setting 'stage'"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(InputError, match=rf"bad\.toml: .*{message}"):
        read_settings(tmp_path / "bad.toml")


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml: expected a TOML file of settings \(.*No such file"):
        read_settings(tmp_path / "none.toml")


def test_a_run_keeps_its_settings_and_the_command_takes_them_again(
    checkpoint_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data.tsv").write_text(
        "sentence\tlabel\n" + "".join(f"{'snow' if n % 2 else 'sun'} {n}\t{n % 2}\n" for n in range(40))
    )
    (tmp_path / "few.toml").write_text("teacher_epochs = 0.1\nwidth_epochs = 0\ndepth_epochs = 0\nmax_length = 16\n")
    call = ["train", "--data", str(tmp_path / "data.tsv"), "--model", str(checkpoint_path), "-o"]
    assert main([*call, str(tmp_path / "one"), "--config", str(tmp_path / "few.toml"), "--max-length", "3"]) == 0
    shown = capsys.readouterr().out
    assert "cut at 3 tokens: 32 of 32 train rows, 4 of 4 dev rows, 4 of 4 test rows; --max-length sets it" in shown
    kept = tmp_path / "one" / SETTINGS_FILE
    expected = Settings(teacher_epochs=0.1, width_epochs=0, depth_epochs=0, max_length=3, augment=0)
    assert read_settings(kept) == expected
    assert main([*call, str(tmp_path / "two"), "--config", str(kept)]) == 0
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]
    capsys.readouterr()
