"""A kill or a full disk at a write of the cache, and several processes at once: the answers stay, the cache mends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.bundle.compressed import write_compressed
from tests.command_line import PATIENCE_S
from tests.runtime.cache_faults import LIMITS, TOGETHER

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs forks, signals and limits")

STEP = 9
"""Step between the writes tried, of some 70: `python -m tests.runtime.cache_faults kill COMPRESSED 1` tries all."""

CASES = {"kill": range(7, 11), "full": range(7, 11), "limits": [len(LIMITS)], "together": [2 * TOGETHER]}


@pytest.mark.parametrize("kind", CASES)
def test_the_answers_stay_and_the_cache_mends_itself_after(kind: str, bundle: Bundle, tmp_path: Path) -> None:
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    write_compressed(bundle.path, bundle.manifest.files, shipped, {})
    call = [sys.executable, "-m", "tests.runtime.cache_faults", kind, str(shipped), str(STEP)]
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) in CASES[kind]
