"""Latency of the clients for Node, C++ and the JVM beside the Python engine, in turns, on one core with one thread.

    make test-js test-cpp test-jvm      # build the clients, and the bundle
    python -m benchmarks.clients.latency [--rounds 60]

The bundle of twelve subnets of MiniLM-L6's shape. `run` is timed from the text to the answer, tokenizing included, with
the subnet pinned. All processes are loaded at once, and in each round every subnet, length and client has one call, in
a new random order; the others wait meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import onnxruntime

from benchmarks.report import markdown, save
from gearshift.runtime import Engine
from gearshift.runtime.profiles.timing import pin
from tests.clients.onnxruntime_c import BUILD as ONNXRUNTIME
from tests.clients.prepare import BUILD, ROOT, TWELVE

SUBNETS = ("w100-d100", "w050-d050", "w025-d050")
TOKENS = (16, 64)
WARM_UP = 10
LETTERS = "abcdefghijklmnopqrstuv"
"""Letters that the bundle's tokenizer has a token of."""
HERE = Path(__file__).parent

Call = Callable[[str, str], float]
"""Call of a client with a text and the name of a subnet, which returns its milliseconds."""


def cpp_command(scratch: Path) -> list[str]:
    """Build the program of the C++ client; return its command."""
    made, library = scratch / "calls", ONNXRUNTIME / "lib"
    client = ROOT / "clients" / "cpp"
    sources = [str(client / "src" / "gearshift.cpp"), str(HERE / "calls.cpp")]
    headers = [f"-I{path}" for path in (client / "include", client / "src", ONNXRUNTIME / "include")]
    libraries = [f"-L{library}", "-lonnxruntime", "-pthread", f"-Wl,-rpath,{library}"]
    subprocess.run(["c++", "-std=c++17", "-O3", *headers, *sources, *libraries, "-o", str(made)], check=True)
    return [str(made)]


def jvm_command(scratch: Path) -> list[str]:
    """Ask Maven where the packages of the Kotlin client are; return the command of its program."""
    listed = scratch / "classpath"
    asked = ["mvn", "-q", "-B", "dependency:build-classpath", f"-Dmdep.outputFile={listed}"]
    subprocess.run(asked, cwd=ROOT / "clients" / "jvm", check=True)
    path = f"{ROOT / 'build' / 'jvm' / 'classes'}:{listed.read_text()}"
    return ["java", "-cp", path, str(HERE / "Calls.java")]


@contextmanager
def client(command: Sequence[str], precision: str) -> Iterator[Call]:
    """Start the program of a client on the bundle."""
    arguments = [*command, str(BUILD / f"{TWELVE}.gearshift"), precision]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None and stdout is not None
        if stdout.readline() != "ready\n":
            raise SystemExit(f"{command[0]}: the client did not start; run make test-js test-cpp test-jvm")

        def call(text: str, subnet: str) -> float:
            stdin.write(f"{subnet}\t{text}\n")
            stdin.flush()
            return float(stdout.readline())

        yield call
        stdin.close()


def python_call(engine: Engine) -> Call:
    """Return the call of the Python engine."""

    def call(text: str, subnet: str) -> float:
        engine.pin(subnet)
        began = time.perf_counter_ns()
        engine.run(text)
        return (time.perf_counter_ns() - began) / 1e6

    return call


def measure(commands: dict[str, list[str]], precision: str, rounds: int) -> list[dict[str, Any]]:
    """Measure a precision; return the times of every client for each subnet and length."""
    with ExitStack() as stack:
        path = BUILD / f"{TWELVE}.gearshift"
        engine = stack.enter_context(Engine.load(path, threads=1, precision=precision, cache=False))
        calls = {"python": python_call(engine)}
        calls |= {name: stack.enter_context(client(command, precision)) for name, command in commands.items()}
        cells: list[dict[str, Any]] = [
            {"precision": precision, "subnet": subnet, "tokens": tokens, "ms": {name: [] for name in calls}}
            for subnet in SUBNETS
            for tokens in TOKENS
        ]
        turns = [(cell, name) for cell in cells for name in calls]
        shuffle = random.Random(0).shuffle
        for number in range(rounds + WARM_UP):
            shuffle(turns)
            for cell, name in turns:
                text = " ".join(LETTERS[(7 * place + number) % len(LETTERS)] for place in range(cell["tokens"] - 2))
                ms = calls[name](text, cell["subnet"])
                if number >= WARM_UP:
                    cell["ms"][name].append(ms)
    return cells


def ratio(cell: dict[str, Any], name: str) -> float:
    """Return the median of a client over that of Python."""
    return float(statistics.median(cell["ms"][name]) / statistics.median(cell["ms"]["python"]))


def shown(times: Sequence[float]) -> str:
    """Return median and 95th percentile of times."""
    return f"{statistics.median(times):.2f} / {statistics.quantiles(times, n=20)[-1]:.2f}"


def versions() -> dict[str, str]:
    """Return the versions of ONNX Runtime that the clients ask for; C++ has the library of Python's package."""
    package = json.loads((ROOT / "clients" / "js" / "package.json").read_text())
    asked = re.search(
        r"<artifactId>onnxruntime</artifactId>\s*<version>(.*?)<", (ROOT / "clients/jvm/pom.xml").read_text()
    )
    assert asked is not None
    own = onnxruntime.__version__
    return {"Python": own, "Node": package["devDependencies"]["onnxruntime-node"], "C++": own, "JVM": asked[1]}


def row(cell: dict[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    """Return the line of a cell."""
    of_clients = [f"{shown(cell['ms'][name])} ({ratio(cell, name):.2f})" for name in names]
    return f"{cell['precision']}, {cell['subnet']}, {cell['tokens']}", shown(cell["ms"]["python"]), *of_clients


def main() -> None:
    """Measure both precisions, and save the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    pin(1)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        commands = {
            "node": ["node", str(HERE / "calls.mjs")],
            "cpp": cpp_command(Path(scratch)),
            "jvm": jvm_command(Path(scratch)),
        }
        cells = [cell for precision in ("fp32", "int8") for cell in measure(commands, precision, rounds)]
    named = ", ".join(f"{one} {own}" for one, own in versions().items())
    medians = [f"{statistics.median(ratio(cell, name) for cell in cells):.2f}" for name in commands]
    lines = [
        "### Clients beside the Python engine, MiniLM-L6's shape, text to answer",
        "",
        f"One core, one thread, one text, in turns; {rounds} rounds after {WARM_UP}. Median / p95 in ms, and, in",
        f"brackets, the median over that of Python. ONNX Runtime: {named}.",
        f"Load average of the machine, of {os.cpu_count()} CPUs: {load:.1f} at the beginning; beside others only the",
        "ratios mean something.",
        "",
        *markdown(
            ("precision, subnet, tokens", "Python", "Node", "C++", "JVM"),
            [*(row(cell, list(commands)) for cell in cells), ("**median of the ratios**", "", *medians)],
        ),
    ]
    facts = {"rounds": rounds, "warm_up": WARM_UP, "load": load, "onnxruntime": versions(), "cells": cells}
    save("clients-minilm-l6", facts, lines)


if __name__ == "__main__":
    main()
