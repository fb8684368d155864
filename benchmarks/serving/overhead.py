"""Time of Python around the graph, and of the import, by this version and by another checkout.

    git worktree add /tmp/before COMMIT
    python -m benchmarks.serving.overhead --against /tmp/before [--rounds 9]

CPU time of fresh processes on one core, both versions in turns, in a new order each round; imports with compiled
modules, as installed. The parts of a call are those of the committed test bundle, whose graph is given its output at
once: they do not depend on the subnet. Growth is the median of the rounds' own ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.report import markdown, save
from gearshift.runtime.profiles.timing import pin

ROOT = Path(__file__).parents[2]
ONCE = Path(__file__).parent / "overhead_once.py"
BUNDLE = ROOT / "tests" / "data" / "tiny.gearshift"
BEFORE, NOW = "before", "now"

IMPORTS = (
    "import numpy, onnxruntime, psutil, tokenizers",
    "import gearshift.runtime",
    "from gearshift.runtime import Engine",
)


def main() -> None:
    """Measure, print a table and write the results."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving.overhead", description=__doc__.split("\n", 1)[0]
    )
    parser.add_argument("--against", type=Path, required=True, help="checkout of the other version")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    cores = pin(1)
    checkouts = {BEFORE: options.against.resolve(), NOW: ROOT}
    with tempfile.TemporaryDirectory() as compiled:
        found = measure(checkouts, Path(compiled), options.rounds)
    facts = {
        "command": f"python -m benchmarks.serving.overhead --against BEFORE --rounds {options.rounds}",
        "before": _commit(checkouts[BEFORE]),
        "now": _commit(checkouts[NOW]),
        "cores": cores,
        "rounds": options.rounds,
        "medians": {
            version: {name: statistics.median(each) for name, each in rows.items()} for version, rows in found.items()
        },
    }
    save("overhead", facts, table(found))


def measure(checkouts: Mapping[str, Path], compiled: Path, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Measure every case with each version: once to compile its modules, then once in every round."""
    cases = [*((statement,) for statement in IMPORTS), ("run", str(BUNDLE))]
    runs = [(version, case) for version in checkouts for case in cases]
    found: dict[str, dict[str, list[float]]] = {version: {} for version in checkouts}
    source = random.Random(0)
    for done in range(1 + rounds):
        for version, case in source.sample(runs, len(runs)):
            for name, value in once(checkouts[version], compiled, case).items():
                if done:
                    found[version].setdefault(name, []).append(value)
    return found


def once(checkout: Path, compiled: Path, case: Sequence[str]) -> dict[str, float]:
    """Run one measurement in a process of its own."""
    others = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment = {**others, "PYTHONPATH": str(checkout / "src"), "PYTHONPYCACHEPREFIX": str(compiled)}
    command = [sys.executable, str(ONCE), *case]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=300)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def table(found: Mapping[str, Mapping[str, Sequence[float]]]) -> list[str]:
    """Format a row for each case as Markdown."""
    cells = []
    for name, before in found[BEFORE].items():
        now, unit = found[NOW][name], "ms" if name in IMPORTS else "us"
        growth = statistics.median(there / here for here, there in zip(before, now, strict=True)) - 1
        shown = f"`{name}`" if name in IMPORTS else name
        cells.append(
            [
                f"{shown}, {unit}",
                f"{statistics.median(before):.1f}",
                f"{statistics.median(now):.1f}",
                f"{100 * growth:+.1f} %",
            ]
        )
    return ["### CPU time of what is not the graph", "", *markdown(["", "before", "now", "growth"], sorted(cells))]


def _commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
