"""Accuracy after weight pruning, of the full subnet and of a small one: a table and a plot.

    python -m benchmarks.training.pruning TREC=runs/trec SNIPS=runs/snips SST-2=runs/sst2 --work runs/pruned
        [--data SST-2=sst2]

Each run of `gearshift train` is pruned to each share anew, all subnets at once, with the same steps of distilled
recovery; a share of 0 learns as many steps without pruning.
Accuracy is on the test rows, which nothing was chosen on. Runs that exist in `--work` are not pruned again, so that an
interrupted call continues.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS, save
from gearshift.trainer.data.splits import read_data
from gearshift.trainer.dynabert.prune import prune_run
from gearshift.trainer.dynabert.settings import Recovery
from gearshift.trainer.learning.settings import SCOPES, Pruning
from gearshift.trainer.model.run import POOL, SUPERNET, load_supernet

SPARSITIES = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SHOWN = ("w100-d100", "w050-d050")
BATCH_SIZE = 32


def main() -> None:
    """Prune, print the table, and save it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="NAME=RUN")
    parser.add_argument("--data", nargs="*", default=[], metavar="NAME=DATA", help="data of runs that do not state it")
    parser.add_argument("--work", type=Path, required=True, help="folder for pruned runs")
    parser.add_argument("--steps", type=int, default=100, help="steps of 32 rows each, half of which prune more")
    parser.add_argument("--scope", choices=SCOPES, default="matrix")
    parser.add_argument("--embeddings", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--sparsities", default=",".join(map(str, SPARSITIES)))
    parser.add_argument(
        "--mixed-precision", default="no", help="precision of the recovery; accuracy is measured in fp32"
    )
    parser.add_argument("--name", default="pruning", help="name of the results")
    options = parser.parse_args()
    sparsities = [float(part) for part in options.sparsities.split(",")]
    named = dict(text.split("=", 1) for text in options.runs)
    data = {name: Path(path) for name, path in (text.split("=", 1) for text in options.data)}
    found: dict[str, Any] = {}
    for name, run in named.items():
        before, dev = _accuracies(Path(run)), {"before": _accuracies(Path(run), "dev_accuracy")}
        facts = json.loads((Path(run) / SUPERNET).read_text())
        after = {}
        for sparsity in sparsities:
            kind = f"{name}-{options.scope}{'-embeddings' if options.embeddings else ''}-{sparsity:g}-{options.steps}"
            pruning = Pruning(sparsity, options.scope, options.embeddings)
            target = options.work / kind
            recovery = Recovery(batch_size=BATCH_SIZE, mixed_precision=options.mixed_precision)
            after[f"{sparsity:g}"] = _pruned(Path(run), data.get(name), target, pruning, recovery, options.steps)
            dev[f"{sparsity:g}"] = _accuracies(target, "dev_accuracy")
        figures = {"before": before, "pruned": after, "dev": dev}
        found[name] = {"rows": facts["rows"], "settings": facts["settings"], **figures}
    settings = {
        "steps": options.steps,
        "scope": options.scope,
        "embeddings": options.embeddings,
        "batch_size": BATCH_SIZE,
        "mixed_precision": options.mixed_precision,
    }
    save(options.name, {**settings, "data": found}, _lines(settings, found, sparsities))
    _plot(RESULTS / f"{options.name}.png", found, sparsities)


def _pruned(
    source: Path, place: Path | None, target: Path, pruning: Pruning, recovery: Recovery, steps: int
) -> dict[str, float]:
    """Return the accuracies, by subnet, of the run pruned in so many steps."""
    if not (target / POOL).is_file():
        run = load_supernet(source)
        place = place or run.data_path
        assert place is not None, f"{source}: its data are gone; name them with --data"
        data = read_data(place, task=run.checkpoint.task)
        per_epoch = -(-len(data.splits["train"]) // BATCH_SIZE)
        prune_run(run, data, pruning, dataclasses.replace(recovery, epochs=steps / per_epoch), target)
    return _accuracies(target)


def _accuracies(run: Path, field: str = "accuracy") -> dict[str, float]:
    """Return the accuracies of a run by subnet, on test rows; `dev_accuracy`: on dev rows, of runs that have them."""
    return {entry["name"]: entry[field] for entry in json.loads((run / POOL).read_text()) if field in entry}


def _lines(settings: dict[str, Any], found: dict[str, Any], sparsities: Sequence[float]) -> list[str]:
    columns = [(name, subnet) for name in found for subnet in SHOWN]
    header = ["pruned", *(f"{name} {subnet}" for name, subnet in columns)]
    rows = [["as trained", *(_percent(found[name]["before"][subnet]) for name, subnet in columns)]]
    for sparsity in sparsities:
        cells = [found[name]["pruned"][f"{sparsity:g}"][subnet] for name, subnet in columns]
        rows.append([f"{100 * sparsity:g} %", *map(_percent, cells)])
    tested = ", ".join(f"{name} {facts['rows']['test']}" for name, facts in found.items())
    word_table = "the word table too" if settings["embeddings"] else "not the word table"
    return [
        f"### Weight pruning of MiniLM-L6 supernets, {settings['scope']}, {word_table}",
        "",
        f"Accuracy in fp32 on the test rows ({tested}) after {settings['steps']} steps of distilled recovery (mixed "
        f"precision: {settings['mixed_precision']}), half of which prune more; 0 % learns as many without pruning. "
        "One seed.",
        "",
        *("| " + " | ".join(cells) + " |" for cells in [header, ["---"] * len(header), *rows]),
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _plot(path: Path, found: dict[str, Any], sparsities: Sequence[float]) -> None:
    """Plot accuracy over the share of zeros; bars are a standard error of the share of test rows."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for number, (name, facts) in enumerate(found.items()):
        for subnet, line in zip(SHOWN, ("-", "--"), strict=True):
            shares = [facts["pruned"][f"{sparsity:g}"][subnet] for sparsity in sparsities]
            errors = [100 * (share * (1 - share) / facts["rows"]["test"]) ** 0.5 for share in shares]
            axes.errorbar(
                [100 * sparsity for sparsity in sparsities],
                [100 * share for share in shares],
                errors,
                fmt=f"C{number}o{line}",
                capsize=2,
                label=f"{name}, {subnet}",
            )
    axes.set_xlabel("weights pruned, %")
    axes.set_ylabel("accuracy on test rows, %")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
