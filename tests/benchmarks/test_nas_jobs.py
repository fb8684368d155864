"""The jobs of `benchmarks.nas`."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.nas_jobs import all_jobs, figures_of, figures_path
from benchmarks.nas_report import nets_table, row_of
from benchmarks.nas_runs import SEARCHES, SIZES, TASKS, Bench, Tuning


def write(bench: Bench, job: str, figures: dict[str, object]) -> None:
    path = figures_path(bench, job)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures))


def test_every_job_stands_once_behind_those_that_it_needs() -> None:
    names = [job.name for job in all_jobs()]
    assert len(set(names)) == len(names)
    for place, job in enumerate(all_jobs()):
        assert set(job.needs) <= set(names[:place]), job.name


def test_every_net_is_tuned_for_every_task_with_every_seed() -> None:
    names = {job.name for job in all_jobs()}
    nets = [Tuning(who, size) for who in ("bert", *SEARCHES) for size in SIZES]
    assert {net.name(task, seed) for net in nets for task in TASKS for seed in range(TASKS[task].seeds)} <= names


def test_what_is_not_finished_is_shown_as_missing(tmp_path: Path) -> None:
    bench, tuning = Bench(tmp_path, tmp_path, tmp_path), Tuning("bert", "small")
    assert figures_of(bench, tuning.net) is None and row_of(bench, tuning) is None
    write(bench, tuning.net, {"net": "64MFMF", "parameters": 2_000_000, "macs": 50_000_000, "dev_loss": 0.5})
    write(bench, tuning.name("sst2", 0), {"test": 0.8})
    row = row_of(bench, tuning)
    assert row is not None and row["average"] is None
    last = nets_table([row], dict.fromkeys(TASKS))[-1]
    assert [cell.strip() for cell in last.split("|")][5:-1] == ["80.0", *["-"] * len(TASKS)]
    for task, plan in TASKS.items():
        for seed in range(plan.seeds):
            write(bench, tuning.name(task, seed), {"test": 0.6 + 0.1 * seed})
    row = row_of(bench, tuning)
    assert row is not None and abs(row["average"] - (0.6 + 3 * 0.7) / 4) < 1e-9
