"""Ways to start and end a program that has an engine: its own exit code, nothing on standard error, and no hang."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LIMIT_S = 60.0
"""Seconds for a program that takes half a second: only a hang takes as long."""

LOAD = """
import signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets programs in its background ignore it
from gearshift.runtime import Engine, EngineClosedError
TEXT, BUNDLE = "turn the lights off", sys.argv[1]
def load(**others):
    return Engine.load(BUNDLE, threads=1, precision="fp32", profile=sys.argv[2], **others)
def daemons(number, target):
    begun = threading.Barrier(number + 1)
    def repeat():
        begun.wait()
        while True:
            target()
    for _ in range(number):
        threading.Thread(target=repeat, daemon=True).start()
    begun.wait()
    time.sleep(0.05)
"""

ENDS: dict[str, tuple[str, int]] = {
    "close": ("engine = load(); engine.run(TEXT); engine.close()", 0),
    "close twice": ("engine = load(); engine.run(TEXT); engine.close(); engine.close()", 0),
    "with": ("with load() as engine: engine.run(TEXT)", 0),
    "with, nested": ("with load() as one, load() as other: one.run(TEXT); other.submit(TEXT).result()", 0),
    "no close": ("engine = load(); engine.run(TEXT)", 0),
    "no close after submit": ("engine = load(); engine.submit(TEXT).result()", 0),
    "requests that wait": ("engine = load(); futures = [engine.submit([TEXT] * 100) for _ in range(50)]", 0),
    "requests that wait, nobody for them": ("[load().submit(TEXT) for _ in range(3)]", 0),
    "a callback after the end": (
        "engine = load()\n"
        "futures = [engine.submit([TEXT] * 100) for _ in range(5)]\n"
        "for future in futures: future.add_done_callback(lambda done: done.exception())",
        0,
    ),
    "with metrics and a log": ("engine = load(metrics_port=0, log=sys.argv[3]); engine.run(TEXT)", 0),
    "sys.exit in the middle": ("with load() as engine: engine.submit(TEXT); sys.exit(3)", 3),
    "sys.exit without close": ("engine = load(); engine.submit(TEXT); sys.exit(3)", 3),
    "os._exit": ("import os; engine = load(); engine.submit(TEXT); os._exit(4)", 4),
    "SIGTERM": ("import os, signal\nengine = load(); engine.submit(TEXT)\nos.kill(os.getpid(), signal.SIGTERM)", -15),
    "SIGTERM with a handler that exits": (
        "import os, signal\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\n"
        "engine = load()\n"
        "threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGTERM]).start()\n"
        "while True: engine.run(TEXT)",
        5,
    ),
    "SIGTERM with a handler that closes": (
        "import os, signal\n"
        "engine = load()\n"
        "def end(*_): engine.close(); sys.exit(6)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGTERM]).start()\n"
        "while True: engine.run(TEXT)",
        6,
    ),
    "Ctrl-C that is caught": (
        "import os, signal\n"
        "engine = load()\n"
        "threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGINT]).start()\n"
        "try:\n"
        "    while True: engine.submit(TEXT).result()\n"
        "except KeyboardInterrupt: sys.exit(7)",
        7,
    ),
    "daemon threads in run": ("engine = load(); daemons(3, lambda: engine.run(TEXT, deadline_ms=50)); sys.exit(3)", 3),
    "daemon threads in long runs": ("engine = load(); daemons(3, lambda: engine.run([TEXT] * 300)); sys.exit(3)", 3),
    "daemon threads that wait for submit": (
        "engine = load(); daemons(3, lambda: engine.submit(TEXT).result()); sys.exit(3)",
        3,
    ),
    "daemon threads in load": ("daemons(3, lambda: load(sensors=False)); time.sleep(0.1); sys.exit(3)", 3),
    "daemon threads that bench": (
        "from gearshift.runtime.bench.operators.probe import time_probe\n"
        "daemons(2, lambda: time_probe('fp32', threads=1, seconds=5)); time.sleep(0.1); sys.exit(3)",
        3,
    ),
    "daemon threads in an event loop": (
        "import asyncio\n"
        "engine = load()\n"
        "async def ask():\n"
        "    while True: await engine.arun(TEXT)\n"
        "daemons(2, lambda: asyncio.run(ask())); sys.exit(3)",
        3,
    ),
    "daemon threads in two threads of onnxruntime": (
        "engine = Engine.load(BUNDLE, threads=2, precision='fp32'); daemons(3, lambda: engine.run(TEXT)); sys.exit(3)",
        3,
    ),
    "daemon threads and an engine closed by atexit": (
        "import atexit\n"
        "engine = load()\n"
        "atexit.register(engine.close)\n"
        "daemons(2, lambda: quiet(engine)); sys.exit(3)".replace(
            "daemons(2, lambda: quiet(engine))",
            "def ask():\n    try: engine.run(TEXT)\n    except EngineClosedError: time.sleep(60)\ndaemons(2, ask)",
        ),
        3,
    ),
    "threads that are waited for": (
        "engine = load()\n"
        "def work():\n"
        "    time.sleep(0.1)\n"
        "    for _ in range(20): engine.run(TEXT); engine.submit(TEXT).result()\n"
        "for _ in range(3): threading.Thread(target=work).start()",
        0,
    ),
    "a pool of threads": (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "engine = load(); pool = ThreadPoolExecutor(3)\n"
        "for _ in range(30): pool.submit(engine.run, TEXT)",
        0,
    ),
    "a callback that submits the next request": (
        "from gearshift.runtime.serving import worker\n"
        "engine, worker.END_S = load(), 3600.0\n"
        "def again(_): engine.submit(TEXT).add_done_callback(again)\n"
        "again(None); time.sleep(0.05); sys.exit(3)",
        3,
    ),
    "a callback that waits for another request": (
        "from gearshift.runtime.serving import worker\n"
        "engine, worker.END_S = load(), 3600.0\n"
        "last = engine.submit([TEXT] * 3000)\n"
        "other = engine.submit(TEXT)\n"
        "last.add_done_callback(lambda _: other.result())\n"
        "while not last.running(): time.sleep(0.001)\n"
        "sys.exit(3)",
        3,
    ),
    "a callback that does not return, which close left": (
        "import logging; logging.disable()\n"
        "from gearshift.runtime.serving import worker\n"
        "engine, worker.END_S, begun = load(), 3600.0, threading.Event()\n"
        "engine.submit(TEXT).add_done_callback(lambda _: (begun.set(), time.sleep(3600)))\n"
        "begun.wait(); assert not engine.close(0); sys.exit(3)",
        3,
    ),
    "a function at exit that uses the engine": (
        "import atexit\n"
        "engine = load()\n"
        "def last(): assert engine.run(TEXT).label and engine.submit(TEXT).result(30).label\n"
        "atexit.register(last)",
        0,
    ),
    "a function at exit that was there first": (
        "import atexit\n"
        "engine = load(); daemons(2, lambda: engine.run(TEXT))\n"
        "from gearshift.runtime.native_calls import NATIVE_CALLS\n"
        "atexit.unregister(NATIVE_CALLS.end)\n"
        "def last(): assert engine.run(TEXT).label; engine.close()\n"
        "atexit.register(last); atexit.register(NATIVE_CALLS.end)",
        0,
    ),
    "a fork that exits": (
        "import os, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "engine = load(); engine.submit(TEXT).result()\n"
        "child = os.fork()\n"
        "if not child: sys.exit(8)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 8",
        0,
    ),
    "a fork of two threads of onnxruntime that exits": (
        "import os, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "engine = Engine.load(BUNDLE, threads=2, precision='fp32'); engine.submit(TEXT).result()\n"
        "child = os.fork()\n"
        "if not child: sys.exit(8)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 8",
        0,
    ),
    "a fork while threads run, which drops and loads": (
        "import os, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "engine = load(); daemons(2, lambda: engine.run(TEXT))\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    del engine\n"
        "    with load() as own: own.submit(TEXT).result()\n"
        "    sys.exit(8)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 8",
        0,
    ),
    "a fork that steers and reads": (
        "import os, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "engine = load(); daemons(2, lambda: (engine.run(TEXT), engine.steer(target=.9)))\n"
        "children = []\n"
        "for _ in range(10):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        engine.stats(), engine.metrics(), engine.slow_down, engine.caps\n"
        "        for refused in (lambda: engine.steer(target=.8), lambda: engine.pin(None)):\n"
        "            try: refused()\n"
        "            except EngineClosedError: continue\n"
        "            os._exit(1)\n"
        "        os._exit(0)\n"
        "    children.append(child)\n"
        "assert not any(os.waitpid(child, 0)[1] for child in children)",
        0,
    ),
    "a pool of forked processes": (
        "import multiprocessing, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "engine = load(); engine.submit(TEXT).result()\n"
        "with multiprocessing.get_context('fork').Pool(2) as pool: assert pool.map(abs, [-1, 2]) == [1, 2]",
        0,
    ),
    "asyncio with a timeout": (
        "import asyncio\n"
        "engine = load()\n"
        "async def main():\n"
        "    try: await asyncio.wait_for(engine.arun([TEXT] * 3000), 0.01)\n"
        "    except TimeoutError: return await engine.arun(TEXT)\n"
        "assert asyncio.run(main()).label",
        0,
    ),
    "asyncio with tasks that are left": (
        "import asyncio\n"
        "engine = load()\n"
        "async def main():\n"
        "    tasks = [asyncio.ensure_future(engine.arun([TEXT] * 50)) for _ in range(20)]\n"
        "    await asyncio.sleep(0)\n"
        "asyncio.run(main())",
        0,
    ),
    "an engine in a cycle": ("engine = load(); engine.itself = engine; engine.submit(TEXT).result(); del engine", 0),
    "an engine that a generator holds": (
        "def answers():\n"
        "    with load() as engine:\n"
        "        while True: yield engine.run(TEXT)\n"
        "held = answers(); next(held)",
        0,
    ),
    "an engine that a global of a module holds": (
        "import types; module = types.ModuleType('held'); sys.modules['held'] = module\n"
        "module.engine = load(); module.engine.submit(TEXT).result()",
        0,
    ),
    "an engine with a finalizer that uses it": (
        "class Owner:\n"
        "    def __init__(self): self.engine = load()\n"
        "    def __del__(self): self.engine.close()\n"
        "owner = Owner(); owner.engine.submit(TEXT).result()",
        0,
    ),
    "300 interrupts at random moments": (
        "import random, signal\n"
        "class Late(Exception): pass\n"
        "def late(*_): raise Late\n"
        "signal.signal(signal.SIGALRM, late)\n"
        "draw, engine = random.Random(0), load()\n"
        "calls = (engine.run, engine.submit, lambda text: engine.run([text, text * 9]))\n"
        "for number in range(300):\n"
        "    try:\n"
        "        try:\n"
        "            signal.setitimer(signal.ITIMER_REAL, draw.uniform(2e-5, 2e-3))\n"
        "            calls[number % 3](TEXT)\n"
        "        finally: signal.setitimer(signal.ITIMER_REAL, 0)\n"
        "    except Late: pass\n"
        "assert engine.submit(TEXT).result(30).label and engine.close(30)\n"
        "counts = engine.stats()\n"
        "assert len(engine._in_flight) == 0 and counts['requests'] + counts['failed'] <= 301, counts",
        0,
    ),
    "a load that is interrupted": (
        "import signal\n"
        "class Late(BaseException): pass\n"
        "def late(*_): raise Late\n"
        "signal.signal(signal.SIGALRM, late)\n"
        "for number in range(1, 30):\n"
        "    signal.setitimer(signal.ITIMER_REAL, number * 0.002)\n"
        "    try: load(); signal.setitimer(signal.ITIMER_REAL, 0)\n"
        "    except Late: pass\n"
        "    finally: signal.setitimer(signal.ITIMER_REAL, 0)\n"
        "assert load().run(TEXT).label",
        0,
    ),
}


@pytest.fixture(scope="module")
def profile(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile, so that loading takes no second to measure."""
    from gearshift.runtime import Engine

    path = tmp_path_factory.mktemp("profile") / "profile.json"
    with Engine.load(tiny_bundle, threads=1, precision="fp32") as engine:
        engine.save_profile(path)
    return path


@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals and forks are those of POSIX")
@pytest.mark.parametrize("way", ENDS)
def test_a_program_ends_with_its_own_code_and_says_nothing(
    way: str, tiny_bundle: Path, profile: Path, tmp_path: Path
) -> None:
    program, code = ENDS[way]
    command = [sys.executable, "-c", LOAD + program, str(tiny_bundle), str(profile), str(tmp_path / "log")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    assert (ended.returncode, ended.stderr) == (code, "")
