"""Half an hour of everything at once, to check that memory stays flat and that an idle engine sleeps.

    python -m benchmarks.serving.soak [BUNDLE] [--minutes 30]

Threads call `run` with single texts and lists; bursts of `submit` overfill the queue, are cancelled and dropped; the
objective changes, pages are released, counters are scraped, a log is written, other programs come and go.
Every five seconds the process's own memory (USS), its threads and its open files are read. Then the engine is left
alone for a minute: its CPU time and the switches of its threads are counted.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import psutil
from matplotlib import pyplot
from tqdm import tqdm

from benchmarks.device.contention import Hogs, random_spells, state_at
from benchmarks.report import RESULTS, save
from gearshift.runtime import DeadlineError, Engine, QueueFullError

matplotlib.use("Agg")


TINY = Path(__file__).parents[2] / "tests" / "data" / "tiny.gearshift"
WORDS = [
    "turn",
    "the",
    "lights",
    "in",
    "the",
    "kitchen",
    "off",
    "and",
    "play",
    "some",
    "quiet",
    "music",
    "until",
    "seven",
]
SAMPLE_S, IDLE_S = 5.0, 60.0
GROWTH_MB = 1.0
"""Growth of memory in 10^6 bytes, between the medians of the second and the last third of the time, that counts as a
leak."""

IDLE_CPU, IDLE_SWITCHES = 0.001, 2.0


@dataclass(frozen=True)
class Sample:
    """State of the process at one moment."""

    at_s: float
    uss_mb: float
    threads: int
    files: int
    requests: int


def text(draw: random.Random) -> str:
    """Draw some words."""
    return " ".join(draw.choices(WORDS, k=draw.choice([1, 3, 8, 40])))


def call(engine: Engine, draw: random.Random) -> None:
    """Make one request, as a caller does."""
    kind = draw.random()
    asked = text(draw) if kind < 0.9 else [text(draw) for _ in range(draw.randrange(1, 9))]
    with contextlib.suppress(DeadlineError):
        engine.run(asked, deadline_ms=None if kind < 0.1 else draw.choice([0.2, 1.0, 5.0, 50.0]))
    time.sleep(draw.uniform(0, 0.02))


def burst(engine: Engine, draw: random.Random) -> None:
    """Submit more requests at once than the queue takes, and cancel some."""
    futures = []
    for _ in range(draw.randrange(1, 300)):
        with contextlib.suppress(QueueFullError):
            futures.append(engine.submit(text(draw), deadline_ms=draw.choice([1.0, 10.0, 100.0])))
    for future in draw.sample(futures, len(futures) // 4):
        future.cancel()
    for future in futures:
        with contextlib.suppress(BaseException):
            future.result()
    time.sleep(draw.uniform(0, 2))


def meddle(engine: Engine, draw: random.Random, port: int) -> None:
    """Change settings, release pages and read metrics, as an operator does."""
    engine.steer(target=draw.choice([0.9, 0.99]), on_miss=draw.choice(["reject", "best_effort"]))
    engine.pin(draw.choice([None, None, None, engine.subnets[0]]))
    engine.release_pages()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        answer.read()
    time.sleep(draw.uniform(0, 4))


def soak(bundle: Path, seconds: float, log: Path) -> tuple[list[Sample], float, float]:
    """Return samples under load, then the share of a CPU and the switches a second of the idle engine."""
    stop, failures = threading.Event(), list[BaseException]()

    def repeat(action: Callable[..., None], *arguments: object, seed: int) -> None:
        draw = random.Random(seed)
        try:
            while not stop.is_set():
                action(engine, draw, *arguments)
        except BaseException as error:
            failures.append(error)

    with Engine.load(bundle, threads=1, log=log, queue_limit=200) as engine:
        port = engine.serve_metrics(0)
        actions: list[tuple[object, ...]] = [(call,), (call,), (burst,), (meddle, port)]
        workers = [
            threading.Thread(target=repeat, args=action, kwargs={"seed": seed}) for seed, action in enumerate(actions)
        ]
        for worker in workers:
            worker.start()
        spells, samples, began = random_spells(seconds, seed=0), list[Sample](), time.monotonic()
        with Hogs(1) as hogs, tqdm(total=round(seconds), unit="s", disable=None) as bar:
            while (now := time.monotonic() - began) < seconds and not failures:
                hogs.set(state_at(spells, now))
                samples.append(sample(now, engine))
                bar.n = round(now)
                bar.refresh()
                time.sleep(SAMPLE_S)
        stop.set()
        for worker in workers:
            worker.join()
        if failures:
            raise failures[0]
        engine.pin(None)
        time.sleep(10)  # the slow loop falls asleep
        return samples, *idle()


def sample(now: float, engine: Engine) -> Sample:
    """Read the present state of the process."""
    process = psutil.Process()
    uss = process.memory_full_info().uss
    return Sample(now, uss / 1e6, process.num_threads(), process.num_fds(), engine.stats()["requests"])


def idle() -> tuple[float, float]:
    """Measure the share of a CPU, and voluntary switches a second of all threads, without requests."""
    before, switches = time.process_time(), _switches()
    time.sleep(IDLE_S)
    # One switch is this thread's own, which the clock wakes.
    return (time.process_time() - before) / IDLE_S, (_switches() - switches) / IDLE_S


def _switches() -> int:
    total = 0
    for task in Path("/proc/self/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                total += int(line.split()[1])
    return total


def growth_mb(samples: Sequence[Sample]) -> float:
    """Return the median of the last third less that of the second."""
    third = len(samples) // 3
    return statistics.median(one.uss_mb for one in samples[2 * third :]) - statistics.median(
        one.uss_mb for one in samples[third : 2 * third]
    )


def plot(samples: Sequence[Sample], path: Path) -> None:
    """Plot memory over time."""
    figure, axes = pyplot.subplots(figsize=(9, 4))
    axes.plot([one.at_s / 60 for one in samples], [one.uss_mb for one in samples])
    axes.set_xlabel("minutes")
    axes.set_ylabel("memory of its own (USS), MB")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.set_title(f"{samples[-1].requests} requests answered")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("bundle", type=Path, nargs="?", default=TINY)
    parser.add_argument("--minutes", type=float, default=30.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.jsonl"
        samples, cpu, switches = soak(options.bundle, 60 * options.minutes, log)
        log_mb = log.stat().st_size / 1e6
    grown, last = growth_mb(samples), samples[-1]
    first = samples[1]  # the second one: the worker's thread is there by then
    verdicts = [
        ("memory grows by", f"{grown:.2f} MB", f"under {GROWTH_MB} MB", grown < GROWTH_MB),
        ("threads, first and last", f"{first.threads}, {last.threads}", "the same", first.threads == last.threads),
        ("files, first and last", f"{first.files}, {last.files}", "3 more at most", last.files <= first.files + 3),
        ("idle: share of a CPU", f"{100 * cpu:.3f} %", "under 0.1 %", cpu < IDLE_CPU),
        ("idle: switches a second", f"{switches:.2f}", "2 at most", switches <= IDLE_SWITCHES),
    ]
    lines = [
        f"### {options.minutes:g} minutes, {last.requests} requests answered, {log_mb:.0f} MB of log",
        "",
        "| | measured | target | |",
        "|---|---|---|---|",
        *(f"| {what} | {found} | {target} | {'met' if met else 'MISSED'} |" for what, found, target, met in verdicts),
    ]
    facts = {
        "command": "python -m benchmarks.serving.soak",
        "minutes": options.minutes,
        "growth_mb": grown,
        "idle_cpu": cpu,
        "idle_switches_per_s": switches,
        "samples": [vars(one) for one in samples[:: max(1, len(samples) // 60)]],
    }
    save("soak", facts, lines)
    plot(samples, RESULTS / "soak.png")
    if not all(met for *_, met in verdicts):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
