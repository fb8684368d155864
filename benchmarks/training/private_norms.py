"""Dev metrics of small subnets after training alone: their norms and biases only, or all weights, beside none.

    python -m benchmarks.training.private_norms --data DATA --runs RUNS [--subjects TREC,SST-2] [--seeds 0]
    python -m benchmarks.training.private_norms --report

RUNS holds teachers and supernets that `benchmarks.training.accuracy` trained. Each subnet starts from the supernet and
is distilled alone by the same teacher for STEPS steps: with the matrices that it shares frozen, as norms and biases of
its own would be trained, at several learning rates; and with nothing frozen but the embeddings, as a small model of its
own would be. Test rows are never read.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import shutil
import time
from pathlib import Path

import torch

from benchmarks.report import RESULTS, markdown, save
from benchmarks.training.accuracy_tasks import SUBJECTS, Subject, load
from gearshift.runtime.files.atomic import replace_file
from gearshift.trainer.dynabert.settings import Settings
from gearshift.trainer.dynabert.stages import Training, distil_stage
from gearshift.trainer.dynabert.train import encode_split
from gearshift.trainer.learning.devices import make_accelerator
from gearshift.trainer.learning.evaluate import dev_accuracy
from gearshift.trainer.learning.loop import StagePlan
from gearshift.trainer.model.elastic import ElasticClassifier
from gearshift.trainer.model.run import encode_held_out, load_supernet

SHOWN = ("w050-d100", "w025-d100", "w050-d050", "w025-d050")
STEPS, BATCH = 300, 32
NORMS, ALL = "norms and biases", "all weights"
WAYS = ((NORMS, 3e-4), (NORMS, 1e-3), (NORMS, 3e-3), (ALL, 3e-4))
FIGURES = RESULTS / "private-norms"


def main() -> None:
    """Train and measure, or write the table of what is there."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training.private_norms", description=__doc__.split("\n", 1)[0]
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--subjects", default="TREC,SST-2,STS-B")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    if not options.report:
        torch.set_num_threads(1)
        for name in options.subjects.split(","):
            for seed in map(int, options.seeds.split(",")):
                measure(SUBJECTS[name], seed, options)
    report()


def measure(subject: Subject, seed: int, options: argparse.Namespace) -> None:
    """Train every shown subnet of a supernet in every way, and store dev metrics, unless that is done."""
    stem = f"{subject.name.lower()}-{seed}"
    target = FIGURES / f"{stem}.json"
    if target.is_file():
        return
    data = load(subject, options.data)
    teacher, supernet = (load_supernet(options.runs / name) for name in (f"{stem}-teacher", stem))
    dev = encode_held_out(supernet, data.splits["dev"])
    learnt = Settings(**{name: value for name, value in supernet.facts["settings"].items() if name != "effort"})
    settings = dataclasses.replace(learnt, augment=0, teacher_cache_gb=0, seed=seed)
    rows = encode_split(supernet.checkpoint, settings, data.splits["train"], "train")
    found = []
    for name in SHOWN:
        subnet = supernet.subnets[name]
        facts = {"subnet": name, "before": dev_accuracy(supernet.checkpoint.model, subnet, dev)}
        for way, rate in WAYS:
            states = options.runs / f"{stem}-private"
            shutil.rmtree(states, ignore_errors=True)
            states.mkdir(parents=True)
            began = time.process_time()
            checkpoint = dataclasses.replace(supernet.checkpoint, model=copy.deepcopy(supernet.checkpoint.model))
            _freeze(checkpoint.model, way)
            training = Training(
                checkpoint,
                settings,
                rows,
                states,
                accelerator=make_accelerator("bf16"),
                taught_by=teacher.checkpoint.model,
            )
            epochs = (STEPS - 0.5) / rows.batch_count(BATCH)
            distil_stage(training, StagePlan("alone", epochs, rate, dropout=False), [subnet], 1.0)
            facts[f"{way}, {rate:g}"] = dev_accuracy(checkpoint.model, subnet, dev)
            print(subject.name, name, way, rate, facts["before"], facts[f"{way}, {rate:g}"], flush=True)
            shutil.rmtree(states)
        found.append({**facts, "cpu_s": round(time.process_time() - began, 1)})
    FIGURES.mkdir(parents=True, exist_ok=True)
    described = {"subject": subject.name, "seed": seed, "dev_rows": len(dev), "subnets": found}
    replace_file(target, (json.dumps(described, indent=1) + "\n").encode())


def _freeze(model: ElasticClassifier, way: str) -> None:
    """Let the norms and biases alone learn, or all weights but the embeddings."""
    for parameter in model.parameters():
        parameter.requires_grad_(way == ALL or parameter.ndim == 1)
    model.embeddings.requires_grad_(False)


def report() -> None:
    """Write the table of all stored figures."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(FIGURES.glob("*.json"))]
    ways = [f"{way}, {rate:g}" for way, rate in WAYS]
    rows = [
        [one["subject"], str(one["seed"]), subnet["subnet"], f"{100 * subnet['before']:.1f}"]
        + [f"{100 * (subnet[way] - subnet['before']):+.1f}" for way in ways]
        for one in found
        for subnet in one["subnets"]
    ]
    header = ["dev rows", "seed", "subnet", "in the supernet", *ways]
    save(
        "private-norms",
        {"command": "python -m benchmarks.training.private_norms", "figures": found},
        markdown(header, rows),
    )


if __name__ == "__main__":
    main()
