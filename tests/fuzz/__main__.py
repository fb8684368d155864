"""Run the fuzzers for a while, count what came of it, and keep what fails."""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shlex
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.campaign import AT_ONCE, campaign, keep, prepare
from tests.fuzz.kinds.registry import KINDS
from tests.fuzz.outcome import FAILURES
from tests.fuzz.results import Counts, Progress, add_run, table

IN_MEMORY = Path("/dev/shm")
"""Folder whose files lie in memory, so that no case waits for a disk."""


def main() -> int:
    """Run cases until the time is up or they are done; return 1 if one failed, whose files are then kept."""
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    kinds = [KINDS[name] for name in options.kinds.split(",")]
    print(f"seed {seed}", flush=True)
    counts, progress, began = Counts(), Progress(sys.stderr, options.seconds, options.cases), time.monotonic()
    with tempfile.TemporaryDirectory(dir=IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None) as name:
        folder = Path(name)
        prepare(kinds, folder)
        with contextlib.suppress(KeyboardInterrupt):  # what was counted by then is told
            last = time.monotonic()
            for case, result in campaign(kinds, seed, folder, first=options.first, at_once=options.at_once):
                now = time.monotonic()
                counts.add(case.kind.name, result.outcome, seconds=now - last)
                last = now
                if result.outcome in FAILURES:
                    progress.clear()
                    keep(case, result, folder, options.keep)
                    print(f"{case.name}: {result.outcome.value}: {result.told.strip()[-1500:]}", flush=True)
                seconds = time.monotonic() - began
                progress.show(counts, seconds)
                if counts.total >= options.cases or seconds >= options.seconds:
                    break
    progress.clear()
    seconds = time.monotonic() - began
    print("\n".join(table(counts, seconds)))
    if options.results is not None:
        command = shlex.join(["python", "-m", "tests.fuzz", "--seed", str(seed), *_rest(sys.argv[1:])])
        add_run(options.results, command=command, seed=seed, seconds=seconds, counts=counts)
    return int(counts.failed > 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--cases", type=int, default=sys.maxsize, help="number of cases; unless given as many as fit")
    parser.add_argument("--seed", type=int, default=None, help="a new one unless given")
    parser.add_argument("--first", type=int, default=0, help="number of the first case of each kind")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help="cases of a child, by weight of its kind")
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"some of {', '.join(KINDS)}")
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"), help="folder of what fails")
    parser.add_argument("--results", type=Path, default=None, help="JSON file to add the counts to")
    options = parser.parse_args()
    if unknown := [name for name in options.kinds.split(",") if name not in KINDS]:
        parser.error(f"--kinds: expected some of {', '.join(KINDS)}, got {', '.join(unknown)}")
    return options


def _rest(arguments: list[str]) -> list[str]:
    """Return the arguments without those that change no case, and the seed, which is told by itself."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("--seed", "--results", "--keep"):
        parser.add_argument(name)
    return parser.parse_known_args(arguments)[1]


if __name__ == "__main__":
    sys.exit(main())
