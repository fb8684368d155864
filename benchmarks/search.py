"""How well block tables foretell losses, and how good the pool that they choose is.

    python -m benchmarks.search RUN [--data DATA] [--random 200]

RUN is a run directory that `gearshift search` has been through. Random subnets are drawn uniformly from the tables'
space and scored on the dev rows; the pool is compared with DynaBERT's uniform subnets on the test rows, by the most
accurate member of no more MACs. One thread.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from tqdm import tqdm

from benchmarks.report import save
from gearshift.runtime.space import Subnet, uniform_grid
from gearshift.runtime.tables import TABLES, BlockTables, Limits, load_tables
from gearshift.trainer.batches import encode
from gearshift.trainer.checkpoint import Run, load_run
from gearshift.trainer.data import read_data
from gearshift.trainer.evaluate import accuracies
from gearshift.trainer.search import MACS_TOKENS, Scorer


def main() -> None:
    """Measure, print a table and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__.split("\n", 1)[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--random", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    run = load_run(options.run)
    tables = load_tables(options.run / TABLES, shape=run.checkpoint.model.shape)
    path = options.data or run.data_path
    assert path is not None, "pass --data"
    data = read_data(path, task=run.checkpoint.task)
    dev, test = (
        encode(
            data.splits[split],
            run.checkpoint.labels,
            run.checkpoint.tokenizer,
            max_length=int(run.facts["max_length"]),
            task=run.checkpoint.task,
        )
        for split in ("dev", "test")
    )
    drawn = draw(tables, options.random)
    scorer = Scorer(run.checkpoint.model, dev)
    measured = [scorer(subnet) for subnet in tqdm(drawn, desc="losses", disable=None)]
    rank = float(spearmanr([tables.loss(subnet) for subnet in drawn], measured).statistic)
    grid = uniform_grid(run.checkpoint.model.shape)
    uniform = dict(tqdm(accuracies(run.checkpoint.model, grid, test), total=len(grid), desc="uniform", disable=None))
    rows = compare(run, grid, uniform)
    milliseconds = look_up(tables)
    facts = {
        "command": f"python -m benchmarks.search {options.run.name} --random {options.random}",
        "data": data.task,
        "dev_rows": len(dev),
        "test_rows": len(test),
        "random_subnets": len(drawn),
        "spearman": rank,
        "look_up_ms": {"median": float(np.median(milliseconds)), "p95": float(np.percentile(milliseconds, 95))},
        "against_uniform": rows,
    }
    gains = [row["pool"] - row["uniform"] for row in rows]
    lines = [
        f"### {options.run.name}: block tables and pool of {len(run.subnets)} subnets",
        "",
        f"Spearman of summed and measured loss over {len(drawn)} random subnets: {rank:.3f}. Look-up under a new",
        f"constraint: median {np.median(milliseconds):.1f} ms, p95 {np.percentile(milliseconds, 95):.1f} ms.",
        f"Pool against uniform at no more MACs, {len(test)} test rows: mean {100 * np.mean(gains):+.2f} points, "
        f"worst {100 * min(gains):+.2f}.",
        "",
        "| uniform | MACs | accuracy | pool member | MACs | accuracy |",
        "|---|---|---|---|---|---|",
        *(
            f"| {r['name']} | {r['macs'] / 1e6:.0f} M | {100 * r['uniform']:.2f} | {r['member']} | "
            f"{r['member_macs'] / 1e6:.0f} M | {100 * r['pool']:.2f} |"
            for r in rows
        ),
    ]
    save(f"search-{options.run.name}", facts, lines)


def draw(tables: BlockTables, count: int) -> list[Subnet]:
    """Different random subnets; all there are where these are fewer."""
    source = random.Random(0)
    drawn: dict[Subnet, None] = {}
    for _ in range(100 * count):
        choice = tuple(source.randrange(len(rows)) for rows in tables.rows)
        if not all(stage.options[k].skips for stage, k in zip(tables.space.stages, choice, strict=True)):
            drawn[tables.space.subnet(choice)] = None
        if len(drawn) == count:
            break
    return list(drawn)


def compare(run: Run, grid: dict[str, Subnet], uniform: dict[str, float]) -> list[dict[str, Any]]:
    """For each uniform subnet the most accurate pool member of no more MACs.

    That member is picked by its accuracy on the rows that it is then compared on, as the ladder does.
    """
    shape = run.checkpoint.model.shape
    rows: list[dict[str, Any]] = []
    for name, subnet in grid.items():
        macs = subnet.macs(shape, MACS_TOKENS)
        fitting = [one for one in run.subnets if run.subnets[one].macs(shape, MACS_TOKENS) <= macs]
        if fitting:
            best = max(fitting, key=lambda one: run.accuracies[one])
            rows.append(
                {
                    "name": name,
                    "macs": macs,
                    "uniform": uniform[name],
                    "member": best,
                    "member_macs": run.subnets[best].macs(shape, MACS_TOKENS),
                    "pool": run.accuracies[best],
                }
            )
    return rows


def look_up(tables: BlockTables) -> list[float]:
    """Milliseconds of 100 look-ups under limits on parameters, bytes and MACs at once."""
    full = tables.estimate((0,) * len(tables.rows))
    took = []
    for share in np.linspace(0.3, 1, 100):
        weights = tables.fixed.parameters + share * (full.parameters - tables.fixed.parameters)
        limits = Limits(parameters=weights, bytes=4.1 * weights, macs=share * full.macs)
        began = time.perf_counter()
        tables.best(limits)
        took.append(1000 * (time.perf_counter() - began))
    return took


if __name__ == "__main__":
    main()
