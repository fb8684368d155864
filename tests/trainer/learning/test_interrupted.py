"""Files that an interrupted training leaves: whole, of one training alone, and refused where they are damaged."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gearshift.errors import InputError, StorageError
from gearshift.trainer.learning.interrupted import (
    DESCRIPTION,
    STATE,
    claim,
    fixed_settings,
    forget_state,
    load_weights,
    read_note,
    read_state,
    save_note,
    save_state,
    save_weights,
)
from tests.trainer.full_disk import fill_disk, needs_full_device

IDENTITY: dict[str, Any] = {"settings": {"lr": 0.1, "widths": (1.0, 0.5)}, "rows": "a"}

DEFAULTS: dict[str, Any] = {"settings": {"lr": 0.1, "widths": (1.0,), "gone": 3}, "processes": 1}


def test_a_folder_is_one_trainings_alone(tmp_path: Path) -> None:
    for _ in range(2):
        claim(tmp_path / "states", IDENTITY, defaults={"settings": {}})
    other = {"settings": {"lr": 0.2, "widths": (1.0, 0.5)}, "rows": "b"}
    with pytest.raises(InputError, match=r"states: holds an interrupted training with other .* \(rows, lr\); repeat"):
        claim(tmp_path / "states", other, defaults={"settings": {}})


def test_values_that_an_older_version_did_not_know_were_the_defaults(tmp_path: Path) -> None:
    claim(tmp_path, {"settings": {"widths": (1.0, 0.5)}, "rows": "a"}, defaults={})
    claim(tmp_path, {**IDENTITY, "processes": 1}, defaults=DEFAULTS)
    for changed, name in (({"processes": 2}, "processes"), ({"settings": {"lr": 1, "widths": (1.0, 0.5)}}, "lr")):
        with pytest.raises(InputError, match=rf"\({name}\)"):
            claim(tmp_path, {**IDENTITY, "processes": 1, **changed}, defaults=DEFAULTS)


def test_when_to_save_and_the_parts_of_a_step_may_change() -> None:
    assert fixed_settings({"lr": 0.1, "save_every_s": 60, "micro_batch": 8}) == {"lr": 0.1}


def test_files_come_back_as_they_were(tmp_path: Path) -> None:
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    save_weights(tmp_path / "weights", model)
    load_weights(tmp_path / "weights", other)
    assert torch.equal(other.weight, model.weight) and torch.equal(other.bias, model.bias)
    save_state(tmp_path / STATE, {"step": 3, "weight": model.weight.detach()})
    state = read_state(tmp_path / STATE)
    assert state is not None and state["step"] == 3 and torch.equal(state["weight"], model.weight)
    save_note(tmp_path / "note.json", {"alive": [1, 2]})
    assert read_note(tmp_path / "note.json") == {"alive": [1, 2]}


def test_what_was_never_saved_is_none(tmp_path: Path) -> None:
    assert read_state(tmp_path / STATE) is None
    assert read_note(tmp_path / "note.json") is None


KINDS: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
    "state": (lambda path: save_state(path, {"weight": torch.ones(99)}), read_state),
    "weights": (lambda path: save_weights(path, nn.Linear(9, 9)), lambda path: load_weights(path, nn.Linear(9, 9))),
    "note": (lambda path: save_note(path, {"alive": [1, 2]}), read_note),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("left", [0, 9])
def test_a_file_that_was_cut_is_refused_in_one_line(tmp_path: Path, kind: str, left: int) -> None:
    write, read = KINDS[kind]
    path = tmp_path / "cut"
    write(path)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(
        InputError, match=rf"cut: not readable \(.*\); delete {tmp_path} to begin the training"
    ) as raised:
        read(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", KINDS)
def test_every_changed_bit_is_found(tmp_path: Path, kind: str) -> None:
    write, read = KINDS[kind]
    path = tmp_path / "changed"
    write(path)
    content = path.read_bytes()
    places = range(len(content)) if len(content) < 400 else [*range(100), *range(100, len(content), 7)]
    for place in places:
        for bit in (0, 5):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
            with pytest.raises(InputError, match="changed: not readable"):
                read(path)


def test_the_state_before_takes_over_from_a_damaged_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / STATE
    for step in (1, 2, 3):
        save_state(path, {"step": step})
    path.write_bytes(path.read_bytes().replace(b"step", b"stop"))
    assert read_state(path) == {"step": 2}
    said = (
        "state.pt: not readable (its content has changed since it was written, or was written under another name); the"
    )
    assert said in caplog.text
    path.unlink()  # interrupted between the two renames of a save
    assert read_state(path) == {"step": 2}
    forget_state(path)
    assert read_state(path) is None and not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_file_under_the_name_of_another_is_refused(tmp_path: Path, kind: str) -> None:
    write, read = KINDS[kind]
    for name in ("after-width", "after-depth"):
        write(tmp_path / name)
    (tmp_path / "after-width").replace(tmp_path / "after-depth")
    with pytest.raises(InputError, match=r"after-depth: not readable \(.*written under another name\); delete"):
        read(tmp_path / "after-depth")


def test_the_states_before_of_two_trainings_are_not_taken_for_each_other(tmp_path: Path) -> None:
    for name in ("one.pt", "other.pt"):
        for step in (1, 2):
            save_state(tmp_path / name, {"step": step})
    (tmp_path / "one.pt").unlink()
    (tmp_path / "other-before.pt").replace(tmp_path / "one-before.pt")
    with pytest.raises(InputError, match=r"one-before\.pt: not readable \(.*written under another name\); delete"):
        read_state(tmp_path / "one.pt")
    assert read_state(tmp_path / "other.pt") == {"step": 2}


@pytest.mark.parametrize(
    "content", [b"q\x00.", b"(.", b"\x80\x02}q\x00(", json.dumps({"settings": 3}).encode(), b"[]"], ids=repr
)
def test_a_file_without_a_seal_that_nothing_can_be_made_of_is_refused_in_one_line(
    tmp_path: Path, content: bytes
) -> None:
    for name in (STATE, DESCRIPTION):
        (tmp_path / name).write_bytes(content)
    reads: tuple[Callable[[], object], ...] = (
        lambda: read_state(tmp_path / STATE),
        lambda: claim(tmp_path, IDENTITY, defaults=DEFAULTS),
    )
    for read in reads:
        with pytest.raises(InputError, match=r"not readable \(.*\); delete .* to begin the training") as raised:
            read()
        assert "\n" not in str(raised.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
@pytest.mark.parametrize("kind", KINDS)
def test_a_pipe_in_the_place_of_a_file_is_neither_waited_for_nor_written_to(tmp_path: Path, kind: str) -> None:
    write, read = KINDS[kind]
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageError, match=r"pipe: expected a file or nothing there, found a device or a pipe; delete"):
        write(tmp_path / "pipe")
    if kind == "weights":  # the others count as not there
        with pytest.raises(InputError, match=r"pipe: not readable \(expected a regular file\)"):
            read(tmp_path / "pipe")
    else:
        assert read(tmp_path / "pipe") is None


def test_a_state_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    torch.save({"step": 4}, tmp_path / STATE)
    assert read_state(tmp_path / STATE) == {"step": 4}


@needs_full_device
@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_leaves_the_file_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    write, _ = KINDS[kind]
    path = tmp_path / kind
    write(path)
    before = path.read_bytes()
    fill_disk(monkeypatch, kind)
    with pytest.raises(StorageError, match=rf"{kind}: could not be written \(No space left on device\)"):
        write(path)
    monkeypatch.undo()
    assert path.read_bytes() == before
