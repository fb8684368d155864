"""Cost of a decision, and overhead of the engine over a bare call of the graph.

    python -m benchmarks.serving.decision BUNDLE [--rounds 3000]

Decisions: every request of the simulator's bursts (with a queue of up to eight) and of its contention, as the
controller decides them, on one core.
Overhead: `engine.run` against a program that tokenizes the same text and calls `InferenceSession.run` of the same graph
and subnet, in random order, both without the tokenizing within: the ratio of medians.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import save
from benchmarks.serving.subjects import ladder_of
from gearshift.cpus import available_cpus
from gearshift.runtime import Engine
from gearshift.runtime.inference.text import Encoded, Text, TextEncoder
from gearshift.runtime.reading.options import RequestReader
from gearshift.runtime.simulate.policies import Ours
from gearshift.runtime.simulate.simulator import Ladder, Machine, Turn, simulate
from gearshift.runtime.simulate.traces import Scale, make_trace

TRACES = ("bursts-8", "contention")
ROUNDS, WARM_UP = 3000, 200
TOKENS = 16
TARGETS = {"fp32": 1.03, "int8": 1.06}


class Timed(Ours):
    """The controller, with a stop-watch."""

    def __init__(self, machine: Machine, **settings: Any) -> None:
        super().__init__(machine, **settings)
        self.deciding: list[int] = []
        self.learning: list[int] = []

    def decide(self, turn: Turn) -> tuple[int, float]:
        began = time.perf_counter_ns()
        found = super().decide(turn)
        self.deciding.append(time.perf_counter_ns() - began)
        return found

    def record(self, turn: Turn, rung: int, run_ms: float, met: bool, now: float) -> None:
        began = time.perf_counter_ns()
        super().record(turn, rung, run_ms, met, now)
        self.learning.append(time.perf_counter_ns() - began)


def decisions(ladder: Ladder, name: str) -> dict[str, Any]:
    """Measure the microseconds of deciding and of learning, over one trace."""
    trace = make_trace(name, Scale(ladder.table, ladder.names[0], seed=11))
    machine = Machine(trace, ladder)
    timed = Timed(machine)
    simulate(timed, machine)
    return {
        "trace": name,
        "rungs": len(ladder.names),
        "decisions": len(timed.deciding),
        **{
            f"{what}_p{share}_us": float(np.percentile(times, share)) / 1e3
            for what, times in (("decide", timed.deciding), ("record", timed.learning))
            for share in (50, 99)
        },
    }


def overhead(bundle: Path, precision: str, rounds: int) -> dict[str, Any]:
    """Measure the engine against the bare session, on the largest subnet and a text of some 16 tokens."""
    with Engine.load(bundle, threads=1, precision=precision) as engine:
        opened = engine._opened
        encoder, plain = Watched(opened.texts), Watched(opened.texts)
        engine._reader = RequestReader(dataclasses.replace(opened, encoder=encoder))  # type: ignore[arg-type]
        text = text_of(opened.texts, TOKENS)
        subnet = max(engine.pool.values(), key=lambda entry: entry.macs)
        engine.pin(subnet.name)
        choice = np.asarray(subnet.choice, dtype=np.int64)
        session, output = opened.session._session, opened.session.heads[0].output  # the engine's own session

        def bare() -> object:
            inputs = plain.encode([text]).calls[0].inputs
            return session.run([output], {**inputs, "choice": choice})

        calls: dict[str, Callable[[], object]] = {
            "bare": bare,
            "engine": lambda: engine.run(text, deadline_ms=1000),
        }
        times = in_turns(calls, rounds)
    medians = {
        name: statistics.median(whole - its for whole, its in zip(found, watched.times[-rounds:], strict=True))
        for (name, found), watched in zip(times.items(), (plain, encoder), strict=True)
    }
    return {
        "precision": precision,
        "subnet": subnet.name,
        **{f"{name}_us": value / 1e3 for name, value in medians.items()},
        "tokenizing_us": statistics.median(encoder.times[-rounds:]) / 1e3,
        "ratio": medians["engine"] / medians["bare"],
        "target": TARGETS[precision],
        "rounds": rounds,
    }


class Watched:
    """A tokenizer with a stop-watch: its time within the engine, where the graph has used up the caches."""

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder
        self.times: list[int] = []

    def encode(self, texts: Sequence[Text]) -> Encoded:
        began = time.perf_counter_ns()
        found = self._encoder.encode(texts)
        self.times.append(time.perf_counter_ns() - began)
        return found


def text_of(encoder: TextEncoder | Watched, tokens: int) -> str:
    """Return words that make at least `tokens` tokens."""
    for words in range(1, tokens):
        text = "play music " * words
        if encoder.encode([text]).tokens[0] >= tokens:
            return text
    raise AssertionError(f"no text of {tokens} tokens")


def in_turns(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[int]]:
    """Measure the nanoseconds of each call, in rounds, in random order."""
    times: dict[str, list[int]] = {name: [] for name in calls}
    shuffle = random.Random(0)
    for number in range(rounds + WARM_UP):
        for name, call in shuffle.sample([*calls.items()], len(calls)):
            began = time.perf_counter_ns()
            call()
            if number >= WARM_UP:
                times[name].append(time.perf_counter_ns() - began)
    return times


def lines_of(deciding: Sequence[dict[str, Any]], adding: Sequence[dict[str, Any]]) -> list[str]:
    """Format the results as Markdown."""
    return [
        "### Microseconds of one decision (target: p99 under 20), and of learning from a request",
        "",
        "| trace | rungs | decisions | decide p50 | p99 | learn p50 | p99 |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {one['trace']} | {one['rungs']} | {one['decisions']} | {one['decide_p50_us']:.1f} "
            f"| {one['decide_p99_us']:.1f} | {one['record_p50_us']:.1f} | {one['record_p99_us']:.1f} |"
            for one in deciding
        ),
        "",
        f"### Engine without tokenizing / bare session, one thread, {TOKENS} tokens, medians of {adding[0]['rounds']} "
        "in turns",
        "",
        "| precision | subnet | bare, us | engine, us | tokenizing, us | ratio | target |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {one['precision']} | {one['subnet']} | {one['bare_us']:.0f} | {one['engine_us']:.0f} "
            f"| {one['tokenizing_us']:.0f} | {one['ratio']:.3f} | {one['target']} |"
            for one in adding
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="calls of the engine and of the bare session")
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(available_cpus())})
    deciding = [decisions(ladder_of("snips-fp32"), name) for name in TRACES]
    adding = [overhead(options.bundle, precision, options.rounds) for precision in TARGETS]
    facts = {
        "command": f"python -m benchmarks.serving.decision BUNDLE --rounds {options.rounds}",
        "decisions": deciding,
        "overhead": adding,
    }
    save("decision", facts, lines_of(deciding, adding))


if __name__ == "__main__":
    main()
