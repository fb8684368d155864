"""NAS-BERT on a small scale: searches, nets of equal size, and the value of each part of the recipe.

    python -m benchmarks.blocks.nas WORK --data DATA [--processes 2] [--jobs search,net,tune,shared] [--report]

WORK is a folder for all trainings (some 5 GB); DATA holds the folders sst2, trec, snips, rte, gutenberg and imdb_unsup.
Every job runs once, continues after an interruption, and leaves its figures in WORK/figures, from which the report is
made; WORK/bench.json holds the settings, and others are refused. On a GPU many processes share it: each is busy
starting small kernels.

1. teachers: all-MiniLM-L6-v2, tuned for each task.
2. search: three searches on the same text and of the same cost: blocks are deleted, operations are, nothing is.
3. net: for two sizes, the best net of each search within the parameters of a hand-made BERT, and that BERT, each
   trained anew on the text in the same way; and one of them without a teacher.
4. tune: each for every task with the same settings; TREC with three seeds.
5. shared: a search of a tuned teacher on the rows of its task, and a pool of its own blocks with their shared weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.blocks.jobs import chosen_jobs, run_jobs
from benchmarks.blocks.runs import TASKS, Bench
from benchmarks.blocks.tables import report


def main() -> None:
    """Train what is missing; print tables and write the results if requested."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.blocks.nas", description=__doc__.split("\n", 1)[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--texts", type=Path, help="folder of gutenberg and imdb_unsup, if it is another")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--jobs", default="search,net,tune,shared", help="kinds of jobs; '' for none")
    parser.add_argument("--only", help="names of jobs")
    parser.add_argument("--tasks", default=",".join(TASKS), help="(default: %(default)s)")
    parser.add_argument("--report", action="store_true", help="write tables and plots of the figures in WORK")
    parser.add_argument("--tokens", type=int, default=Bench.tokens, help="tokens of text; few make a dry run")
    parser.add_argument("--epochs", type=float, default=Bench.epochs, help="epochs of a net on the text")
    parser.add_argument("--tune-share", type=float, default=1.0, help="share of a task's steps")
    parser.add_argument("--most-rows", type=int, default=0, help="most train rows of a task (default: all)")
    parser.add_argument(
        "--score-batches", type=int, default=Bench.score_batches, help="batches that blocks are scored on"
    )
    parser.add_argument("--dry", action="store_true", help="search few blocks, to see that all runs")
    options = parser.parse_args()
    bench = Bench(
        options.work,
        options.data,
        options.texts or options.data,
        options.tokens,
        min(Bench.dev_tokens, options.tokens),
        options.epochs,
        options.tune_share,
        options.most_rows,
        options.score_batches,
        options.dry,
    )
    tasks = options.tasks.split(",")
    if strange := sorted(set(tasks) - set(TASKS)):
        parser.error(f"--tasks: expected some of {', '.join(TASKS)}, got {', '.join(strange)}")
    bench.claim()
    names = options.only.split(",") if options.only else None
    failed = run_jobs(bench, chosen_jobs(options.jobs.split(","), names, tasks), options.processes)
    if options.report:
        report(bench, [task for task in TASKS if task in tasks])
    if failed:
        raise SystemExit(f"{len(failed)} jobs failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
