"""Faults at the writes of a training's states: a kill, a full disk.

    python -m tests.trainer.learning.state_faults kill|full|limits

Every case begins with the states of two saves, and the fault meets a third one, in a fork. Another fork then reads what
is left, as the training does that goes on. The process ends with 0 if all is right, and prints the number of cases.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gearshift.errors import StorageError
from gearshift.trainer.learning.interrupted import (
    STATE,
    claim,
    load_weights,
    read_note,
    read_state,
    save_note,
    save_state,
    save_weights,
)
from tests.runtime.faults import at_write, disk_full, forked, killed, limit_files

IDENTITY: dict[str, Any] = {"settings": {"lr": 0.1}, "rows": "a"}
LIMITS = (0, 10, 100, 1000, 4000)
"""Bytes of the largest file that may be written; a state has some 10,000."""


def model(step: int) -> nn.Module:
    made = nn.Linear(40, 40)
    nn.init.constant_(made.weight, float(step))
    return made


def work(states: Path, step: int) -> None:
    """Write all that a training keeps, as after a step."""
    claim(states, IDENTITY, defaults={"settings": {}})
    save_state(states / STATE, {"step": step, "model": model(step).state_dict()})
    save_weights(states / "weights", model(step))
    save_note(states / "note.json", {"step": step})


def attempt(states: Path) -> int:
    """Return 0 if the third save went well, 3 if it says that there is no room."""
    try:
        work(states, 3)
    except StorageError:
        return 3
    return 0


def is_whole(states: Path) -> int:
    """Return 0 if the training goes on from the second or the third save, and can save again."""
    claim(states, IDENTITY, defaults={"settings": {}})
    found, into = read_state(states / STATE), model(0)
    load_weights(states / "weights", into)
    wholes = [
        found is not None and found["step"] in (2, 3) and bool((found["model"]["weight"] == found["step"]).all()),
        bool((into.weight == into.weight[0, 0]).all()) and into.weight[0, 0] in (2, 3),  # type: ignore[union-attr, index, operator]
        read_note(states / "note.json") in ({"step": 2}, {"step": 3}),
    ]
    work(states, 4)
    again = read_state(states / STATE)
    return 0 if all(wholes) and again is not None and again["step"] == 4 else 1


def check(states: Path, fault: Callable[[], int], allowed: set[int]) -> None:
    """Let a fault happen to the third save."""
    for path in states.parent.rglob("*"):
        if path.is_file():
            path.unlink()
    for step in (1, 2):
        work(states, step)
    ended = forked(fault)
    assert ended in allowed, ended
    again = forked(lambda: is_whole(states))
    assert again == 0, again


def limited(states: Path, limit: int) -> int:
    limit_files(limit)
    return attempt(states)


def main(kind: str) -> None:
    """Check all cases of one kind."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        states = Path(name) / "states"
        if kind == "limits":
            for limit in LIMITS:
                check(states, lambda limit=limit: limited(states, limit), {3})  # type: ignore[misc]
            sys.stdout.write(f"{len(LIMITS)}\n")
            return
        for step in (1, 2):
            work(states, step)
        seen = at_write(-1, states, killed)
        work(states, 3)
        writes = len(seen)
        assert 9 < writes < 40, seen
        for number in range(writes):

            def case(number: int = number) -> int:
                at_write(number, states, killed if kind == "kill" else disk_full)
                return attempt(states)

            check(states, case, {-signal.SIGKILL} if kind == "kill" else {0, 3})
        sys.stdout.write(f"{writes}\n")


if __name__ == "__main__":
    main(sys.argv[1])
