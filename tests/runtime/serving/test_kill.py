"""A process that is killed leaves nothing behind that stops the next one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gearshift.runtime import Engine
from gearshift.runtime.serving.decision_log import read_log

PROGRAM = """
import sys
from gearshift.runtime import Engine, QueueFullError
with Engine.load(sys.argv[1], threads=1, log=sys.argv[2]) as engine:
    print("ready", flush=True)
    while True:
        try:
            futures = [engine.submit("turn the lights off", deadline_ms=50) for _ in range(20)]
        except QueueFullError:
            pass  # more than it can answer, so that there is work at every moment
        engine.run(["turn the lights off", "play music"], deadline_ms=50)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_after_kill_9_in_the_middle_of_work_or_of_loading_the_next_engine_answers(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEARSHIFT_CACHE_DIR", str(tmp_path / "cache"))
    log = tmp_path / "log.jsonl"
    draw = random.Random(0)
    for waits_until_ready in (False, True, False, True):
        command = [sys.executable, "-c", PROGRAM, str(tiny_bundle), str(log)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as victim:
            assert victim.stdout is not None
            if waits_until_ready:
                assert victim.stdout.readline() == "ready\n"
            time.sleep(draw.uniform(0.05, 0.5))
            victim.send_signal(signal.SIGKILL)
            assert victim.wait() == -signal.SIGKILL
    with Engine.load(tiny_bundle, threads=1, log=log) as engine:
        answer = engine.run("turn the lights off", deadline_ms=60_000)
        assert answer.deadline_met
    runs = read_log(log)
    assert len(runs) >= 3  # one that was killed while it loaded has no header, or a whole one
    assert runs[-1].records[-1].subnet == answer.subnet
