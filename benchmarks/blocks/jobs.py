"""Jobs of `benchmarks.blocks.nas`, the most valuable first, each run as soon as its requirements are met."""

from __future__ import annotations

import json
import random
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from scipy.stats import spearmanr

from benchmarks.blocks.runs import NETS, SEARCHES, SHARED_TASK, TASKS, TUNINGS, Bench, Tuning, net_name
from gearshift.runtime.bundle.manifest import MACS_TOKENS
from gearshift.runtime.files.atomic import replace_file
from gearshift.runtime.tables.tables_file import plain_tables
from gearshift.trainer.learning.devices import training_device
from gearshift.trainer.nasbert.corpus import read_corpus
from gearshift.trainer.nasbert.rescore import net_losses
from gearshift.trainer.nasbert.run import MixedRun

STAGES = 3
RANDOM = 200


@dataclass(frozen=True)
class Job:
    """A task that runs once and leaves figures."""

    name: str
    kind: str
    """`search`, `net`, `tune` or `shared`."""
    needs: tuple[str, ...]
    make: Callable[..., dict[str, Any]]
    """Function from a bench and the arguments in `given` to the figures."""
    given: tuple[Any, ...] = ()


def all_jobs() -> list[Job]:
    """Return every job, those that matter most first; each after those that it needs."""
    jobs = [Job("states", "search", (), make_states)]
    stages = {name: _search(name) for name in SEARCHES}
    nets = [_net(*net) for net in NETS]
    plain = [job for job in nets if not job.name.endswith("-words")]
    jobs += stages["blocks"] + [job for job in plain if "-bert-" in job.name or "-blocks-" in job.name]
    jobs += [Job(f"teacher-{task}", "tune", (), make_teacher, (task,)) for task in TASKS]
    jobs += _tunings([tuning for tuning in TUNINGS if tuning.who in ("bert", "blocks") and _whole(tuning)])
    jobs += stages["nothing"] + stages["operations"]
    jobs += [job for job in plain if "-nothing-" in job.name or "-operations-" in job.name]
    jobs += _tunings([tuning for tuning in TUNINGS if tuning.who in ("nothing", "operations")])
    jobs += [job for job in nets if job.name.endswith("-words")]
    jobs += _tunings([tuning for tuning in TUNINGS if not _whole(tuning)])
    numbers = range(STAGES)
    jobs.append(Job("states-shared", "shared", (f"teacher-{SHARED_TASK}",), make_states, (True,)))
    jobs += [Job(f"shared-{n}", "shared", ("states-shared",), make_shared_stage, (n,)) for n in numbers]
    jobs.append(Job("shared", "shared", tuple(f"shared-{n}" for n in numbers), make_shared))
    return jobs


def chosen_jobs(kinds: Sequence[str], names: Sequence[str] | None, tasks: Sequence[str]) -> list[Job]:
    """Return the jobs of some kinds and tasks, and of these names if given; those of shared blocks need their own
    task."""
    left_out = tuple(f"-{task}" for task in TASKS if task not in tasks)
    return [
        job
        for job in all_jobs()
        if job.kind in kinds
        and (names is None or job.name in names)
        and not any(part in job.name for part in left_out)
        and (job.kind != "shared" or SHARED_TASK in tasks)
    ]


def _whole(tuning: Tuning) -> bool:
    return tuning.on_text and tuning.on_task


def _search(name: str) -> list[Job]:
    parts = [Job(f"search-{name}-{n}", "search", ("states",), make_stage, (name, n)) for n in range(STAGES)]
    return [*parts, Job(f"search-{name}", "search", tuple(job.name for job in parts), make_search, (name,))]


def _net(who: str, size: str, distilled: bool) -> Job:
    needs = ("states",) if who == "bert" else (f"search-{who}",)
    return Job(net_name(who, size, distilled), "net", needs, make_net, (who, size, distilled))


def _tunings(tunings: Sequence[Tuning]) -> list[Job]:
    """Return the jobs of all tunings, the first seeds of all first."""
    return [
        Job(
            tuning.name(task, seed),
            "tune",
            (tuning.net, *((f"teacher-{task}",) if tuning.on_task else ())),
            make_tuned,
            (tuning, task, seed),
        )
        for seed in range(max(task.seeds for task in TASKS.values()))
        for task in TASKS
        if seed < TASKS[task].seeds
        for tuning in tunings
    ]


def run_jobs(bench: Bench, jobs: Sequence[Job], processes: int) -> list[str]:
    """Run all jobs without figures; return the names of those that failed or could not begin."""
    waiting = [job for job in jobs if not figures_path(bench, job.name).is_file()]
    outside = {job.name for job in all_jobs() if figures_path(bench, job.name).is_file()}
    failed: list[str] = []
    running: dict[Future[None], Job] = {}
    with ProcessPoolExecutor(processes, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        while waiting or running:
            for job in [job for job in waiting if outside.issuperset(job.needs)][: processes - len(running)]:
                waiting.remove(job)
                running[pool.submit(_make, bench, job)] = job
            if not running:
                break  # the remaining jobs need failed ones
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                if future.exception() is None:
                    outside.add(job.name)
                else:
                    failed.append(job.name)
                    traceback.print_exception(future.exception())
    return failed + [job.name for job in waiting]


@cache
def _here(bench: Bench) -> Bench:
    """Return one object for each process, so that the data it has read are kept."""
    return bench


def _make(bench: Bench, job: Job) -> None:
    began = time.monotonic()
    figures = job.make(_here(bench), *job.given)
    seconds = time.monotonic() - began
    content = {"seconds": seconds, "where": _where(), **figures}
    replace_file(figures_path(bench, job.name), (json.dumps(content, indent=1) + "\n").encode())
    print(f"{time.strftime('%T')} {job.name}: {seconds:.0f} s", flush=True)


def _where() -> str:
    device = training_device()
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def figures_path(bench: Bench, job: str) -> Path:
    """Return the file of a job's figures."""
    return bench.work / "figures" / f"{job}.json"


def figures_of(bench: Bench, job: str) -> dict[str, Any] | None:
    """Read the figures of a job; None if it is not finished."""
    path = figures_path(bench, job)
    found: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return found


def make_states(bench: Bench, shared: bool = False) -> dict[str, Any]:
    """Compute the teacher's states."""
    bench.compute_states(shared=shared)
    return {}


def make_teacher(bench: Bench, task: str) -> dict[str, Any]:
    """Train a teacher for a task."""
    return {"test": bench.teacher(task).accuracies["w100-d100"]}


def make_stage(bench: Bench, name: str, number: int) -> dict[str, Any]:
    """Run a stage of a search."""
    bench.search_stage(name, number)
    return {}


def make_search(bench: Bench, name: str) -> dict[str, Any]:
    """Run a whole search; return the blocks left, and the agreement of summed and real losses of random nets."""
    searched = bench.search(name)
    source = random.Random(0)
    rows = searched.tables.rows
    choices = list(dict.fromkeys(tuple(source.randrange(len(stage)) for stage in rows) for _ in range(RANDOM)))
    found = [searched.tables.estimate(choice) for choice in choices]
    corpus = read_corpus(
        bench.texts, bench.encoder.checkpoint.tokenizer, max_length=64, tokens=1, dev_tokens=bench.dev_tokens
    )
    batches = list(corpus.dev.batches(32, seed=1))[:3]
    losses = net_losses(searched.run.checkpoint.model, bench.encoder, [one.subnet for one in found], batches)
    return {
        "left": [len(stage) for stage in rows],
        "spearman": float(spearmanr([one.loss for one in found], losses).statistic),
        "points": [(one.loss, float(loss)) for one, loss in zip(found, losses, strict=True)],
        "tokens": searched.run.facts["tokens"],
        "history": searched.history,
        "tables": plain_tables(searched.tables),
    }


def make_net(bench: Bench, who: str, size: str, distilled: bool) -> dict[str, Any]:
    """Train a net on text."""
    run = bench.net(who, size, distilled=distilled)
    (name, subnet), *_ = run.subnets.items()
    shape = run.checkpoint.model.shape
    return {
        "net": name,
        "parameters": subnet.parameters(shape),
        "macs": subnet.macs(shape, MACS_TOKENS),
        "dev_loss": run.facts["dev_loss"],
    }


def make_tuned(bench: Bench, tuning: Tuning, task: str, seed: int) -> dict[str, Any]:
    """Tune a net for a task."""
    run: MixedRun = bench.tuned(tuning, task, seed)
    return {"test": next(iter(run.accuracies.values())), "dev": run.facts["dev"]}


def make_shared_stage(bench: Bench, number: int) -> dict[str, Any]:
    """Run a stage of the search of a tuned teacher."""
    bench.shared_stage(number)
    return {}


def make_shared(bench: Bench) -> dict[str, Any]:
    """Choose the pool of that search's own blocks, unchanged."""
    searched, scored = bench.shared()
    run = searched.run
    known = {one.subnet: one for one in scored}
    pool = [
        {
            "name": name,
            "macs": known[subnet].macs,
            "parameters": subnet.parameters(run.checkpoint.model.shape),
            "summed": known[subnet].summed,
            "loss": known[subnet].loss,
            "accuracy": run.accuracies[name],
        }
        for name, subnet in run.subnets.items()
    ]
    rank = float(spearmanr([one.summed for one in scored], [one.loss for one in scored]).statistic)
    return {"pool": pool, "nets": len(scored), "spearman": rank}
