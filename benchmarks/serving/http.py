"""`gearshift serve` under load: the most requests a second with the smallest subnet, and 1,000 a second for a while.

    python -m benchmarks.serving.http [--seconds 20]

The server has one thread, and shares one core with the process that loads it: on a core of its own it would answer
more. The subnet's own rate is that of `Engine.run` in a loop on that core, without a server. The rate that is held is
1,000 a second, or nine tenths of the most that was answered as fast as answers come, whichever is less.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.graph.bundles import random_bundle
from benchmarks.graph.subjects import SHAPES
from benchmarks.report import markdown, save
from benchmarks.serving.http_load import CONNECTIONS, TEXT
from gearshift.runtime import Engine
from gearshift.runtime.space.uniform import uniform_grid

TINY = Path(__file__).parents[2] / "tests" / "data" / "tiny.gearshift"
WANTED, SHARE = 1000.0, 0.9
PATIENCE_S = 60.0


def own_rate(bundle: Path, precision: str, subnet: str, seconds: float) -> float:
    """Measure the texts a second of a subnet without a server."""
    with Engine.load(bundle, threads=1, precision=precision, cache=False) as engine:
        engine.pin(subnet)
        engine.warm_up()
        count, began = 0, time.perf_counter()
        while time.perf_counter() < began + seconds:
            engine.run(TEXT)
            count += 1
        return count / (time.perf_counter() - began)


@contextmanager
def served(bundle: Path, precision: str, subnet: str) -> Iterator[tuple[int, str]]:
    """Serve a bundle with a subnet; yields port and path. It must end with 0 and say nothing."""
    options = ["--threads", "1", "--precision", precision, "--subnet", subnet, "--port", "0", "--json", "--no-cache"]
    call = [sys.executable, "-m", "gearshift", "serve", str(bundle), *options]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        yield int(told["address"].rpartition(":")[2]), told["paths"][0]
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=PATIENCE_S)
        if process.returncode or errors:
            raise SystemExit(f"the server ended with {process.returncode}: {errors}")


def loaded(port: int, path: str, rate: float | None, seconds: float) -> dict[str, Any]:
    """Load a server from another process on this core."""
    wanted = json.dumps({"port": port, "path": path, "rate": rate, "seconds": seconds})
    call = [sys.executable, "-m", "benchmarks.serving.http_load", wanted]
    found: dict[str, Any] = json.loads(subprocess.run(call, capture_output=True, text=True, check=True).stdout)
    return found


def measure(bundle: Path, precision: str, subnet: str, seconds: float) -> dict[str, Any]:
    """Measure the subnet's own rate, the most that the server answers, and a rate that it holds."""
    alone = own_rate(bundle, precision, subnet, seconds / 4)
    with served(bundle, precision, subnet) as (port, path):
        loaded(port, path, None, seconds / 10)
        fast = loaded(port, path, None, seconds / 2)
        most = fast["statuses"].get("200", 0) / fast["seconds"]
        rate = min(WANTED, SHARE * most)
        held = loaded(port, path, rate, seconds)
    facts = {"precision": precision, "subnet": subnet, "alone": alone, "most": most, "rate": rate}
    return {**facts, "fast": fast["statuses"], "held": held["statuses"], "sent": held["sent"], **_latencies(held)}


def _latencies(found: Mapping[str, Any]) -> dict[str, float]:
    cuts = statistics.quantiles(found["latencies_ms"], n=100)
    return {"median_ms": statistics.median(found["latencies_ms"]), "p95_ms": cuts[94], "p99_ms": cuts[98]}


def row(name: str, cell: Mapping[str, Any]) -> Sequence[str]:
    """Return the row of the table for a bundle."""
    errors = sum(count for status, count in cell["held"].items() if status != "200")
    errors += cell["sent"] - sum(cell["held"].values())
    return (
        f"{name}, {cell['precision']}, {cell['subnet']}",
        f"{cell['alone']:.0f}",
        f"{cell['most']:.0f}",
        f"{cell['rate']:.0f}",
        f"{cell['sent']}",
        f"{errors}",
        f"{cell['median_ms']:.2f} / {cell['p95_ms']:.2f} / {cell['p99_ms']:.2f}",
    )


def main() -> None:
    """Measure the committed bundle and one of the shape of MiniLM-L6, and save the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="of the rate that is held")
    seconds = parser.parse_args().seconds
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    with tempfile.TemporaryDirectory() as scratch:
        shape = SHAPES["minilm-l6"]
        minilm = Path(scratch) / "minilm.gearshift"
        random_bundle(minilm, shape, uniform_grid(shape), layers_per_stage=shape.layers)
        found = {
            "tiny": measure(TINY, "int8", "w025-d050", seconds),
            "MiniLM-L6": measure(minilm, "int8", "w025-d050", seconds),
        }
    lines = [
        "### `gearshift serve` with the smallest subnet",
        "",
        f"Texts of {len(TEXT.split())} words, one a request, {CONNECTIONS} connections. Server, one thread, and load",
        f"share core {core} of {os.cpu_count()}. Latency from the moment at which a request was due; median / p95 /",
        "p99.",
        "",
        *markdown(
            ("bundle", "`run` alone, texts/s", "most, requests/s", "held, requests/s", "requests", "errors", "ms"),
            [row(name, cell) for name, cell in found.items()],
        ),
    ]
    save("serve-http", {"seconds": seconds, "connections": CONNECTIONS, "cells": found}, lines)


if __name__ == "__main__":
    main()
