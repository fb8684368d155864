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


def test_every_case_of_a_sample_is_refused_in_one_line_or_answers(tmp_path: Path) -> None:
    cases = sum(kind.weight for kind in KINDS.values()) * 20
    results = tmp_path / "results.json"
    call = [sys.executable, "-m", "tests.fuzz", "--seed", str(SEED), "--at-once", "20", "--cases", str(cases)]
    call += ["--results", str(results), "--keep", str(tmp_path / "kept")]
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    counts = json.loads(results.read_bytes())["runs"][0]["counts"]
    assert {name: sum(of.values()) for name, of in counts.items()} == {
        name: 20 * kind.weight for name, kind in KINDS.items()
    }
    usual = {"data_files"}  # whose cases have no answers to be unchanged
    assert not [name for name, of in counts.items() if len(of) < 2], counts
    assert not [name for name, of in counts.items() if "unchanged" not in of and name not in usual], counts
