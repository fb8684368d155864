"""Deadlines kept by the client in a page of Chromium while a worker burns CPU.

    make test-browser                   # makes bundles, the client and Chromium
    taskset -c 1 python -m benchmarks.clients.page [--precision int8] [--requests 800]

The bundle of twelve subnets of MiniLM-L6's shape, in wasm with one thread, on the page's own thread. Requests come one
after another with pauses of 20 ms, each with a deadline of twice the median of the largest subnet, which is measured in
the same page before the worker starts. What is always the largest or smallest subnet is there to compare with.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import statistics
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.report import markdown, save
from tests.browser.prepare import BUILD, environment
from tests.clients.prepare import TWELVE

PAGE = Path(__file__).with_name("page.mjs")
MOST_NAMED = 3


def measure(precision: str, requests: int) -> dict[str, Any]:
    """Run the page; return its facts, and the requests of each phase."""
    chromium = {"CHROMIUM": str(BUILD / "root/usr/lib/chromium/chromium")}
    command = ["node", str(PAGE), f"/made/{TWELVE}.gearshift", precision, str(requests)]
    done = subprocess.run(command, env={**os.environ, **environment(), **chromium}, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def row(name: str, requests: list[dict[str, Any]]) -> tuple[str, ...]:
    """Return the line of a phase."""
    times = sorted(request["ms"] for request in requests)
    met = sum(request["met"] for request in requests)
    subnets = collections.Counter(request["subnet"] for request in requests).most_common(MOST_NAMED)
    named = ", ".join(f"{subnet} {100 * count / len(requests):.0f} %" for subnet, count in subnets)
    spread = f"{statistics.median(times):.1f} / {times[int(0.99 * len(times))]:.1f} / {times[-1]:.1f}"
    return name, f"{met} of {len(times)}", f"{100 * met / len(times):.1f} %", spread, named


def main() -> None:
    """Measure, and save the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=("fp32", "int8"), default="int8")
    parser.add_argument("--requests", type=int, default=800)
    given = parser.parse_args()
    load = os.getloadavg()[0]
    cores = len(os.sched_getaffinity(0))
    found = measure(given.precision, given.requests)
    lines = [
        f"### Deadlines kept in a page while a worker burns CPU: twelve subnets, {given.precision}, wasm",
        "",
        f"Chromium {found['browser'].split('HeadlessChrome/')[-1].split('.')[0]}; page and worker share {cores}",
        f"core(s). The largest subnet, {found['largest']}, has a median of {found['medianMs']:.1f} ms there before the",
        f"worker starts; every deadline is twice that, {found['deadlineMs']:.1f} ms. Load average of the machine, of",
        f"{os.cpu_count()} CPUs: {load:.1f} at the beginning.",
        "",
        *markdown(
            ("", "in time", "share", "median / p99 / most, ms", "subnets that ran most"),
            [row(name, requests) for name, requests in found["phases"].items()],
        ),
    ]
    save(f"client-page-{given.precision}", {"load": load, "shared_cores": cores, **found}, lines)


if __name__ == "__main__":
    main()
