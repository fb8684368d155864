"""Third step of an export: compare every subnet of every graph with the model, and int8 with fp32.

If a subnet loses too much accuracy in int8, the layers that cause it are found and kept in fp32, and the int8 graph is
written and measured again.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gearshift.export.checks.parity import Logits, accuracy_losses, check_fp16, check_parity, measure_accuracy
from gearshift.export.checks.widen import choose_wide
from gearshift.export.prepare import Prepared
from gearshift.export.write import Graphs, Progress, rewrite_int8, write_graph
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.inference.session import ElasticSession


@dataclass(frozen=True)
class GraphMeasure:
    """Measurements of one graph."""

    accuracies: Mapping[str, float]
    """Subnet -> metric of its task on the reported rows."""
    dev_accuracies: Mapping[str, float]
    """Subnet -> metric on the dev rows; empty without any."""
    head_accuracies: Mapping[str, Mapping[str, float]]
    """Subnet -> metric of each head on the reported rows, if there are several."""
    logits: Mapping[str, Logits]
    """Subnet -> logits that the self-test expects for the sample; for fp32 those of the model."""
    parity: float | None = None
    """Largest difference of a logit from the model's, for an fp32 graph."""

    @property
    def choosing(self) -> Mapping[str, float]:
        """Accuracies that choose: those on dev rows, if there are any."""
        return self.dev_accuracies or self.accuracies


@dataclass(frozen=True)
class Measured:
    """Measurements of all graphs of a bundle."""

    graphs: Graphs
    """Graphs on disk; the int8 graph may have been rewritten."""
    of: Mapping[str, GraphMeasure]
    """Precision -> measurements of its graph."""
    losses: Mapping[str, float]
    """Subnets that lose more than the tolerance in int8, with the loss as a share of 1, on the rows that choose."""


def measure(prepared: Prepared, graphs: Graphs, *, int8_tolerance: float, wider: bool, progress: Progress) -> Measured:
    """Measure every graph; with `wider`, rewrite an int8 graph that loses too much, with some layers in fp32.

    Raises ExportError if a graph differs from the model.
    """
    of = {precision: _measure_graph(prepared, graphs, precision, progress) for precision in prepared.precisions}
    measured = Measured(graphs, of, _int8_losses(of, int8_tolerance))
    return _widened(prepared, measured, int8_tolerance, progress) if wider and measured.losses else measured


def _measure_graph(prepared: Prepared, graphs: Graphs, precision: str, progress: Progress) -> GraphMeasure:
    bundle, sample, expected = graphs.bundle, prepared.sample, prepared.expected
    session = ElasticSession(bundle, precision, threads=_threads())
    parity = check_parity(session, bundle, sample, expected) if precision == "fp32" else None
    if precision == "fp16":
        check_fp16(session, bundle, sample, expected)
    inputs, entries = prepared.inputs, bundle.pool(precision)
    logits, found, of_dev = {}, {}, {}
    for done, (name, entry) in enumerate(entries.items()):
        progress(f"accuracy {precision}", done, len(entries))
        logits[name] = expected[name] if precision == "fp32" else session.run_heads(inputs, entry.choice)
        found[name] = measure_accuracy(session, bundle.manifest.inputs, entry, prepared.encoded)
        if prepared.dev is not None:
            of_dev[name] = measure_accuracy(session, bundle.manifest.inputs, entry, prepared.dev).score
    progress(f"accuracy {precision}", len(entries), len(entries))
    session.close()
    accuracies = {name: each.score for name, each in found.items()}
    return GraphMeasure(accuracies, of_dev, {name: each.heads for name, each in found.items()}, logits, parity)


def _int8_losses(of: Mapping[str, GraphMeasure], tolerance: float) -> dict[str, float]:
    """Return the subnets that lose more than the tolerance; {} unless both fp32 and int8 are exported."""
    if not {"fp32", "int8"} <= of.keys():
        return {}
    return accuracy_losses(of["fp32"].choosing, of["int8"].choosing, tolerance)


def _widened(prepared: Prepared, measured: Measured, tolerance: float, progress: Progress) -> Measured:
    """Keep the layers that cause the loss in fp32 within the int8 graph; changes nothing if no choice of them helps."""
    graphs = measured.graphs
    wide = _wide_layers(prepared, measured, tolerance)
    if not wide:
        return measured
    rewritten = rewrite_int8(prepared, graphs, wide)
    of = {**measured.of, "int8": _measure_graph(prepared, rewritten, "int8", progress)}
    return Measured(rewritten, of, _int8_losses(of, tolerance))


def _wide_layers(prepared: Prepared, measured: Measured, tolerance: float) -> frozenset[int]:
    """Return the layers to keep in fp32 for the subnets that lose too much, found with trial graphs."""
    manifest, fp32 = prepared.draft, measured.of["fp32"].choosing
    rows = prepared.encoded if prepared.dev is None else prepared.dev
    pool = measured.graphs.bundle.pool("int8")
    entries = {name: pool[name] for name in measured.losses}
    with tempfile.TemporaryDirectory() as folder:
        trial = Bundle(Path(folder), manifest, hash="", known=True)  # made here

        def open_graph(wide: frozenset[int]) -> ElasticSession:
            write_graph(prepared, trial.path, "int8", wide)
            return ElasticSession(trial, "int8", threads=_threads())

        def still_lost(session: ElasticSession) -> dict[str, float]:
            found = {name: measure_accuracy(session, manifest.inputs, each, rows) for name, each in entries.items()}
            return accuracy_losses(fp32, {name: each.score for name, each in found.items()}, tolerance)

        return choose_wide(open_graph, entries, prepared.inputs, prepared.expected, still_lost)


def _threads() -> int:
    return max(1, os.cpu_count() or 1)
