"""Latency of the client for Node against that of the Python engine, in turns, on one core with one thread.

    make test-js                        # installs and builds the client
    python -m benchmarks.clients.node [--rounds 100]

A bundle of the shape of MiniLM-L6 with random weights. `run` is timed from the text to the answer, tokenizing included,
with the subnet pinned. Both processes are loaded at once, and in each round every subnet, length and side has one call,
in a new random order; the other process waits meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.graph.bundles import random_bundle
from benchmarks.graph.subjects import SHAPES
from benchmarks.report import markdown, save
from gearshift.runtime import Engine
from gearshift.runtime.profiles.timing import pin
from gearshift.runtime.space.uniform import uniform_grid

SUBNETS = ("w100-d100", "w050-d050", "w025-d050")
TOKENS = (16, 64)
WARM_UP = 5
CALLS = Path(__file__).with_name("calls.mjs")


class Node:
    """The client in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ms(self, text: str, subnet: str) -> float:
        """Measure the milliseconds of one call."""
        return float(json.loads(self._said(json.dumps({"text": text, "subnet": subnet})))["ms"])

    def _said(self, line: str) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


@contextmanager
def node(bundle: Path, precision: str) -> Iterator[Node]:
    """Start the client on a bundle."""
    command = ["node", str(CALLS), str(bundle), precision]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        if process.stdout.readline() != "ready\n":
            raise SystemExit("the client did not start; run make test-js")
        yield Node(process)
        process.stdin.close()


def python_ms(engine: Engine, text: str, subnet: str) -> float:
    """Measure the milliseconds of one call of the Python engine."""
    engine.pin(subnet)
    began = time.perf_counter_ns()
    engine.run(text)
    return (time.perf_counter_ns() - began) / 1e6


def measure(bundle: Path, precision: str, rounds: int) -> dict[tuple[str, int, str], list[float]]:
    """Measure the milliseconds of every (subnet, tokens, side)."""
    times: dict[tuple[str, int, str], list[float]] = {
        (subnet, tokens, side): [] for subnet in SUBNETS for tokens in TOKENS for side in ("python", "node")
    }
    order, shuffle = list(times), random.Random(0).shuffle
    with Engine.load(bundle, threads=1, precision=precision, cache=False) as engine, node(bundle, precision) as client:
        for number in range(rounds + WARM_UP):
            shuffle(order)
            for subnet, tokens, side in order:
                text = " ".join(f"w{4 + (7 * place + number) % 9000}" for place in range(tokens - 2))
                ms = python_ms(engine, text, subnet) if side == "python" else client.ms(text, subnet)
                if number >= WARM_UP:
                    times[subnet, tokens, side].append(ms)
    return times


def cells(precision: str, rounds: int, bundle: Path) -> list[dict[str, Any]]:
    """Measure a precision; return the times of both sides for each subnet and length."""
    times = measure(bundle, precision, rounds)
    return [
        {
            "precision": precision,
            "subnet": subnet,
            "tokens": tokens,
            "python_ms": times[subnet, tokens, "python"],
            "node_ms": times[subnet, tokens, "node"],
        }
        for subnet in SUBNETS
        for tokens in TOKENS
    ]


def ratio(cell: dict[str, Any]) -> float:
    """Return the median of Node over that of Python."""
    return float(statistics.median(cell["node_ms"]) / statistics.median(cell["python_ms"]))


def shown(times: Sequence[float]) -> str:
    """Return median and 95th percentile of times."""
    return f"{statistics.median(times):.2f} / {statistics.quantiles(times, n=20)[-1]:.2f}"


def main() -> None:
    """Measure both precisions, and save the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    rounds = parser.parse_args().rounds
    pin(1)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        shape = SHAPES["minilm-l6"]
        path = Path(scratch) / "random.gearshift"
        random_bundle(path, shape, uniform_grid(shape), layers_per_stage=shape.layers)
        found = [cell for precision in ("fp32", "int8") for cell in cells(precision, rounds, path)]
    rows = [
        (
            f"{cell['precision']}, {cell['subnet']}, {cell['tokens']}",
            shown(cell["python_ms"]),
            shown(cell["node_ms"]),
            f"{ratio(cell):.2f}",
        )
        for cell in found
    ]
    rows.append(("**median of the ratios**", "", "", f"{statistics.median(map(ratio, found)):.2f}"))
    lines = [
        "### The client for Node against the Python engine, MiniLM-L6, text to answer",
        "",
        f"One core, one thread, one text, in turns; {rounds} rounds after {WARM_UP}. Median / p95 in ms. Load average",
        f"of the machine, of {os.cpu_count()} CPUs: {load:.1f} at the beginning; beside others only the ratios mean",
        "something.",
        "",
        *markdown(("precision, subnet, tokens", "Python", "Node", "Node / Python"), rows),
    ]
    save("client-node-minilm-l6", {"rounds": rounds, "warm_up": WARM_UP, "load": load, "cells": found}, lines)


if __name__ == "__main__":
    main()
