"""Record how fast this machine works from half a millisecond to the next, while hogs come and go.

    python -m benchmarks.serving.recorded.record [--seconds 70] [--hog-cpu 0]

The work is that of a text of 16 tokens in MiniLM-L6: products with matrices of 24 MB in all, one after another. The
process works without a rest on one CPU. Processor hogs share that CPU, memory hogs run on another one, `--hog-cpu`, so
that they take bandwidth and not time. Each file of work/ has one state of the other work, switched on and off:

    work      share of the full speed in each bin of BIN_MS, x 200
    switches  seconds at which the hogs went on, off, on and so forth
    senses    rows of seconds, others_cpu, cpu_pressure (NaN: unknown)
    unit_ms   ms of one product at full speed: the median of the free machine
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.device.contention import STATES, STREAM
from examples.demo.load import Burners
from gearshift.runtime.sensors.sensors import Sensors

FOLDER = Path(__file__).parent / "work"
BIN_MS, SCALE = 0.5, 200
TOKENS, WIDTH, MATRICES = 16, 384, 40
SENSE_EVERY_S = 0.25
SPELL_S = (1.0, 12.0)
"""Shortest and longest time in seconds for which hogs run, or rest."""


@contextlib.contextmanager
def on_cpus(cpus: set[int]) -> Iterator[None]:
    """Let what starts within run on these CPUs."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def switches(seconds: float, seed: int) -> list[float]:
    """Return the seconds at which hogs go on, off, on and so forth."""
    draw, found, now = random.Random(seed), list[float](), 0.0
    while (now := now + draw.uniform(*SPELL_S)) < seconds:
        found.append(now)
    return found


def record(state: str, seconds: float, seed: int, hog_cpu: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ends of products in s, without the time that sensors took, and the rows of the sensors."""
    draw = np.random.default_rng(0)
    text = draw.normal(size=(TOKENS, WIDTH)).astype(np.float32)
    matrices = [draw.normal(size=(WIDTH, WIDTH)).astype(np.float32) for _ in range(MATRICES)]
    ends, senses = list[float](), list[tuple[float, float, float]]()
    with contextlib.ExitStack() as running:
        processor = running.enter_context(Burners(1))
        with on_cpus({hog_cpu}):
            memory = running.enter_context(Burners(1, STREAM))
        turns, on = switches(seconds, seed), False
        sensors = Sensors()
        sensors.read()
        time.sleep(1.0)  # the hogs have started
        began, sensed, number = time.perf_counter(), 0.0, 0
        while True:
            np.dot(text, matrices[number % MATRICES])
            now = time.perf_counter() - began
            ends.append(now)
            number += 1
            if now > seconds:
                break
            if now - sensed >= SENSE_EVERY_S or (turns and now >= turns[0]):
                if turns and now >= turns[0]:
                    turns.pop(0)
                    on = not on
                    processor.switch(on=on and state in ("processor", "both"))
                    memory.switch(on=on and state in ("memory", "both"))
                seen = sensors.read()
                values = (seen.others_cpu.value, seen.cpu_pressure.value)
                others, pressure = (np.nan if value is None else value for value in values)
                senses.append((now, others, pressure))
                sensed = now
                began = time.perf_counter() - now
    return np.array(ends), np.array(senses)


def binned(ends: NDArray[np.float64], unit_ms: float) -> NDArray[np.uint8]:
    """Return the share of the full speed in each bin, x SCALE: products done x their ms at full speed / BIN_MS."""
    edges = np.arange(0, ends[-1] * 1e3, BIN_MS)
    done = np.interp(edges, np.concatenate(([0.0], ends * 1e3)), np.arange(len(ends) + 1))
    return np.clip(np.rint(np.diff(done) * unit_ms / BIN_MS * SCALE), 0, 255).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=70.0, help="seconds of each state")
    parser.add_argument("--hog-cpu", type=int, default=0, help="CPU of the memory hogs")
    options = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    found = {state: record(state, options.seconds, seed, options.hog_cpu) for seed, state in enumerate(STATES)}
    unit_ms = float(np.median(np.diff(found["free"][0]))) * 1e3
    for seed, (state, (ends, senses)) in enumerate(found.items()):
        work = binned(ends, unit_ms)
        np.savez_compressed(
            FOLDER / f"{state}.npz",
            work=work,
            switches=[] if state == "free" else switches(options.seconds, seed),
            senses=senses.astype(np.float32),
            unit_ms=unit_ms,
        )
        print(state, f"{len(ends)} products of {unit_ms:.4f} ms, mean speed {work.mean() / SCALE:.3f}")


if __name__ == "__main__":
    main()
