"""A kill or a full disk at each write of a training's states: it goes on from the last whole save, and saves again."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.command_line import PATIENCE_S
from tests.trainer.learning.state_faults import LIMITS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs forks, signals and limits")


@pytest.mark.parametrize(("kind", "least"), [("kill", 10), ("full", 10), ("limits", len(LIMITS))])
def test_a_training_goes_on_after(kind: str, least: int) -> None:
    call = [sys.executable, "-m", "tests.trainer.learning.state_faults", kind]
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= least
