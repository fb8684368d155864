"""Files kept between runs, changed behind the back of whoever kept them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.bundle.manifest import SELF_TEST
from gearshift.runtime.files.cache import HashMemory, _state
from gearshift.runtime.inference.opened import random_inputs
from gearshift.runtime.inference.session import ElasticSession
from tests.runtime.altered import change_manifest


def flip(path: Path, place: int, bits: int = 0xFF, *, hidden: bool = False) -> None:
    """Change a byte and put the times back; `hidden`: as a disk does that fails, so that its status has no change."""
    before, known = path.stat(), HashMemory()._read()
    with path.open("r+b") as file:
        file.seek(place)
        old = file.read(1)[0]
        file.seek(place)
        file.write(bytes([old ^ bits]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    entry = known.get(str(path.resolve()))
    if hidden and isinstance(entry, list):
        HashMemory()._write({**known, str(path.resolve()): [_state(path), entry[1]]})


def remember(path: Path) -> None:
    """Remember the hash of a file of which time has not yet shown that nobody writes to it."""
    HashMemory()._write({**HashMemory()._read(), str(path.resolve()): [_state(path), HashMemory().sha256_of(path)]})


def places(size: int, count: int) -> list[int]:
    """Return places all over a file, first and last byte among them."""
    return sorted({round(number * (size - 1) / (count - 1)) for number in range(count)})


def answers(session: ElasticSession, bundle: Bundle) -> list[list[float]]:
    """Return the output of every subnet for one text."""
    inputs = random_inputs(bundle, 9)
    return [session.run(inputs, entry.choice).ravel().tolist() for entry in bundle.pool(session.precision).values()]


def make_other(directory: Path) -> Bundle:
    """Make a bundle of the same form that gives other answers at fp32, and passes its self-test."""
    weights = np.fromfile(directory / "fp32.weights", dtype="<f4")
    (-weights).tofile(directory / "fp32.weights")
    change_manifest(directory)
    bundle = open_bundle(directory)
    with np.load(directory / SELF_TEST, allow_pickle=False) as arrays:
        kept = {name: arrays[name] for name in arrays.files}
    session = ElasticSession(bundle, "fp32", threads=1)
    inputs = {name: kept[name] for name in bundle.manifest.inputs}
    found = {f"logits.fp32.{n}": session.run(inputs, entry.choice) for n, entry in bundle.pool("fp32").items()}
    np.savez(directory / SELF_TEST, allow_pickle=False, **{**kept, **found})
    change_manifest(directory)
    return open_bundle(directory)


def exchange(one: Path, other: Path) -> None:
    """Give each of two directories the name of the other."""
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)
