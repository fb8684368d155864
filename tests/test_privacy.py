"""Tests of what a program that answers texts leaves behind on the device."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.command_line import PATIENCE_S

ANSWER = """
import sys
from gearshift.runtime import Engine
with Engine.load(sys.argv[1]) as engine:
    engine.run("turn the lights off")
"""


def test_an_answer_leaves_nothing_in_the_home_directory_but_gearshift_s_own_cache(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    # Little else is set: onnxruntime keeps quiet by itself where it sees that a CI runs it.
    environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    command = [sys.executable, "-c", ANSWER, str(tiny_bundle)]
    subprocess.run(command, env={**environment, "HOME": str(tmp_path)}, check=True, timeout=PATIENCE_S)
    written = {path.relative_to(tmp_path).parts[:2] for path in tmp_path.rglob("*") if path.is_file()}
    assert written <= {(".cache", "gearshift")}
