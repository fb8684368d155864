"""One elastic graph against one file for each of four exits, on a ModernBERT shape of 22 layers.

    python -m benchmarks.graph.exits [--lengths 16,128,512] [--precision fp32,int8] [--rounds 5]

An exit is the net up to a layer, with the head behind it: 22, 16, 11 or 6 layers of a ModernBERT-base with random
weights. Either one graph of ours lists the four as its options, or each has a dedicated graph of the same operators.

* bytes: graphs with their weights files.
* memory and load: of a process of its own with all four loaded, above the bare process (PSS), after the smallest and
  the largest answered; medians of processes.
* latency: all in turns in one process, medians.
* switch: CPU time of a call after another exit over one after the same, and, for four files of which one is kept in
  memory, the time to load another one and answer (files in the page cache).

One core, one thread, batch 1.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnxruntime as ort

from benchmarks.graph.elastic import runner
from benchmarks.graph.memory import TOKENS, run_case
from benchmarks.graph.sessions import our_session
from benchmarks.graph.subjects import SHAPES, Inputs, random_weights, write_graph
from benchmarks.graph.switch import LOADS, alternate, load_and_answer
from benchmarks.report import markdown, save
from gearshift.export.graph.segments import Array
from gearshift.runtime.profiles.timing import WARM_UP, Times, interleave, pin
from gearshift.runtime.space.space import Space, cut_space
from gearshift.runtime.space.subnet import Subnet

SHAPE = SHAPES["modernbert-base"]
EXITS = (22, 16, 11, 6)
"""Layers of each exit, all first ones."""
SWITCHES = 12
"""Timed calls after another exit, and after the same."""


@dataclass(frozen=True)
class Files:
    """Graphs of one way to ship the exits."""

    paths: list[Path]
    """The elastic graph, or a graph for each exit."""
    choices: dict[int, tuple[int, ...]]
    """Layers of an exit -> choice in its graph."""

    @property
    def megabytes(self) -> float:
        """Return the size of graphs and weights, in 10^6 bytes."""
        files = [each for path in self.paths for each in (path, path.with_suffix(".weights"))]
        return sum(file.stat().st_size for file in files) / 1e6

    def case(self) -> dict[str, Any]:
        """Return the arguments of `memory.measure`."""
        ends = [list(self.choices[layers]) for layers in (EXITS[0], EXITS[-1])]
        return {"graphs": self.paths, "choices": ends, "mapped": False}


@dataclass(frozen=True)
class Result:
    """Figures of one precision; ways are `elastic` and `four files`."""

    precision: str
    megabytes: dict[str, float]
    load_ms: dict[str, float]
    memory_mb: dict[str, float]
    latency: dict[int, dict[str, Times]]
    """Tokens -> `elastic, 22` ... -> times."""
    switch_ms: float
    """Median CPU milliseconds of a switch in the elastic graph."""
    reload_ms: dict[int, float]
    """Layers of an exit -> median milliseconds to load its file and answer."""


def main() -> None:
    """Measure, print tables and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.graph.exits", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--lengths", default="16,128,512", help="tokens")
    parser.add_argument("--precision", default="fp32,int8")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    (core,) = cores = pin()
    lengths = [int(text) for text in options.lengths.split(",")]
    weights = random_weights(SHAPE)
    results = []
    for precision in options.precision.split(","):
        with tempfile.TemporaryDirectory() as scratch:
            results.append(measure(Path(scratch), weights, precision, lengths, options.rounds, core))
    facts = {
        "command": f"python -m benchmarks.graph.exits --lengths {options.lengths} --precision {options.precision} "
        f"--rounds {options.rounds}",
        "cores": cores,
        "threads": 1,
        "batch": 1,
        "rounds": options.rounds,
        "warm_up": WARM_UP,
        "loads": LOADS,
        "switches": SWITCHES,
        "results": [asdict(result) for result in results],
    }
    save("exits-modernbert-base", facts, table(results))


def write_files(folder: Path, weights: dict[str, Array], precision: str) -> dict[str, Files]:
    """Write the elastic graph of the exits, and a graph for each of them."""
    whole = (SHAPE.heads, SHAPE.neurons)
    exits = {layers: Subnet((whole,) * layers + ((0, 0),) * (SHAPE.layers - layers)) for layers in EXITS}
    space = cut_space(SHAPE, list(exits.values()), SHAPE.layers)
    elastic = write_graph(folder / "elastic.onnx", weights, space, precision)
    alone: list[Path] = []
    for layers, subnet in exits.items():
        own: Space = cut_space(SHAPE, [subnet], SHAPE.layers)
        alone.append(write_graph(folder / f"exit{layers}.onnx", weights, own, precision))
    return {
        "elastic": Files([elastic], {layers: space.choice(subnet) for layers, subnet in exits.items()}),
        "four files": Files(alone, dict.fromkeys(EXITS, (0,))),
    }


def measure(
    folder: Path, weights: dict[str, Array], precision: str, lengths: list[int], rounds: int, core: int
) -> Result:
    """Measure one precision."""
    ways = write_files(folder, weights, precision)
    processes = {name: [run_case(files.case(), core) for _ in range(3)] for name, files in ways.items()}
    sessions = {
        (name, layers): session
        for name, files in ways.items()
        for layers, session in zip(EXITS, _sessions(files), strict=True)
    }
    latency = {}
    for tokens in lengths:
        inputs = Inputs.of_length(SHAPE, tokens).arrays
        runs = {
            f"{name}, {layers}": runner(session, inputs, ways[name].choices[layers])
            for (name, layers), session in sessions.items()
        }
        latency[tokens] = {each: Times.of(values) for each, values in interleave(runs, rounds=rounds).items()}
    inputs = Inputs.of_length(SHAPE, TOKENS).arrays
    calls = {
        str(layers): runner(session, inputs, ways[name].choices[layers])
        for (name, layers), session in sessions.items()
        if name == "elastic"
    }
    same, other = alternate(calls, SWITCHES * len(EXITS), f"{precision}, switches")
    costs = [statistics.median(other[name]) - statistics.median(same[name]) for name in calls]
    reload_ms = {
        layers: load_and_answer(SHAPE, {str(layers): path}, TOKENS)
        for layers, path in zip(EXITS, ways["four files"].paths, strict=True)
    }
    return Result(
        precision,
        megabytes={name: files.megabytes for name, files in ways.items()},
        load_ms=_medians(processes, lambda steps: float(steps["load_ms"])),
        memory_mb=_medians(processes, lambda steps: float(steps["largest"]["pss"])),
        latency=latency,
        switch_ms=statistics.median(costs),
        reload_ms=reload_ms,
    )


def _sessions(files: Files) -> list[ort.InferenceSession]:
    """Return the session of each exit: the same for all of an elastic graph."""
    opened = [our_session(path) for path in files.paths]
    return opened if len(opened) > 1 else opened * len(EXITS)


def _medians(processes: Mapping[str, list[dict[str, Any]]], of: Any) -> dict[str, float]:
    return {name: statistics.median(map(of, runs)) for name, runs in processes.items()}


def table(results: list[Result]) -> list[str]:
    """Format what each way costs, and the latencies, as Markdown."""
    costs, times = [], []
    for result in results:
        reload = " / ".join(f"{ms:.0f}" for ms in result.reload_ms.values())
        for name, switch in (("elastic", f"{result.switch_ms:.2f}"), ("four files", reload)):
            figures = (result.megabytes[name], result.memory_mb[name], result.load_ms[name])
            costs.append([f"{result.precision}, {name}", *(f"{figure:.0f}" for figure in figures), switch])
        for tokens, found in result.latency.items():
            pairs = [(found[f"elastic, {each}"].median_ms, found[f"four files, {each}"].median_ms) for each in EXITS]
            cells = [f"{one:.1f} / {other:.1f} ({one / other:.2f})" for one, other in pairs]
            times.append([f"{result.precision}, {tokens}", *cells])
    exits = [f"{layers} layers" for layers in EXITS]
    return [
        f"### ModernBERT-base shape: one elastic graph or a file for each exit of {', '.join(map(str, EXITS))} layers",
        "",
        *markdown(["", "MB on disk", "MB in memory, all ready", "load, ms", "switch, ms"], costs),
        "",
        "Switch of four files: to load one of them and answer, by exit. Latency, elastic / its own file (ratio), ms:",
        "",
        *markdown(["precision, tokens", *exits], times),
    ]


if __name__ == "__main__":
    main()
