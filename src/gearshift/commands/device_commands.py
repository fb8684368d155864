"""Commands that run on the device: answers, decision logs, policies, and what the device has."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gearshift.commands.output import percent as _percent
from gearshift.commands.output import show as _print
from gearshift.commands.output import table as _table
from gearshift.drawing.live import LiveView
from gearshift.runtime import Engine, GearshiftError, InputError, open_bundle
from gearshift.runtime.bundle.compressed import unpacked_entries
from gearshift.runtime.inference.answers import (
    Answer,
    Classification,
    Embedding,
    MultiLabelClassification,
    QuestionAnswering,
    Regression,
    TokenClassification,
)
from gearshift.runtime.inference.providers import CPU
from gearshift.runtime.profiles.store import tables_for
from gearshift.runtime.serving.decision_log import read_log
from gearshift.runtime.serving.request import checked_deadline


def run(options: argparse.Namespace) -> int:
    """Answer texts, each one as soon as it is read."""
    answers: list[dict[str, Any]] = []
    checked_deadline(options.deadline_ms)
    with Engine.load(
        options.bundle,
        threads=options.threads,
        precision=options.precision,
        profile=options.profile,
        target=options.target,
        min_accuracy=options.min_accuracy,
        max_cpu_share=options.max_cpu_share,
        log=options.log,
        cache=options.cache,
        cascade=options.cascade,
    ) as engine:
        engine.pin(options.subnet)
        if options.save_profile is not None:
            engine.save_profile(options.save_profile)
        view = LiveView(sys.stderr) if options.live else None
        # On a terminal the view stands where the answers would; into a file or a pipe they go as ever.
        hidden = view is not None and view.shown and sys.stdout.isatty()
        try:
            for text in _paired(options.texts) if options.pair else _texts(options.texts):
                answer = engine.run(text, deadline_ms=options.deadline_ms)
                if view is not None:
                    view.add(answer, engine.slow_down)
                if options.json:
                    answers.append({"text": text, **_plain(answer)})
                elif not hidden:
                    print(_answer_line(answer), flush=True)
        finally:  # a text that is refused takes no earlier answer with it
            if view is not None:
                view.finish(engine.slow_down)
            if options.json:
                print(json.dumps({"precision": engine.precision, "threads": engine.threads, "answers": answers}))
    return 0


def plot(options: argparse.Namespace) -> int:
    """Draw a decision log."""
    from gearshift.drawing.log import plot_log

    requests = plot_log(read_log(options.log), options.output)
    _print(options, {"plot": str(options.output), "requests": requests}, [f"{options.output}: {requests} requests"])
    return 0


def simulate(options: argparse.Namespace) -> int:
    """Run traces, or a decision log, through policies on this device's latency table; nothing runs really."""
    from gearshift.runtime.simulate.policies import POLICIES
    from gearshift.runtime.simulate.simulator import Ladder, Machine
    from gearshift.runtime.simulate.simulator import simulate as play
    from gearshift.runtime.simulate.traces import Scale, make_trace, read_log

    unknown = [name for name in options.policy if name not in POLICIES]
    if unknown:
        raise InputError(f"--policy: expected some of {', '.join(POLICIES)}, got {', '.join(unknown)}")
    bundle = open_bundle(options.bundle)
    table = tables_for(
        options.profile,
        bundle,
        precisions=bundle.precisions if options.precision is None else options.precision,
        threads=options.threads,
        provider=CPU[0],
    )[0]
    ladder = Ladder.of({name: entry.accuracy for name, entry in bundle.gears(table.precision).items()}, table)
    if Path(options.trace).exists():
        trace = read_log(Path(options.trace))
    else:
        trace = make_trace(options.trace, Scale(table, ladder.names[0], options.seed, options.seconds))
    machines = {name: Machine(trace, ladder) for name in ("static-small", *options.policy)}
    outcomes = {name: play(POLICIES[name](machine), machine) for name, machine in machines.items()}
    smallest = outcomes["static-small"]
    found = {
        name: {
            "deadlines_met": sum(outcomes[name].met) / len(trace.arrivals),
            "met_where_smallest_does": outcomes[name].met_where(smallest),
            "goodput_accuracy": outcomes[name].goodput_accuracy,
            "switches_per_minute": outcomes[name].switches_per_minute,
        }
        for name in options.policy
    }
    result = {
        "bundle": str(bundle.origin),
        "precision": table.precision,
        "trace": trace.name,
        "seed": options.seed,
        "requests": len(trace.arrivals),
        "ladder": list(ladder.names),
        "policies": found,
    }
    header = ("policy", "deadlines met", "where smallest does", "goodput-accuracy", "switches a minute")
    rows = [
        (name, *(_percent(value) for value in list(measures.values())[:3]), f"{measures['switches_per_minute']:.0f}")
        for name, measures in found.items()
    ]
    lines = [f"{trace.name}: {len(trace.arrivals)} requests, {table.precision}, {len(ladder.names)} subnets"]
    _print(options, result, [*lines, *_table(header, rows)])
    return 0


def doctor(options: argparse.Namespace) -> int:
    """Show what this device has; its exit code is by the worst of what was found."""
    from gearshift.runtime.doctor.examine import examine, exit_code
    from gearshift.runtime.inference.packed import PackedCache

    if options.clear_cache:
        cache = PackedCache()
        unpacked = unpacked_entries()
        for directory, freed in ((cache.directory, cache.clear()), (unpacked.directory, unpacked.clear())):
            print(f"gearshift: {directory}: {freed / 1e6:.0f} MB freed", file=sys.stderr)
    report = examine()
    _print(options, report.to_dict(), report.lines())
    if report.problem is not None:
        raise GearshiftError(report.problem)
    return exit_code(report)


def _texts(given: Sequence[str]) -> Iterator[str]:
    """The texts given; `-`, or none at all, stands for the lines of standard input that are not blank."""
    for text in given or ("-",):
        if text == "-":
            yield from _lines_of_standard_input()
        else:
            yield text


def _paired(given: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Two texts at a time, or of each line of standard input the two that a tab divides."""
    if given and "-" not in given:
        if len(given) % 2:
            raise InputError(f"--pair: expected texts two by two, got {len(given)}")
        yield from zip(given[::2], given[1::2], strict=True)
        return
    for line in _lines_of_standard_input():
        first, tab, second = line.partition("\t")
        if not tab:
            raise InputError(f"--pair: expected two texts with a tab between them, got {line[:40]!r}")
        yield first, second


def _lines_of_standard_input() -> Iterator[str]:
    if sys.stdin.isatty():
        print("gearshift: type one text a line, and end with Ctrl-D", file=sys.stderr)
    try:
        yield from (line.strip() for line in sys.stdin if line.strip())
    except UnicodeDecodeError as error:
        raise InputError(f"standard input: expected {error.encoding} text, found {error.reason}; convert it") from error


def _plain(answer: Answer) -> dict[str, Any]:
    """The answer as JSON can take it."""
    fields = asdict(answer)
    return {name: value.tolist() if hasattr(value, "tolist") else value for name, value in fields.items()}


def _shown(answer: Answer) -> str:
    """The task's part of an answer on one line."""
    match answer:
        case Classification():
            return f"{answer.label}  {answer.score:.2f}"
        case MultiLabelClassification():
            return ", ".join(f"{label}  {answer.scores[label]:.2f}" for label in answer.labels) or "no label"
        case Regression():
            return f"{answer.value:.4g}"
        case TokenClassification():
            return ", ".join(f"{entity.text} ({entity.label})" for entity in answer.entities) or "no entity"
        case QuestionAnswering():
            return f"{answer.answer or 'no answer'}  {answer.score:.2f}"
        case Embedding():
            return f"[{', '.join(f'{number:.3f}' for number in answer.vector[:4])}, ...] of {len(answer.vector)}"


def _answer_line(answer: Answer) -> str:
    late = "" if answer.deadline_met in (None, True) else "  late"
    cut = "  truncated" if answer.truncated else ""
    return f"{_shown(answer)}  {answer.subnet}  {answer.latency_ms:.1f} ms  {answer.reason}{late}{cut}"
