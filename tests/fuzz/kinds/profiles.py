"""Device profiles with other bytes, structure and values, their seal right or gone; and what uses them.

Right is a clear error, or a table: with the seal right, whatever latencies the file states. Without a mended seal, the
profile must be the one before the change.
"""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
from pathlib import Path

from gearshift.device_profiles.profile import LatencyTable, load_profile
from gearshift.runtime.batches import one
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.inference.providers import CPU
from gearshift.runtime.policy.controller import Controller
from gearshift.runtime.policy.objective import DEFAULT_OBJECTIVE
from gearshift.runtime.profiles.own import VARIABLE, find_profile, own_path
from gearshift.runtime.profiles.store import own_tables, save_measured, tables_for, this_device
from gearshift.sealed_json import SEAL, sealed
from tests.fuzz import answers
from tests.fuzz.kinds.altered_bytes import alter_file
from tests.fuzz.kinds.json_values import changed_json
from tests.fuzz.outcome import Kind

PROFILE = "profile.json"
LENGTHS = (8, 16, 32)


def prepare(base: Path) -> None:
    answers.prepare(base)
    bundle = open_bundle(base / answers.BUNDLE)
    tables = []
    for precision in bundle.precisions:
        times = {
            name: tuple(length * (number + 1) / 8 for length in LENGTHS)
            for number, name in enumerate(bundle.pool(precision))
        }
        tables.append(
            LatencyTable(bundle.hash, precision, CPU[0], 1, LENGTHS, times, times, 5, "by hand", "2026-01-31")
        )
    save_measured(base / PROFILE, tables=tables)


def make(base: Path, case: Path, source: random.Random) -> bool:
    path = case / PROFILE
    shutil.copy(base / PROFILE, path)
    if source.random() < 0.25:
        alter_file(path, source, [base / PROFILE, base / answers.BUNDLE / "manifest.json"])
        return not is_sealed(path)
    content = json.loads(path.read_bytes())
    version = content.pop("schema_version")
    content.pop(SEAL)
    changed = changed_json(json.dumps(content).encode(), source)
    try:
        raw = json.loads(changed)
        whole = {"schema_version": version, **(sealed(raw) if source.random() < 0.7 else raw)}
        path.write_text(json.dumps(whole), errors="surrogatepass")
    except (ValueError, TypeError, RecursionError):
        path.write_bytes(changed)
    return True


def is_sealed(path: Path) -> bool:
    """Return whether there is a profile with its hash in it; one without is of an earlier version."""
    if not path.is_file() or path.is_symlink() or path.stat().st_size > 1 << 20:
        return False
    return b'"sha256"' in path.read_bytes()


@functools.cache
def _opened(path: Path) -> Bundle:
    return open_bundle(path)


def used(base: Path, case: Path) -> bool:
    """Use a profile that was named, the same one as this device's own, and add a table to it."""
    path, bundle = case / PROFILE, _opened(base / answers.BUNDLE)
    os.environ[VARIABLE] = str(case / "own")
    own = own_path(this_device())
    own.parent.mkdir(parents=True)
    if path.is_file() and path.stat().st_size < 1 << 30:
        shutil.copy(path, own)
    find_profile(this_device())  # a damaged one counts as none
    own_tables(bundle, precisions=bundle.precisions, threads=1, provider=CPU[0])
    named = path
    same = load_profile(named).to_dict() == load_profile(base / PROFILE).to_dict()
    tables = tables_for(named, bundle, precisions=bundle.precisions, threads=1, provider=CPU[0])
    for table in tables:
        accuracies = {name: entry.accuracy for name, entry in bundle.entries(table.precision).items()}
        controller = Controller(accuracies, table, DEFAULT_OBJECTIVE)
        controller.decide(work=one(16), slack_ms=5.0, now=1.0, deadline_ms=5.0)
    save_measured(named, tables=tables[:1])
    load_profile(named)
    return same


KINDS = (Kind("profiles", make, used, prepare, weight=16),)
