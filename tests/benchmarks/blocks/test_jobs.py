"""The jobs of `benchmarks.blocks.nas`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.blocks.jobs import all_jobs, chosen_jobs, figures_of, figures_path
from benchmarks.blocks.runs import NETS, SEARCHES, SHARED_TASK, SIZES, TASKS, TYPED, Bench, Tuning
from benchmarks.blocks.tables import nets_table, row_of, settings_table
from gearshift.errors import InputError


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
    assert figures_of(bench, tuning.net) is None and row_of(bench, tuning, list(TASKS)) is None
    write(bench, tuning.net, {"net": "64MFMF", "parameters": 2_000_000, "macs": 50_000_000, "dev_loss": 0.5})
    write(bench, tuning.name("sst2", 0), {"test": 0.8})
    row = row_of(bench, tuning, list(TASKS))
    assert row is not None and row["average"] is None
    last = nets_table([row], dict.fromkeys(TASKS))[-1]
    assert [cell.strip() for cell in last.split("|")][5:-1] == ["80.0", *["-"] * len(TASKS)]
    for task, plan in TASKS.items():
        for seed in range(plan.seeds):
            write(bench, tuning.name(task, seed), {"test": 0.6 + 0.1 * seed})
    row = row_of(bench, tuning, list(TASKS))
    means = [0.6 + 0.1 * (plan.seeds - 1) / 2 for plan in TASKS.values()]
    assert row is not None and row["average"] == pytest.approx(sum(means) / len(means))


def test_the_average_is_that_of_the_tasks_that_were_chosen(tmp_path: Path) -> None:
    bench, tuning = Bench(tmp_path, tmp_path, tmp_path), Tuning("bert", "small")
    write(bench, tuning.net, {"net": "64MFMF", "parameters": 2_000_000, "macs": 50_000_000, "dev_loss": 0.5})
    for task, accuracy in (("sst2", 0.8), ("trec", 0.6)):
        write(bench, tuning.name(task, 0), {"test": accuracy})
    row = row_of(bench, tuning, ["sst2", "trec"])
    assert row is not None and row["average"] == pytest.approx(0.7) and set(row["test"]) == {"sst2", "trec"}
    cells = [cell.strip() for cell in nets_table([row], {"sst2": 0.9, "trec": None})[-1].split("|")]
    assert cells[5:-1] == ["80.0", "60.0", "70.0"]


def test_only_jobs_of_the_chosen_tasks_are_made_and_shared_blocks_only_with_theirs() -> None:
    kinds, others = ("search", "net", "tune", "shared"), [task for task in TASKS if task != SHARED_TASK]
    assert chosen_jobs(kinds, None, list(TASKS)) == all_jobs()
    without = chosen_jobs(kinds, None, others)
    assert without and not any(SHARED_TASK in job.name or job.kind == "shared" for job in without)
    made = {job.name for job in without}
    assert all(set(job.needs) <= made for job in without)
    assert len(chosen_jobs(("net",), None, others)) == len(NETS) and not chosen_jobs(("",), None, others)


def test_a_folder_made_with_other_settings_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "work", tmp_path, tmp_path, tokens=150_000, epochs=8)
    bench.claim()
    replace(bench, data=tmp_path / "elsewhere").claim()
    with pytest.raises(InputError, match="made with epochs 8; pass the same, or another folder"):
        replace(bench, epochs=12).claim()
    for name in TYPED:
        with pytest.raises(InputError, match=f"made with {name} "):
            replace(bench, **{name: 3}).claim()  # type: ignore[arg-type]
    assert bench.arguments == "--tokens 150000 --epochs 8"


def test_a_setting_that_a_folder_does_not_know_was_the_default(tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text(json.dumps({"tokens": 150_000}))
    Bench(tmp_path, tmp_path, tmp_path, tokens=150_000).claim()
    with pytest.raises(InputError, match="made with score_batches 5"):
        Bench(tmp_path, tmp_path, tmp_path, tokens=150_000, score_batches=1).claim()


def test_what_was_used_stands_beside_the_papers(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tmp_path, tmp_path, tokens=150_000, score_batches=1, most_rows=6000)
    (tmp_path / "teacher-trec").mkdir()
    taught = {"teacher_epochs": 2.0, "width_epochs": 0.5, "depth_epochs": 1.5, "max_length": 64}
    (tmp_path / "teacher-trec" / "supernet.json").write_text(json.dumps({"settings": taught}))
    searches = {"blocks": {"history": [[{}] * 7] * 3, "tokens": {"train": 149_990}}}
    table = "\n".join(settings_table(bench, ["trec", "sst2"], searches))
    for told in ("149,990 tokens", "3 + 6 + 1 = 10", "1 of 32 texts", "6,000 at most", "2 + 0.5 + 1.5", "teacher 64"):
        assert told in table, told
