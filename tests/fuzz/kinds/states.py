"""States that an interrupted training left: bits that flipped, files that were cut, exchanged, or made on purpose.

Right is the state that was written last or the one before it, nothing at all if the file is gone, or a clear error.
With the seal made right again, or without one, as an earlier version wrote it, the values may be others: no accident
does that.
"""

from __future__ import annotations

import io
import json
import random
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gearshift.errors import InputError
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
from gearshift.trainer.learning.sealed import seal
from tests.fuzz.kinds.altered_bytes import alter_file, altered, is_plain
from tests.fuzz.kinds.json_values import changed_json
from tests.fuzz.outcome import Kind

STATES = "states"
IDENTITY: dict[str, Any] = {"settings": {"lr": 0.1, "widths": [1.0, 0.5], "epochs": 3}, "rows": "a" * 64}
DEFAULTS: dict[str, Any] = {"settings": {"lr": 0.1, "widths": (1.0,)}}
WEIGHTS, NOTE = "teacher.safetensors", "note.json"
WRITTEN = "written.json"
"""File of the states that may come back, as text; None if both files are gone."""

LAST = 3
_SEAL = b"gearshift sha256 "


def model(step: int) -> nn.Module:
    made = nn.Sequential(nn.Linear(7, 5), nn.LayerNorm(5))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.arange(parameter.numel()).reshape(parameter.shape) * float(step))
    return made


def state(step: int) -> dict[str, Any]:
    made = model(step)
    optimizer = torch.optim.AdamW(made.parameters(), lr=0.1)
    made(torch.ones(2, 7)).sum().backward()
    optimizer.step()
    return {
        "step": step,
        "model": model(step).state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": [torch.arange(16, dtype=torch.uint8), (3, (1, 2, 3), None)],
    }


def prepare(base: Path) -> None:
    states = base / STATES
    claim(states, IDENTITY, defaults=DEFAULTS)
    for step in (LAST - 1, LAST):
        save_state(states / STATE, state(step))
    (base / WRITTEN).write_text(json.dumps([*(repr(state(step)) for step in (LAST - 1, LAST)), repr(None)]))
    save_weights(states / WEIGHTS, model(LAST))
    save_note(states / NOTE, {"alive": [1, 2], "best": 0.5})


def make(base: Path, case: Path, source: random.Random) -> bool:
    shutil.copytree(base / STATES, case / STATES)
    paths = sorted((case / STATES).iterdir())
    kind = source.random()
    if kind < 0.55:
        for _ in range(source.choice((1, 1, 2))):
            files = [path for path in paths if is_plain(path)]
            path = source.choice(files)
            alter_file(path, source, files)
            if path.is_file() and path.stat().st_size > 1 << 30:
                path.unlink()  # as large a file as a state may be
        return not all(_begins_sealed(path) for path in paths)
    path = source.choice(paths)
    content = path.read_bytes().split(b"\n", 1)[1]
    if path.suffix == ".json":
        made = changed_json(content, source)
    else:
        made = source.choice((altered, other_archive, other_state))(content, source)
    written_as = STATE if path.suffix == Path(STATE).suffix else path.name
    path.write_bytes(made if source.random() < 0.3 else seal(written_as, made) + made)
    return True


def _begins_sealed(path: Path) -> bool:
    """Return whether a file is one with a seal; what has none counts as of an earlier version."""
    return path.is_file() and not path.is_symlink() and path.open("rb").read(len(_SEAL)) == _SEAL


def other_archive(content: bytes, source: random.Random) -> bytes:
    """Return an archive with other bytes in one of its members, whose checksums are right."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return altered(content, source)
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(made, "w") as new:
        chosen = source.choice(old.namelist())
        for name in old.namelist():
            member = old.read(name)
            if name != chosen:
                new.writestr(name, member)
            elif source.random() < 0.9:
                new.writestr(name, altered(member, source))
    return made.getvalue()


def other_state(content: bytes, source: random.Random) -> bytes:
    """Return a state of another form."""
    values: Any = source.choice(({}, [], None, 3, {"step": "x"}, {"model": torch.zeros(3)}, {1: 2}, [torch.ones(1)]))
    made = io.BytesIO()
    torch.save(values, made)
    return made.getvalue()


def used(base: Path, case: Path) -> bool:
    """Read all as a training does that goes on; each file is read also where another one is refused."""
    states = case / STATES
    into = model(0)
    reads = (
        lambda: claim(states, IDENTITY, defaults=DEFAULTS),
        lambda: read_state(states / STATE),
        lambda: load_weights(states / WEIGHTS, into),
        lambda: read_note(states / NOTE),
    )
    refused: list[InputError] = []
    found: list[Any] = []
    for read in reads:
        try:
            found.append(read())
        except InputError as error:
            if "\n" in str(error):
                raise
            refused.append(error)
    if refused:
        raise refused[0]
    expected = json.loads((base / STATES / NOTE).read_bytes().split(b"\n", 1)[1])
    weights = {name: tensor.tolist() for name, tensor in into.state_dict().items()}
    return (
        repr(found[1]) in json.loads((base / WRITTEN).read_bytes())
        and weights == {name: tensor.tolist() for name, tensor in model(LAST).state_dict().items()}
        and found[3] in (expected, None)
    )


KINDS = (Kind("states", make, used, prepare, weight=10),)
