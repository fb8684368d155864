"""The client in Chromium: its own tests, run with the browser of these; CHROMIUM names another one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.browser.prepare import BUILD, environment

pytestmark = pytest.mark.browser

CLIENT = Path(__file__).parents[2] / "clients" / "js"
PATIENCE_S = 600.0


def test_the_client_answers_in_the_browser_as_in_python() -> None:
    own = (
        {} if "CHROMIUM" in os.environ else {**environment(), "CHROMIUM": str(BUILD / "root/usr/lib/chromium/chromium")}
    )
    done = subprocess.run(
        ["npm", "run", "test:browser"],
        cwd=CLIENT,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
