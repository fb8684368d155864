"""Download size of an int8 bundle of a MiniLM supernet, and the accuracy that each step to reduce it costs.

    python -m benchmarks.training.download SNIPS=runs/snips --work runs/b
        --pruned runs/pruned/SNIPS-matrix-embeddings-0.4-100

Accuracy is that of the exported int8 graphs on the test rows. The words kept are those of the training rows.
Each compressed bundle is unpacked as on a device, and answers every test row with every subnet; logits are compared
with those of the same bundle before compression, bit for bit.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import RESULTS, save
from gearshift.export.compress import compress_bundle
from gearshift.export.graph.segments import Array
from gearshift.export.pipeline import export_bundle
from gearshift.export.vocabulary import texts_of
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.bundle.compressed import Compressed, unpack
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.inference.text import TextEncoder
from gearshift.trainer.data.splits import read_data
from gearshift.trainer.model.run import Run, load_supernet

SHOWN = ("w100-d100", "w050-d050")
ROUNDS = 5


def main() -> None:
    """Export, measure, print the table, and save it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", metavar="NAME=RUN")
    parser.add_argument("--pruned", nargs="+", type=Path, required=True, help="the run pruned, word table and all")
    parser.add_argument("--work", type=Path, required=True, help="folder for bundles")
    options = parser.parse_args()
    name, _, path = options.run.partition("=")
    run = load_supernet(Path(path))
    assert run.data_path is not None, f"{path}: its data are gone"
    splits = read_data(run.data_path, task=run.checkpoint.task).splits
    words = texts_of(splits["train"])
    cases: dict[str, tuple[Run, Sequence[str] | None]] = {"as trained": (run, None), "words of the text": (run, words)}
    for source in options.pruned:
        pruned = load_supernet(source)
        share = f"pruned {100 * pruned.facts['pruning']['sparsity']:.0f} %"
        cases |= {share: (pruned, None), f"{share}, words of the text": (pruned, words)}
    found = {}
    for case, (source_run, kept) in cases.items():
        out = options.work / case.replace(" ", "-").replace(",", "").replace("%", "percent")
        report = export_bundle(
            source_run, out, splits["test"], precisions=["int8"], layers_per_stage=6, vocabulary=kept
        )
        found[case] = _measure(report.bundle, out.with_name(f"{out.name}.compressed"), texts_of(splits["test"]))
        found[case]["vocabulary"] = report.bundle.manifest.space.shape.vocabulary
        found[case]["respelt"] = report.vocabulary.respelt if report.vocabulary is not None else 0
    rows = len(splits["test"])
    save("download", {"data": name, "test_rows": rows, "cases": found}, _lines(name, rows, found))
    _plot(RESULTS / "download.png", found)


def _measure(bundle: Bundle, target: Path, texts: Sequence[str]) -> dict[str, Any]:
    """Return bytes, accuracies, the number of equal answers, and the CPU time of unpacking."""
    compressed = compress_bundle(bundle, target)
    unpacked = open_bundle(target)
    same = [np.array_equal(*pair) for pair in zip(_answers(bundle, texts), _answers(unpacked, texts), strict=True)]
    pool = bundle.pool("int8")
    return {
        "plain_bytes": sum(path.stat().st_size for path in bundle.path.iterdir()),
        "compressed_bytes": compressed.bytes,
        "files": {name: entry.bytes for name, entry in compressed.files.items()},
        "accuracy": {name: entry.accuracy for name, entry in pool.items()},
        "answers": len(same),
        "same_answers": sum(same),
        "unpack_cpu_s": _unpacking_s(compressed, target.with_name(f"{target.name}.unpacked")),
    }


def _answers(bundle: Bundle, texts: Sequence[str]) -> Iterator[Array]:
    """Give the logits of every text from every subnet."""
    encoder = TextEncoder(bundle)
    with contextlib.closing(ElasticSession(bundle, "int8", threads=1)) as session:
        for text in texts:
            (call,) = encoder.encode([text]).calls
            for entry in bundle.pool("int8").values():
                yield session.run(call.inputs, entry.choice)


def _unpacking_s(compressed: Compressed, target: Path) -> float:
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        unpack(compressed, target)
        times.append(time.process_time() - start)
    return statistics.median(times)


def _lines(name: str, rows: int, found: dict[str, Any]) -> list[str]:
    plain = found["as trained"]["plain_bytes"]
    header = [
        "bundle",
        "pieces",
        "plain MB",
        "download MB",
        f"of {plain / 1e6:.1f} MB",
        *(f"int8 {subnet}" for subnet in SHOWN),
        "mean of all",
        "same answers",
        "unpacking, s of CPU",
    ]
    table = [
        [
            case,
            f"{facts['vocabulary']}",
            f"{facts['plain_bytes'] / 1e6:.1f}",
            f"{facts['compressed_bytes'] / 1e6:.1f}",
            f"{100 * facts['compressed_bytes'] / plain:.0f} %",
            *(f"{100 * facts['accuracy'][subnet]:.1f}" for subnet in SHOWN),
            f"{100 * statistics.mean(facts['accuracy'].values()):.1f}",
            f"{facts['same_answers']} of {facts['answers']}",
            f"{facts['unpack_cpu_s']:.2f}",
        ]
        for case, facts in found.items()
    ]
    return [
        f"### Download of the int8 bundle of a MiniLM-L6 supernet, {name}, {rows} test rows",
        "",
        "Twelve subnets in one graph. Plain: all files as they are used. Download: as `--compress` writes them.",
        "",
        *("| " + " | ".join(cells) + " |" for cells in [header, ["---"] * len(header), *table]),
    ]


def _plot(path: Path, found: dict[str, Any]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    names = list(found)[::-1]
    for offset, key, label in ((0.2, "plain_bytes", "plain"), (-0.2, "compressed_bytes", "compressed")):
        places = [place + offset for place in range(len(names))]
        bars = axes.barh(places, [found[name][key] / 1e6 for name in names], 0.38, label=label)
        axes.bar_label(bars, fmt="%.1f", padding=3)
    labels = [
        f"{name}\n{100 * found[name]['accuracy'][SHOWN[0]]:.1f} / {100 * found[name]['accuracy'][SHOWN[1]]:.1f} %"
        for name in names
    ]
    axes.set_yticks(range(len(names)), labels)
    axes.axvline(found["as trained"]["plain_bytes"] / 2e6, color="grey", linestyle=":")
    axes.margins(x=0.1)
    axes.set_xlabel(f"MB (dotted: half of the plain bundle); accuracy of {SHOWN[0]} / {SHOWN[1]}")
    axes.legend()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
