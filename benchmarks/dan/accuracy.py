"""Accuracy of a DAN beside its teacher, by the way it was taught, and with smaller tables.

    python -m benchmarks.dan.accuracy measure NAME --data DATA --teacher BUNDLE --unlabelled FILE --work FOLDER
        [--ways distilled ...] [--epochs 6] [--label-epochs 3] [--finetune-epochs 1] [--table-parameters 100000000] ...
    python -m benchmarks.dan.accuracy transfer NAME --data DATA --teacher BUNDLE --unlabelled FILE --source DANRUN ...
    python -m benchmarks.dan.accuracy report imdb sst2 trec --transfers imdb-to-sst2

`measure` teaches a DAN from labels alone, from the teacher on the training rows, on unlabelled text as well, on both
with labels at the end, and on unlabelled text alone.
`--ways` trains only some of these, so that several processes can share them; a call without it then combines them.
`transfer` takes a teacher of another domain than DATA, whose labels are used in the test alone. Accuracy is on the test
rows, which nothing was chosen on.
Runs that exist in FOLDER are not trained again. One thread; a GPU is used if there is one.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.report import RESULTS, markdown, save
from gearshift.export.dan import dan_accuracy, packed_dan
from gearshift.runtime.dan.model import Text
from gearshift.trainer.dan.run import DAN, load_dan_run
from gearshift.trainer.dan.settings import DanSettings
from gearshift.trainer.dan.teacher_logits import read_unlabelled
from gearshift.trainer.dan.train import train_dan
from gearshift.trainer.data.splits import DataSet, read_data

SHARES = (1.0, 0.3, 0.1, 0.03)
PRECISIONS = ("fp32", "int8")
KEPT = "distilled, with unlabelled text"
WAYS = ("labels alone", "distilled", KEPT, "the same, then labels", "unlabelled text alone")
MADE = "made.json"
TABLES = "tables.json"


def main() -> None:
    """Run one of the three commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, function in (("measure", measure), ("transfer", transfer)):
        command = commands.add_parser(name)
        command.set_defaults(function=function)
        command.add_argument("name")
        for option in ("--data", "--teacher", "--work"):
            command.add_argument(option, type=Path, required=True)
        command.add_argument("--unlabelled", type=Path)
        command.add_argument("--source", type=Path, help="DAN of the teacher's own domain, for `transfer`")
        command.add_argument("--ways", nargs="*", choices=WAYS, default=(), help="train these alone")
        command.add_argument("--most-unlabelled", type=int, default=None, metavar="N")
        command.add_argument("--label-epochs", type=float, default=3)
        for setting, kind in SETTINGS.items():
            command.add_argument(f"--{setting.replace('_', '-')}", type=kind, default=getattr(DanSettings(), setting))
    command = commands.add_parser("report")
    command.set_defaults(function=report)
    command.add_argument("names", nargs="+")
    command.add_argument("--transfers", nargs="*", default=[])
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.function(options)


SETTINGS: dict[str, type] = {
    "table_parameters": int,
    "width": int,
    "hidden": int,
    "longest": int,
    "epochs": float,
    "finetune_epochs": float,
    "batch_size": int,
    "table_lr": float,
    "lr": float,
    "dropout": float,
    "ngram_dropout": float,
}


def measure(options: argparse.Namespace) -> None:
    """Measure every way of teaching on one data set, and smaller tables of the DAN with unlabelled text."""
    data = read_data(options.data)
    texts = read_unlabelled(options.unlabelled)[: options.most_unlabelled]
    base = _settings(options)
    distilled = replace(base, finetune_epochs=0)
    ways = {
        "labels alone": (replace(base, epochs=0, finetune_epochs=options.label_epochs), ()),
        "distilled": (distilled, ()),
        KEPT: (distilled, texts),
        "the same, then labels": (base, texts),
        "unlabelled text alone": (replace(distilled, unlabelled_only=True), texts),
    }
    found = {}
    for way in options.ways or WAYS:
        settings, unlabelled = ways[way]
        place = _trained(options, options.name, way, data, settings, unlabelled)
        found[way] = _facts(place)
        if way == KEPT:
            tables = _tables(place, data)
    if not options.ways:
        _save(options.name, {"labels": list(data.labels), "ways": found, "tables": tables})


def transfer(options: argparse.Namespace) -> None:
    """Measure a teacher of another domain, without and with text of this one."""
    data = read_data(options.data)
    texts = read_unlabelled(options.unlabelled)[: options.most_unlabelled]
    settings = replace(_settings(options), finetune_epochs=0, unlabelled_only=True)
    place = _trained(options, options.name, "adapted", data, settings, texts)
    source = load_dan_run(options.source)
    unadapted = dan_accuracy(
        packed_dan(source, len(source.ngrams), precision="fp32"), source.labels, data.splits["test"]
    )
    _save(options.name, {"labels": list(data.labels), "unadapted": unadapted, "adapted": _facts(place)})


def _settings(options: argparse.Namespace) -> DanSettings:
    return DanSettings(**{name: getattr(options, name) for name in SETTINGS})


def _place(options: argparse.Namespace, name: str, way: str) -> Path:
    return Path(options.work) / f"{name}-{way.replace(', ', '-').replace(' ', '-')}"


def _trained(
    options: argparse.Namespace, name: str, way: str, data: DataSet, settings: DanSettings, unlabelled: Sequence[Text]
) -> Path:
    """Return the run directory of a way, trained now or before."""
    out = _place(options, name, way)
    if not (out / MADE).is_file() or _facts(out)["settings"] != asdict(settings):
        began = time.process_time()
        logits = options.work / "logits"
        run = train_dan(options.teacher, data, settings, out, unlabelled=unlabelled, logits=logits)
        made = {"cpu_s": time.process_time() - began, "gpu": _gpu(), "ngrams": len(run.ngrams)}
        (out / MADE).write_text(json.dumps(made))
    return out


def _gpu() -> str | None:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _facts(place: Path) -> dict[str, Any]:
    """Read the facts that the run states, and its cost, without reading weights."""
    return {**json.loads((place / DAN).read_text()), **json.loads((place / MADE).read_text())}


def _tables(place: Path, data: DataSet) -> list[dict[str, Any]]:
    """Return the accuracy of the run by share of its table and precision, measured now or before."""
    if (place / TABLES).is_file():
        found: list[dict[str, Any]] = json.loads((place / TABLES).read_text())
        return found
    run, rows = load_dan_run(place), []
    for share in SHARES:
        for precision in PRECISIONS:
            dan = packed_dan(run, math.ceil(share * len(run.ngrams)), precision=precision)
            accuracy = dan_accuracy(dan, run.labels, data.splits["test"])
            size = dan.rows.nbytes + dan.scales.nbytes + dan.index.prints.nbytes + dan.index.displacements.nbytes
            rows.append({"share": share, "precision": precision, "accuracy": accuracy, "mb": size / 1e6})
    (place / TABLES).write_text(json.dumps(rows))
    return rows


def _save(name: str, facts: Mapping[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"dan-{name}.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(facts, indent=1))


def report(options: argparse.Namespace) -> None:
    """Write the tables and the plot."""
    found = {name: json.loads((RESULTS / f"dan-{name}.json").read_text()) for name in options.names}
    transfers = {name: json.loads((RESULTS / f"dan-{name}.json").read_text()) for name in options.transfers}
    save(
        "dan-accuracy",
        {"data": found, "transfers": transfers},
        [*_ways(found), "", *_of_tables(found), *_moved(transfers)],
    )
    _plot(RESULTS / "dan-accuracy.png", found)


def _ways(found: Mapping[str, Any]) -> list[str]:
    header = [
        "",
        *(f"{name}: accuracy" if i == 0 else part for name in found for i, part in enumerate(["", "of the teacher's"])),
    ]
    rows = [["teacher", *(cell for facts in found.values() for cell in (_percent(_test(facts, KEPT)["teacher"]), ""))]]
    for way in WAYS:
        cells = [way]
        for facts in found.values():
            test = _test(facts, way)
            cells += [_percent(test["accuracy"]), _percent(test["accuracy"] / test["teacher"])]
        rows.append(cells)
    tested = ", ".join(f"{name} {_test(facts, KEPT)['rows']}" for name, facts in found.items())
    return [
        "### Sparse-distilled DANs",
        "",
        f"Accuracy in fp32, in per cent, on test rows ({tested}), and as a share of the teacher's. One seed.",
        "",
        *markdown(header, rows),
        "",
        *_about(found),
    ]


def _about(found: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, facts in found.items():
        kept = facts["ways"][KEPT]
        settings = kept["settings"]
        times = ", ".join(f"{way} {facts['ways'][way]['cpu_s'] / 60:.1f}" for way in WAYS)
        lines.append(
            f"* {name}: {kept['rows']['train']} training rows, {kept['rows']['unlabelled']} unlabelled texts; "
            f"{kept['ngrams']} n-grams of 1 to {settings['longest']} words x {settings['width']}, hidden layer "
            f"{settings['hidden']}; {settings['epochs']:g} epochs of {settings['batch_size']}, learning rates "
            f"{settings['table_lr']:g} and {settings['lr']:g}, dropout {settings['dropout']:g}, of n-grams "
            f"{settings.get('ngram_dropout', 0):g}; labels alone "
            f"{facts['ways']['labels alone']['settings']['finetune_epochs']:g} epochs, labels at the end "
            f"{facts['ways']['the same, then labels']['settings']['finetune_epochs']:g}. CPU minutes (the first to ask "
            f"the teacher waits for it): {times}{f', with one {gpu}' if (gpu := kept.get('gpu')) else ''}."
        )
    return lines


def _of_tables(found: Mapping[str, Any]) -> list[str]:
    rows = []
    for place, share in enumerate(SHARES):
        for offset, precision in enumerate(PRECISIONS):
            cells = [f"{100 * share:g} %", precision]
            for facts in found.values():
                row = facts["tables"][place * len(PRECISIONS) + offset]
                cells += [_percent(row["accuracy"]), f"{row['mb']:.1f}"]
            rows.append(cells)
    header = ["table", "precision", *(cell for name in found for cell in (f"{name}: accuracy", "MB"))]
    return [
        f"What a smaller table leaves ({KEPT}): the most frequent n-grams, rows folded with the first layer.",
        "",
        *markdown(header, rows),
    ]


def _moved(transfers: Mapping[str, Any]) -> list[str]:
    if not transfers:
        return []
    rows = []
    for name, facts in transfers.items():
        test = facts["adapted"]["held_out"]["test"]
        rows.append(
            [
                name,
                _percent(test["teacher"]),
                _percent(facts["unadapted"]),
                _percent(test["accuracy"]),
                _percent(test["accuracy"] / test["teacher"]),
                str(facts["adapted"]["rows"]["unlabelled"]),
            ]
        )
    header = [
        "teacher to test rows",
        "teacher",
        "DAN of the teacher's domain",
        "DAN on unlabelled text of the new one",
        "of the teacher's",
        "texts",
    ]
    return ["", "Another domain: no label of it is used but those of the test.", "", *markdown(header, rows)]


def _test(facts: Mapping[str, Any], way: str) -> dict[str, float]:
    found: dict[str, float] = facts["ways"][way]["held_out"]["test"]
    return found


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _plot(path: Path, found: Mapping[str, Any]) -> None:
    """Plot accuracy over the size of the table in MB; the teacher's as a line."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for number, (name, facts) in enumerate(found.items()):
        for precision, line in zip(PRECISIONS, ("o--", "s-"), strict=True):
            rows = [row for row in facts["tables"] if row["precision"] == precision]
            axes.plot(
                [row["mb"] for row in rows],
                [100 * row["accuracy"] for row in rows],
                f"C{number}{line}",
                label=f"{name}, {precision}",
            )
        axes.axhline(100 * _test(facts, KEPT)["teacher"], color=f"C{number}", linewidth=0.8, linestyle=":")
    axes.set_xscale("log")
    axes.set_xlabel("size in MB, at 3, 10, 30 and 100 % of the table (dotted: the teacher)")
    axes.set_ylabel("accuracy on test rows, %")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
