"""Ladder of a trained bundle on this machine: the accuracy of every subnet, and its time from text to answer.

    python -m benchmarks.device.ladder RUN BUNDLE [--lengths 16,32,64,128] [--rounds 20]

RUN is the run of `gearshift train` that BUNDLE was exported from: it has the accuracies on all dev and test rows, in
fp32. Times are of `Engine.run` with a pinned subnet, tokenizing included: one core, one thread, all subnets in turns,
medians.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.report import markdown, save
from gearshift.runtime import Engine
from gearshift.runtime.profiles.timing import Times, interleave, pin
from gearshift.trainer.model.run import POOL, SUPERNET


def main() -> None:
    """Measure, print a table and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device.ladder", description=__doc__.split("\n", 1)[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--lengths", default="16,32,64,128", help="tokens")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    cores = pin(1)
    lengths = [int(part) for part in options.lengths.split(",")]
    accuracies = {entry["name"]: entry for entry in json.loads((options.run / POOL).read_text(encoding="utf-8"))}
    facts = json.loads((options.run / SUPERNET).read_text(encoding="utf-8"))
    measured = {precision: _times(options.bundle, precision, lengths, options.rounds) for precision in ("fp32", "int8")}
    header = ["subnet", "dev", "test", *(f"{precision}, {length}" for precision in measured for length in lengths)]
    rows = []
    for name, entry in accuracies.items():
        times = [measured[precision][length, name].median_ms for precision in measured for length in lengths]
        shares = [f"{100 * entry[field]:.1f}" for field in ("dev_accuracy", "accuracy")]
        rows.append([name, *shares, *(f"{one:.2f}" for one in times)])
    spans = [
        max(times) / min(times)
        for precision in measured
        for length in lengths
        for times in [[measured[precision][length, name].median_ms for name in accuracies]]
    ]
    rows.append(["largest / smallest", "", "", *(f"{span:.1f}" for span in spans)])
    name = f"ladder-{options.bundle.name.removesuffix('.gearshift')}"
    command = (
        f"python -m benchmarks.device.ladder {options.run.name} {options.bundle.name} --lengths {options.lengths} "
        f"--rounds {options.rounds}"
    )
    described: dict[str, Any] = {
        "command": command,
        "cores": cores,
        "threads": 1,
        "settings": facts["settings"],
        "rows": facts["rows"],
        "accuracies": list(accuracies.values()),
        "median_ms": {
            precision: {f"{name}, {length}": found.median_ms for (length, name), found in times.items()}
            for precision, times in measured.items()
        },
    }
    title = (
        f"### {options.bundle.name}: accuracy (%) on {facts['rows']['dev']} dev and {facts['rows']['test']} test rows"
    )
    save(name, described, [f"{title}, milliseconds from text to answer by tokens", "", *markdown(header, rows)])


def _times(bundle: Path, precision: str, lengths: list[int], rounds: int) -> dict[tuple[int, str], Times]:
    """Return (tokens, subnet) -> times."""
    with Engine.load(bundle, sensors=False, threads=1, precision=precision) as engine:
        texts = {length: _text(engine, length) for length in lengths}

        def call(name: str, text: str) -> object:
            engine.pin(name)
            return engine.run(text)

        calls: dict[tuple[int, str], Callable[[], object]] = {
            (length, name): partial(call, name, texts[length]) for length in lengths for name in engine.pool
        }
        return {key: Times.of(times) for key, times in interleave(calls, rounds=rounds).items()}


def _text(engine: Engine, length: int) -> str:
    """Return a text of that many tokens, or the most that are read."""
    for words in itertools.count(1):
        text = " ".join(["word"] * words)
        if engine.run(text).tokens >= min(length, engine.bundle.manifest.max_length):
            return text
    raise AssertionError


if __name__ == "__main__":
    main()
