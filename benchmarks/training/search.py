"""Accuracy of block tables as predictions of losses, quality of the pool that they choose, and speed of look-ups.

    python -m benchmarks.training.search RUN [--data DATA] [--random 200] [--pool 50] [--separate]

Searches a trained supernet (as `gearshift search RUN` does), and then, one thread:

1. Random subnets, drawn uniformly from the tables' space, are scored on the dev rows: summed against measured loss.
2. At the latency of each of DynaBERT's uniform subnets on one machine (64 tokens; `layer_latency` fitted to measured
   subnets of the same encoder, `search-latency.json`), the pool's member of least loss on the dev rows, which the pool
   was chosen on, meets the best uniform subnet by that loss, on the test rows. The interval is that of the paired
   difference.
3. Evolution (OFA's) searches for the least loss at two latencies, with as many measured losses for each as the tables
   and their candidates took for all.
4. Look-ups under new constraints: these tables, and random ones of 12 stages x 5 options. Times are CPU times.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from numpy.typing import NDArray
from scipy.stats import spearmanr
from tqdm import tqdm

from benchmarks.blocks.look_up import look_up, look_up_large, times_of
from benchmarks.device.latency_sums import Measured, measure, table_of
from benchmarks.device.latency_sums import draw as draw_measured
from benchmarks.report import RESULTS, markdown, save
from benchmarks.training.evolution import Evolution, evolve
from gearshift.drawing.search import plot_search
from gearshift.runtime.files.atomic import replace_file
from gearshift.runtime.profiles.store import this_device
from gearshift.runtime.profiles.timing import pin
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import Choice
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.space.uniform import subnet_name, uniform_grid
from gearshift.runtime.tables.layer_latency import LayerLatency, fit_layer_latency
from gearshift.runtime.tables.limits import Limits
from gearshift.runtime.tables.tables import Tables
from gearshift.trainer.data.batches import EncodedRows
from gearshift.trainer.data.splits import DataSet, read_data
from gearshift.trainer.model.run import Run, encode_held_out, load_supernet
from gearshift.trainer.search.search import Scorer, SearchReport, search_run, search_space

TOKENS = 64
LATENCY = RESULTS / "search-latency.json"
SHARES = (0.35, 0.6)
"""Latencies at which evolution and tables meet, as shares of the full subnet's."""


def main() -> None:
    """Measure, print a table and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training.search", description=__doc__.split("\n", 1)[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--random", type=int, default=200)
    parser.add_argument("--pool", type=int, default=50)
    parser.add_argument("--latency", type=Path, default=LATENCY, help="latencies, measured on this machine if missing")
    parser.add_argument("--rescored", type=int, default=200)
    parser.add_argument("--dev-rows", type=int, default=0, help="number of dev rows, drawn at random (default: all)")
    parser.add_argument("--separate", action="store_true", help="heads and neurons at widths of their own")
    options = parser.parse_args()
    torch.set_num_threads(1)
    run = load_supernet(options.run)
    path = options.data or run.data_path
    assert path is not None, "pass --data"
    data = fewer(read_data(path, task=run.checkpoint.task), options.dev_rows)
    device = device_of(run.checkpoint.model.shape, options.latency)
    began = time.process_time()
    report = search_run(run, data, pool=options.pool, rescored=options.rescored, separate=options.separate)
    seconds = time.process_time() - began
    run = load_supernet(options.run)  # with the pool
    scorer = Scorer(run.checkpoint.model, rows_of(run, data, "dev"))
    points = foretold(report.tables, scorer, options.random)
    rank = float(spearmanr(*zip(*points, strict=True)).statistic)
    rows = compare(run, rows_of(run, data, "test"), scorer, device)
    rivals = [rival(report, scorer, device, share) for share in tqdm(SHARES, desc="evolution", disable=None)]
    name = f"search-{options.run.name}{'-separate' if options.separate else ''}"
    flags = " --separate" if options.separate else ""
    facts = {
        "command": f"python -m benchmarks.training.search {options.run.name} --random {options.random} "
        f"--pool {options.pool} --rescored {options.rescored} --dev-rows {options.dev_rows}{flags}",
        "data": options.run.name,
        "supernet": run.facts["settings"],
        "computed_on": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "dev_rows": report.tables.loss_rows,
        "test_rows": report.test_rows,
        "search_s": seconds,
        "evaluations": report.evaluations,
        "random_subnets": len(points),
        "spearman": rank,
        "look_up_ms": {"these": times_of(look_up(report.tables)), "12 x 5": times_of(look_up_large())},
        "against_uniform": rows,
        "evolution": rivals,
    }
    save(name, facts, lines_of(name, facts, report))
    plot_search(report, RESULTS / f"{name}-pool.png", {"latencies of search-latency.json": device})
    plot(points, rows, RESULTS / f"{name}.png")


def fewer(data: DataSet, dev_rows: int) -> DataSet:
    """Return the data with only `dev_rows` of its dev rows."""
    dev = data.splits["dev"]
    if not 0 < dev_rows < len(dev):
        return data
    return replace(data, splits={**data.splits, "dev": tuple(random.Random(0).sample(dev, dev_rows))})


def rows_of(run: Run, data: DataSet, split: str) -> EncodedRows:
    """Return a split's rows as the supernet reads them."""
    return encode_held_out(run, data.splits[split])


def device_of(shape: EncoderShape, path: Path) -> LayerLatency:
    """Return the latencies of an encoder of that shape in fp32, from a file that is measured on this machine if it is
    missing."""
    space = search_space(shape, (1.0, 0.75, 0.5, 0.25), 1)
    subnets, _ = draw_measured(space, 24, 0)
    if not path.is_file():
        pin(1)
        times = measure(shape, space, subnets, "fp32", 9)
        medians = {name: [[float(np.median(runs))] for runs in columns] for name, columns in times.items()}
        found = {"device": this_device().to_dict(), "threads": 1, "rounds": 9, "median_ms": medians}
        replace_file(path, (json.dumps(found) + "\n").encode())
    measured: Measured = json.loads(path.read_text(encoding="utf-8"))["median_ms"]
    return fit_layer_latency(shape, subnets, table_of(measured, "fp32"))


def foretold(tables: Tables, scorer: Scorer, count: int) -> list[tuple[float, float]]:
    """Return (summed, measured) losses of random subnets."""
    source = random.Random(0)
    drawn: dict[Subnet, None] = {}
    while len(drawn) < count:
        choice = tuple(source.randrange(len(rows)) for rows in tables.rows)
        if not all(stage.options[k].skips for stage, k in zip(tables.space.stages, choice, strict=True)):
            drawn[tables.space.subnet(choice)] = None
    return [(tables.loss(subnet), scorer(subnet)) for subnet in tqdm(drawn, desc="losses", disable=None)]


@torch.no_grad()
def correct(run: Run, subnet: Subnet, rows: EncodedRows) -> NDArray[np.float64]:
    """Return (rows,) 1 for each row that a subnet answers right."""
    found = np.zeros(len(rows))
    model = run.checkpoint.model.eval()
    for batch in rows.batches(64):
        answers = model(batch.to(model.device), subnet).logits.argmax(-1).cpu()
        found[batch.indices.numpy()] = (answers == batch.labels).numpy()
    return found


def compare(run: Run, test: EncodedRows, scorer: Scorer, device: LayerLatency) -> list[dict[str, Any]]:
    """Compare, at each uniform subnet's latency, the best of the pool with the best uniform one, both picked on dev
    rows."""
    shape = run.checkpoint.model.shape
    grid = uniform_grid(shape)
    times = {subnet: device.predict(subnet, TOKENS) for subnet in (*grid.values(), *run.subnets.values())}
    known: dict[Subnet, NDArray[np.float64]] = {}

    def best(of: Sequence[Subnet], limit: float) -> Subnet:
        fitting = [one for one in of if times[one] <= limit * (1 + 1e-9)]
        return min(fitting or [min(of, key=lambda one: times[one])], key=scorer)

    def answers(subnet: Subnet) -> NDArray[np.float64]:
        if subnet not in known:
            known[subnet] = correct(run, subnet, test)
        return known[subnet]

    rows = []
    for name, subnet in tqdm(grid.items(), desc="uniform", disable=None):
        mine, its = best(list(run.subnets.values()), times[subnet]), best(list(grid.values()), times[subnet])
        difference = answers(mine) - answers(its)
        rows.append(
            {
                "at": name,
                "ms": times[subnet],
                "pool_ms": times[mine],
                "uniform": subnet_name(shape, its),
                "pool": subnet_name(shape, mine),
                "uniform_accuracy": float(answers(its).mean()),
                "pool_accuracy": float(answers(mine).mean()),
                "gain": float(difference.mean()),
                "interval": float(1.96 * difference.std(ddof=1) / np.sqrt(len(difference))),
            }
        )
    return rows


def rival(report: SearchReport, scorer: Scorer, device: LayerLatency, share: float) -> dict[str, Any]:
    """Return the least loss that evolution finds at a latency, and those of the pool and the exact look-up there."""
    tables = report.tables
    full = device.predict(tables.space.subnet((0,) * len(tables.rows)), TOKENS)

    def fits(choice: Choice) -> bool:
        if all(stage.options[k].skips for stage, k in zip(tables.space.stages, choice, strict=True)):
            return False
        return device.predict(tables.space.subnet(choice), TOKENS) <= share * full

    how = Evolution(population=40, mutation=0.2, generations=100, evaluations=report.evaluations)
    loss, choice = evolve(tables.space, lambda choice: scorer(tables.space.subnet(choice)), fits, how)[0]
    members = [one for one in report.pool if device.predict(one.subnet, TOKENS) <= share * full]
    exact = tables.best(Limits(latency_ms=share * full, length=TOKENS), device)[0]
    summed = evolve(
        tables.space, lambda choice: tables.estimate(choice).loss, fits, Evolution(mutation=0.2, generations=100)
    )
    return {
        "share": share,
        "evolution_loss": loss,
        "evolution_summed": tables.estimate(choice).loss,
        "pool_loss": min(one.loss for one in members),
        "exact_summed": exact.loss,
        "exact_loss": scorer(exact.subnet),
        "evolution_of_sums": summed[0][0],
    }


def lines_of(name: str, facts: Mapping[str, Any], report: SearchReport) -> list[str]:
    """Format the tables."""
    rows, times = facts["against_uniform"], facts["look_up_ms"]
    gains = [row["gain"] for row in rows]
    below = [row for row in rows if row["gain"] < -row["interval"]]
    ms = "; ".join(
        f"{what}: median {t['median']:.1f} ms, p95 {t['p95']:.1f} ms, largest {t['largest']:.1f} ms"
        for what, t in times.items()
    )
    return [
        f"### {name}: block tables and pool of {len(report.pool)} subnets",
        "",
        f"{facts['evaluations']} losses of {facts['dev_rows']} dev rows, {facts['search_s']:.0f} s of one core in all. "
        f"Spearman of summed and measured loss over {facts['random_subnets']} random subnets: "
        f"{facts['spearman']:.3f}. Look-up under a new constraint, {ms}.",
        "",
        f"Pool against uniform at the latency of each uniform subnet, {facts['test_rows']} test rows: mean "
        f"{100 * float(np.mean(gains)):+.2f} points, worst {100 * min(gains):+.2f}; {len(below)} of {len(rows)} below "
        "by more than the interval (95 %).",
        "",
        *markdown(
            ("at the latency of", "ms", "best uniform", "accuracy", "pool", "accuracy", "gain"),
            [
                (
                    r["at"],
                    f"{r['ms']:.2f}",
                    r["uniform"],
                    f"{100 * r['uniform_accuracy']:.2f}",
                    r["pool"],
                    f"{100 * r['pool_accuracy']:.2f}",
                    f"{100 * r['gain']:+.2f} ± {100 * r['interval']:.2f}",
                )
                for r in rows
            ],
        ),
        "",
        f"Evolution with {facts['evaluations']} measured losses at each latency, against the pool, which took as many "
        "in all; and over the tables' sums, with as many as it likes, against the exact look-up:",
        "",
        *markdown(
            ("latency", "measured loss: pool", "exact look-up", "evolution", "summed: exact", "evolution of sums"),
            [
                (
                    f"{r['share']:.0%} of full",
                    f"{r['pool_loss']:.4f}",
                    f"{r['exact_loss']:.4f}",
                    f"{r['evolution_loss']:.4f}",
                    f"{r['exact_summed']:.4f}",
                    f"{r['evolution_of_sums']:.4f}",
                )
                for r in facts["evolution"]
            ],
        ),
    ]


def plot(points: list[tuple[float, float]], rows: list[dict[str, Any]], path: Path) -> None:
    """Plot summed against measured losses, and pool against uniform over latency."""
    figure, (sums, ladder) = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
    summed, measured = (np.array(values) for values in zip(*points, strict=True))
    sums.scatter(measured, summed, s=8)
    ends = [measured.min(), measured.max()]
    sums.plot(ends, ends, color="tab:grey", linewidth=1, label="equal")
    sums.set(xlabel="measured loss", ylabel="summed loss", title=f"{len(points)} random subnets")
    ordered = sorted(rows, key=lambda row: float(row["ms"]))
    ms = [row["ms"] for row in ordered]
    for who, label in (("uniform", "best uniform subnet"), ("pool", "best of the pool")):
        ladder.step(ms, [100 * row[f"{who}_accuracy"] for row in ordered], where="post", marker="o", label=label)
    ladder.set(xlabel=f"latency of {TOKENS} tokens, ms", ylabel="accuracy on test rows, %", title="picked on dev rows")
    for axes in (sums, ladder):
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
