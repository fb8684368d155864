"""Time until a bundle is loaded, by this version and by another checkout.

    git worktree add /tmp/before COMMIT
    python -m benchmarks.graph.loading --against /tmp/before [--shape minilm-l6] [--rounds 15] [--granularity pool]

`Engine.load` with a profile, so that no subnet is timed, each in a new process whose imports do not count, of a bundle
of random weights that each version exports itself; then a first answer with a deadline of 50 ms, and the largest memory
of the process so far. Files lie in the page cache. One core (or two: `--cores 2`), one
thread, both versions in turns, in a new order each round; wall time and CPU time of the process. Growth is the median
of the rounds' own ratios: what else runs on the machine meets both versions of a round alike.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from benchmarks.graph.subjects import SHAPES
from benchmarks.report import markdown, save
from gearshift.runtime.files.cache import SETTLED_S, VARIABLE
from gearshift.runtime.profiles.timing import pin

BEFORE, NOW = "before", "now"

MAKE = """
import sys
from pathlib import Path
from benchmarks.graph.bundles import random_bundle
from benchmarks.graph.subjects import SHAPES
from gearshift.export.compress import compress_bundle
from gearshift.runtime.space.uniform import uniform_grid
folder, shape = Path(sys.argv[1]), SHAPES[sys.argv[2]]
layers = shape.layers if sys.argv[3] == "pool" else 1
plain = random_bundle(folder / "plain.gearshift", shape, uniform_grid(shape), layers_per_stage=layers)
if sys.argv[4] == "1":
    compress_bundle(plain, folder / "compressed.gearshift")
"""
"""Program of either version that makes its bundles."""

ONCE = Path(__file__).parent / "load_once.py"


@dataclass(frozen=True)
class Case:
    """A bundle, and how it is loaded."""

    label: str
    bundle: str
    """Name of the bundle's directory."""
    precision: str
    cache: bool
    at_once: bool = False

    def command(self, folder: Path, version: str) -> list[str]:
        """Return the command of one load; each version has a bundle and a profile of its own."""
        profile = folder / version / f"{self.bundle}-{self.precision}.json"
        return [
            sys.executable,
            str(ONCE),
            str(folder / version / self.bundle),
            self.precision,
            str(int(self.cache)),
            str(profile),
            str(int(self.at_once)),
        ]


CASES = tuple(
    Case(f"{precision}, {told}", bundle, precision, cache, at_once)
    for precision in ("fp32", "int8")
    for told, bundle, cache, at_once in (
        ("no cache", "plain.gearshift", False, False),
        ("warm cache", "plain.gearshift", True, False),
        ("compressed, warm cache", "compressed.gearshift", True, False),
        ("warm cache, at once", "plain.gearshift", True, True),
    )
)


@dataclass(frozen=True)
class Row:
    """A case; median times in ms, and growth as a share of 1."""

    label: str
    rounds: int
    before_wall: float
    now_wall: float
    wall_growth: float
    before_cpu: float
    now_cpu: float
    cpu_growth: float
    before_answered_cpu: float
    now_answered_cpu: float
    """Milliseconds of CPU until the first answer, load included, from the process's own clock."""
    answered_growth: float
    before_peak: float
    now_peak: float
    """Largest resident set until then, in MB."""
    peak_growth: float


def main() -> None:
    """Measure, print a table and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.graph.loading", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--against", type=Path, required=True, help="checkout of the other version")
    parser.add_argument("--shape", choices=SHAPES, default="minilm-l6")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--granularity", choices=("layer", "pool"), default="layer", help="what a stage of the graph is"
    )
    parser.add_argument("--cores", type=int, default=1, help="cores that the processes are pinned to")
    parser.add_argument("--cases", default="", help="only the cases whose name has this pattern")
    options = parser.parse_args()
    cases = [case for case in CASES if re.search(options.cases, case.label)]
    compressed = str(int(any("compressed" in case.bundle for case in cases)))
    cores = pin(options.cores)
    checkouts = {BEFORE: options.against.resolve(), NOW: Path(__file__).parents[2]}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        environments = dict(_environments(folder, checkouts))
        for version, checkout in checkouts.items():
            make_bundles(
                folder / version, (options.shape, options.granularity, compressed), checkout, environments[version]
            )
        rows = measure(folder, environments, options.rounds, cases)
    facts = {
        "command": f"python -m benchmarks.graph.loading --against BEFORE --shape {options.shape} "
        f"--rounds {options.rounds} --cores {options.cores} --granularity {options.granularity}"
        + (f" --cases '{options.cases}'" if options.cases else ""),
        "before": _commit(checkouts[BEFORE]),
        "now": _commit(checkouts[NOW]),
        "cores": cores,
        "threads": 1,
        "rows": [asdict(row) for row in rows],
    }
    name = "loading" + ("" if options.granularity == "layer" else "-pool")
    name += "" if options.cores == 1 else f"-{options.cores}-cores"
    save(name, facts, table(rows, options.shape))


def make_bundles(folder: Path, made_as: Sequence[str], checkout: Path, environment: Mapping[str, str]) -> None:
    """Let a version make a bundle of random weights with DynaBERT's twelve uniform subnets, as it is and compressed."""
    command = [sys.executable, "-c", MAKE, str(folder), *made_as]
    subprocess.run(command, env=dict(environment), cwd=checkout, check=True, capture_output=True, timeout=600)


def measure(
    folder: Path, environments: Mapping[str, Mapping[str, str]], rounds: int, cases: Sequence[Case]
) -> list[Row]:
    """Load each case with each version: twice so that caches are warm, then once in every round."""
    for case in cases:
        for version, environment in environments.items():
            _run(case.command(folder, version), environment)
    time.sleep(SETTLED_S)  # hashes of younger files are not remembered
    times: dict[tuple[str, str], list[dict[str, float]]] = {}
    source = random.Random(0)
    runs = [(case, version) for case in cases for version in environments]
    for done in tqdm(range(1 + rounds), desc="rounds", disable=None):
        source.shuffle(runs)
        for case, version in runs:
            found = json.loads(_run(case.command(folder, version), environments[version]))
            if done:  # the first one finds the cache, and remembers hashes
                times.setdefault((case.label, version), []).append(found)
    return [row_of(case.label, times[case.label, BEFORE], times[case.label, NOW]) for case in cases]


def row_of(label: str, before: Sequence[Mapping[str, float]], now: Sequence[Mapping[str, float]]) -> Row:
    """Summarise the rounds of a case."""

    def column(key: str) -> tuple[float, float, float]:
        old, new = [[one[key] for one in times] for times in (before, now)]
        ratios = [there / here for here, there in zip(old, new, strict=True)]
        return statistics.median(old), statistics.median(new), statistics.median(ratios) - 1

    return Row(label, len(now), *column("wall_ms"), *column("cpu_ms"), *column("answered_cpu_ms"), *column("peak_mb"))


def _environments(folder: Path, checkouts: Mapping[str, Path]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each version with the environment of its processes: its own code, and a cache directory of its own."""
    for version, checkout in checkouts.items():
        (folder / version).mkdir(mode=0o700)
        yield version, {**os.environ, "PYTHONPATH": str(checkout / "src"), VARIABLE: str(folder / version / "cache")}


def _run(command: Sequence[str], environment: Mapping[str, str]) -> str:
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=300).stdout


def _commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def table(rows: Sequence[Row], shape: str) -> list[str]:
    """Format a row per case as Markdown."""
    cells = [
        [
            row.label,
            f"{row.before_wall:.0f}",
            f"{row.now_wall:.0f}",
            f"{100 * row.wall_growth:+.1f} %",
            f"{row.before_cpu:.0f}",
            f"{row.now_cpu:.0f}",
            f"{100 * row.cpu_growth:+.1f} %",
            f"{row.before_answered_cpu:.0f}",
            f"{row.now_answered_cpu:.0f}",
            f"{100 * row.answered_growth:+.1f} %",
            f"{row.before_peak:.0f}",
            f"{row.now_peak:.0f}",
        ]
        for row in rows
    ]
    header = ["", "before, ms", "now, ms", "growth", "before, CPU ms", "now, CPU ms", "growth"]
    header += ["before, CPU ms to the first answer", "now", "growth", "before, peak MB", "now"]
    return [
        f"### {shape}: `Engine.load`, medians of {rows[0].rounds} rounds",
        "",
        *markdown(header, cells),
    ]


if __name__ == "__main__":
    main()
