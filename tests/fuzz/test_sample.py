"""A sample of every kind of cases, with a seed that is set: each ends in one line, or in a result that is right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.command_line import PATIENCE_S
from tests.fuzz.kinds.registry import KINDS

SEED = 1
"""Seed of the cases: the sample is the same at every run."""

AT_ONCE = 10
"""Cases of a kind of weight 1."""


def test_every_case_of_a_sample_is_refused_in_one_line_or_answers(tmp_path: Path) -> None:
    cases = sum(kind.weight for kind in KINDS.values()) * AT_ONCE
    results = tmp_path / "results.json"
    call = [sys.executable, "-m", "tests.fuzz", "--seed", str(SEED), "--at-once", str(AT_ONCE), "--cases", str(cases)]
    call += ["--results", str(results), "--keep", str(tmp_path / "kept")]
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    counts = json.loads(results.read_bytes())["runs"][0]["counts"]
    assert {name: sum(of.values()) for name, of in counts.items()} == {
        name: AT_ONCE * kind.weight for name, kind in KINDS.items()
    }
    mended = {"cache", "cache_plain"}  # what is damaged there is made anew
    assert {name for name, of in counts.items() if of.get("unchanged") == sum(of.values())} == mended
    assert {name for name, of in counts.items() if "refused" in of} >= KINDS.keys() - mended
