"""Cascade of a DAN and the most accurate subnet: accuracy against mean latency, by the requested agreement.

    OMP_NUM_THREADS=1 python -m benchmarks.dan.cascade NAME --bundle BUNDLE --data DATA --work FOLDER [--texts 100]

Accuracy and agreement are on all test rows; the threshold follows from dev rows, on which the bundle's DAN was
calibrated.
Latency is that of `Engine.run` without a deadline, on texts spread over the test rows: an engine for each agreement,
and one with each subnet pinned, answer all of them, in turns. int8, one thread.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import RESULTS, markdown, save
from gearshift.runtime import Engine, InputError
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.dan.model import Text, open_dan
from gearshift.runtime.inference.answers import probabilities
from gearshift.trainer.dan.teacher_logits import teacher_logits
from gearshift.trainer.dan.train import text_of
from gearshift.trainer.data.splits import read_data
from gearshift.trainer.data.unseen import classes_of

AGREEMENTS = (0.9, 0.95, 0.97, 0.98, 0.99, 0.995)
PRECISION = "int8"
Classes = NDArray[np.int64]


def main() -> None:
    """Measure, print the table, and save it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    for option in ("--bundle", "--data", "--work"):
        parser.add_argument(option, type=Path, required=True)
    parser.add_argument("--texts", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    bundle, data = open_bundle(options.bundle), read_data(options.data)
    rows = data.splits["test"]
    texts = [text_of(row) for row in rows]
    right = np.array(classes_of(rows, data.labels))
    graph = teacher_logits(options.bundle, texts, data.labels, cache=options.work / "logits").argmax(1)
    cascades = _cascades(bundle, texts, graph, right)
    times = _times(bundle, list(cascades), texts[:: max(1, len(texts) // options.texts)], options.rounds)
    facts = {
        "rows": len(rows),
        "texts": options.texts,
        "rounds": options.rounds,
        "cascades": {str(asked): {**found, "ms": times[str(asked)]} for asked, found in cascades.items()},
        "gears": {
            name: {"accuracy": entry.accuracy, "ms": times[name]} for name, entry in bundle.entries(PRECISION).items()
        },
    }
    save(f"dan-cascade-{options.name}", facts, _lines(options.name, facts))
    _plot(RESULTS / f"dan-cascade-{options.name}.png", options.name, facts)


def _cascades(bundle: Bundle, texts: Sequence[Text], graph: Classes, right: Classes) -> dict[float, dict[str, float]]:
    """Return the outcome of each agreement on the test rows; one that the dev rows cannot guarantee is left out."""
    assert bundle.dan is not None, f"{bundle.path} has no DAN"
    dan = open_dan(bundle.path / bundle.dan.file)
    assert dan.calibration is not None, f"{bundle.path}: its DAN is not calibrated"
    logits = dan.run(texts)
    sure, mine = probabilities(logits).max(1), logits.argmax(1)
    found = {}
    for asked in AGREEMENTS:
        threshold = dan.calibration.threshold(asked)
        answered = sure >= threshold
        answer = np.where(answered, mine, graph)
        if threshold < 2:
            found[asked] = {
                "threshold": threshold,
                "answered": float(np.mean(answered)),
                "agreement": float(np.mean(answer == graph)),
                "accuracy": float(np.mean(answer == right)),
            }
    return found


def _times(bundle: Bundle, agreements: Sequence[float], texts: Sequence[Text], rounds: int) -> dict[str, float]:
    """Return the mean latency in ms of each cascade and of each executor alone."""
    times: dict[str, list[float]] = {}
    with contextlib.ExitStack() as stack:
        load: dict[str, Any] = {"precision": PRECISION, "threads": 1, "sensors": False}
        plain = stack.enter_context(Engine.load(bundle.path, **load))
        profile = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "profile.json"
        plain.save_profile(profile)
        runs: dict[str, Callable[[Text], Any]] = {}
        for asked in agreements:
            with contextlib.suppress(InputError):
                engine = stack.enter_context(Engine.load(bundle.path, **load, profile=profile, cascade=asked))
                runs[str(asked)] = engine.run
        runs |= {name: _pinned(plain, name) for name in plain.subnets}
        order, shuffle = list(runs), random.Random(0).shuffle
        for _ in range(rounds):
            shuffle(order)
            for name in order:
                times.setdefault(name, []).extend(runs[name](text).latency_ms for text in texts)
    return {name: statistics.mean(values) for name, values in times.items()}


def _pinned(engine: Engine, name: str) -> Callable[[Text], Any]:
    def run(text: Text) -> Any:
        engine.pin(name)
        return engine.run(text)

    return run


def _lines(name: str, facts: Mapping[str, Any]) -> list[str]:
    cascades = [
        [
            f"cascade, {100 * float(asked):g} % agreement asked for",
            f"{100 * found['answered']:.1f}",
            f"{100 * found['agreement']:.1f}",
            f"{100 * found['accuracy']:.1f}",
            f"{found['ms']:.2f}",
        ]
        for asked, found in facts["cascades"].items()
    ]
    gears = [
        [gear, "100" if gear == "dan" else "", "", f"{100 * found['accuracy']:.1f}", f"{found['ms']:.2f}"]
        for gear, found in facts["gears"].items()
    ]
    header = ["", "by the DAN, %", "as the most accurate subnet, %", "accuracy, %", "mean ms"]
    return [
        f"### Cascade on {name}",
        "",
        f"{facts['rows']} test rows; mean latency of {facts['texts']} of them without a deadline, {facts['rounds']} "
        "rounds in turns, int8, one thread. Accuracy of a gear alone is the bundle's.",
        "",
        *markdown(header, [*cascades, *gears]),
    ]


def _plot(path: Path, name: str, facts: Mapping[str, Any]) -> None:
    """Plot accuracy over mean latency: cascades as a line, executors as points."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    cascades = facts["cascades"]
    axes.plot(
        [found["ms"] for found in cascades.values()],
        [100 * found["accuracy"] for found in cascades.values()],
        "o-",
        label="cascade",
    )
    for asked, found in cascades.items():
        axes.annotate(
            f"{100 * float(asked):g} %",
            (found["ms"], 100 * found["accuracy"]),
            xytext=(4, -10),
            textcoords="offset points",
        )
    for gear, found in facts["gears"].items():
        axes.plot(found["ms"], 100 * found["accuracy"], "C3s" if gear == "dan" else "C1s")
        axes.annotate(
            gear, (found["ms"], 100 * found["accuracy"]), xytext=(4, 4), textcoords="offset points", fontsize=7
        )
    axes.set_xscale("log")
    axes.set_xlabel("mean latency, ms")
    axes.set_ylabel("accuracy on test rows, %")
    axes.set_title(f"{name}: a cascade by the agreement that is asked for, and gears alone")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
