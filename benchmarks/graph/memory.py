"""Memory and load time: all subnets in one elastic session, against one and twelve dedicated sessions.

    python -m benchmarks.graph.memory [--shape minilm-l6|bert-base] [--precision fp32,int8]

Every case runs in a process of its own. PSS and anonymous memory are those of the process (smaps_rollup) less those of
the same process before the graph was loaded, with Python and onnxruntime in memory; the peak is the largest resident
set, bare process included.
`load`: from the call to a session that answers. The graphs have random weights; one core.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from benchmarks.graph.cached import cached_graph, opened
from benchmarks.report import save
from gearshift.runtime.bundle.manifest import INPUTS
from gearshift.runtime.inference.pages import drop, mapped_by
from gearshift.runtime.inference.session import save_packed
from gearshift.runtime.space.space import Option, Space, Stage, cut_space
from gearshift.runtime.space.uniform import uniform_grid

TOKENS = 16
OUTPUT = "logits"


def memory_mb() -> dict[str, float]:
    """Return PSS and anonymous memory of this process, in 10^6 bytes."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return {"pss": kilobytes["Pss"] * 1.024e-3, "anonymous": kilobytes["Anonymous"] * 1.024e-3}


def peak_mb() -> float:
    """Return the largest resident set so far, in 10^6 bytes. `getrusage` would also count the time before `exec`."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1.024e-3


def inputs(choice: list[int]) -> dict[str, Any]:
    """Return one text of TOKENS tokens."""
    ids = np.ones((1, TOKENS), np.int64)
    return {**dict.fromkeys(INPUTS, ids), "choice": np.array(choice, np.int64)}


def measure(graphs: list[Path], choices: list[list[int]], *, mapped: bool) -> dict[str, Any]:
    """Load sessions, run the smallest subnet and then the largest, and return the cost of each step."""
    bare = memory_mb()
    began = time.perf_counter()
    weights = graphs[0].with_suffix(".weights")
    sessions, extents = mapped_by(weights, lambda: [opened(path) for path in graphs])
    load_ms = (time.perf_counter() - began) * 1e3
    ctypes.CDLL(None).malloc_trim(0)
    if mapped:  # as the cache does: packing has touched all of it
        drop(extents)
    steps: dict[str, Any] = {"bare": bare, "load_ms": load_ms, "peak_mb": peak_mb(), "loaded": _above(bare)}
    smallest, largest = (sessions[-1], choices[-1]), (sessions[0], choices[0])
    for name, (session, choice) in (("smallest", smallest), ("largest", largest)):
        steps[f"first_{name}_ms"] = _run_ms(session, choice)
        steps[f"again_{name}_ms"] = min(_run_ms(session, choice) for _ in range(5))
        steps[name] = _above(bare)
    if mapped:
        began = time.perf_counter()
        drop(extents)
        steps["release_ms"] = (time.perf_counter() - began) * 1e3
        _run_ms(*smallest)
        steps["released, smallest"] = _above(bare)
        drop(extents)
        steps["largest_from_page_cache_ms"] = _run_ms(*largest)
        drop(extents)
        with weights.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        steps["largest_from_disk_ms"] = _run_ms(*largest)
    return steps


def _above(bare: dict[str, float]) -> dict[str, float]:
    return {name: value - bare[name] for name, value in memory_mb().items()}


def _run_ms(session: Any, choice: list[int]) -> float:
    began = time.perf_counter()
    session.run([OUTPUT], inputs(choice))
    return (time.perf_counter() - began) * 1e3


def build(folder: Path, shape_name: str, precision: str) -> dict[str, dict[str, Any]]:
    """Write the graphs of every case; return the arguments of `measure` for each."""
    from benchmarks.graph.subjects import SHAPES, random_weights, write_graph  # torch must not be measured

    shape = SHAPES[shape_name]
    weights = random_weights(shape)
    grid = list(uniform_grid(shape).values())
    space, by_layer = cut_space(shape, grid, shape.layers), cut_space(shape, grid, 1)
    elastic = write_graph(folder / "elastic.onnx", weights, space, precision)
    layers = write_graph(folder / "layers.onnx", weights, by_layer, precision)
    cached = cached_graph(folder / "cached", elastic, space, precision)
    save_packed(layers, folder / "packed-layers.onnx", {})
    alone = []
    for number, subnet in enumerate(grid):
        stages = (Stage(0, (Option(subnet.layers),)),)
        alone.append(write_graph(folder / f"alone{number}.onnx", weights, Space(shape, stages), precision))
    ends = (grid[0], min(grid, key=lambda one: one.parameters(shape)))
    choices, layer_choices = ([list(each.choice(subnet)) for subnet in ends] for each in (space, by_layer))
    return {
        "elastic, pool": {"graphs": [elastic], "choices": choices, "mapped": False},
        "elastic, pool, cache": {"graphs": [cached], "choices": choices, "mapped": True},
        "elastic, layer": {"graphs": [layers], "choices": layer_choices, "mapped": False},
        "elastic, layer, cache": {"graphs": [folder / "packed-layers.onnx"], "choices": layer_choices, "mapped": True},
        "largest alone": {"graphs": alone[:1], "choices": [[0], [0]], "mapped": False},
        "twelve alone": {"graphs": alone, "choices": [[0], [0]], "mapped": False},
    }


def run_case(case: dict[str, Any], core: int) -> dict[str, Any]:
    """Run `measure` in a process of its own, on one core."""
    given = json.dumps({**case, "graphs": [str(path) for path in case["graphs"]], "core": core})
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.graph.memory", "--case", given], check=True, capture_output=True, text=True
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def table(results: dict[str, dict[str, Any]]) -> list[str]:
    """Format a table with one row a case."""
    rows = [
        "| | load ms | peak of load | PSS loaded | smallest ran | largest ran | anonymous | given back, smallest ran | "
        "largest from page cache, from disk, again (ms) |",
        "|---" * 9 + "|",
    ]
    for name, steps in results.items():
        pss = [steps[key]["pss"] if key in steps else None for key in ("loaded", "smallest", "largest")]
        back = steps["released, smallest"]["pss"] if "released, smallest" in steps else None
        cells = [steps["load_ms"], steps["peak_mb"], *pss, steps["largest"]["anonymous"], back]
        keys = ("largest_from_page_cache_ms", "largest_from_disk_ms", "again_largest_ms")
        touched = ", ".join(f"{steps[key]:.0f}" for key in keys) if keys[0] in steps else ""
        shown = " | ".join("" if cell is None else f"{cell:.0f}" for cell in cells)
        rows.append(f"| {name} | {shown} | {touched} |")
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=["minilm-l6", "bert-base"], default="minilm-l6")
    parser.add_argument("--precision", default="fp32,int8")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3, help="processes of each case; the median load counts")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case is not None:
        case = json.loads(options.case)
        os.sched_setaffinity(0, {case["core"]})
        print(json.dumps(measure([Path(path) for path in case["graphs"]], case["choices"], mapped=case["mapped"])))
        return
    lines: list[str] = []
    kept: dict[str, Any] = {"shape": options.shape, "onnxruntime": ort.__version__, "tokens": TOKENS}
    for precision in options.precision.split(","):
        with tempfile.TemporaryDirectory() as folder:
            cases = build(Path(folder), options.shape, precision)
            runs = {name: [run_case(case, options.core) for _ in range(options.rounds)] for name, case in cases.items()}
        middle = {
            name: sorted(each, key=lambda steps: float(steps["load_ms"]))[len(each) // 2] for name, each in runs.items()
        }
        kept[precision] = middle
        bare = middle["elastic, pool"]["bare"]["pss"]
        lines += [f"{options.shape} {precision}, MB above the bare process ({bare:.0f} MB PSS)", "", *table(middle), ""]
    save(f"memory-{options.shape}", kept, lines)


if __name__ == "__main__":
    main()
