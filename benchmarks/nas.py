"""NAS-BERT on a small scale: searches, nets of equal size, and what each part of the recipe is worth.

    python -m benchmarks.nas WORK --data DATA [--steps search,nets,tune,shared,report]

WORK is a folder for everything that is trained (some 5 GB); DATA holds the folders sst2, trec, snips, rte, gutenberg
and imdb_unsup. Every step goes on where it was when it is interrupted, and is skipped when it is done. One thread;
some hours of one core.

1. teachers: all-MiniLM-L6-v2, tuned for each task.
2. search: three searches on the same text and of the same cost: blocks are deleted, operations are, nothing is.
3. nets: for two sizes, the best net of each search within the parameters of a hand-made BERT, and that BERT, each
   trained anew on the text in the same way; and one of them without a teacher.
4. tune: each for every task with the same settings; small tasks with three seeds.
5. shared: a search of a tuned teacher, and a pool of its own blocks with the weights that they share.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from benchmarks.nas_report import report
from benchmarks.nas_runs import NETS, SEARCHES, TASKS, TUNINGS, Bench, results_of


def main() -> None:
    """Train what is missing, measure, print tables and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nas", description=__doc__.split("\n", 1)[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", default="search,nets,tune,shared,report")
    parser.add_argument("--tokens", type=int, default=Bench.tokens, help="of text; few make a dry run")
    parser.add_argument("--epochs", type=float, default=Bench.epochs)
    options = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(options.work, options.data, options.tokens, min(Bench.dev_tokens, options.tokens), options.epochs)
    steps = options.steps.split(",")
    if "search" in steps:
        for name in SEARCHES:
            bench.search(name)
    if "nets" in steps:
        for who, size, distilled in NETS:
            bench.net(who, size, distilled=distilled)
    if "tune" in steps:
        for task in TASKS:
            for job in TUNINGS:
                results_of(bench, job, task)
    if "shared" in steps:
        bench.shared()
    if "report" in steps:
        report(bench, f"python -m benchmarks.nas {options.work.name} --data DATA")


if __name__ == "__main__":
    main()
