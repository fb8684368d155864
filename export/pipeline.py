"""A trained supernet in, a verified bundle out: everything in order."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import gearshift
from gearshift.export.card import model_card
from gearshift.export.graph import token_inputs, write_elastic_graph
from gearshift.export.guard import check_packed
from gearshift.export.parity import accuracy_losses, check_parity, measure_accuracy, torch_logits
from gearshift.runtime.bundle import Bundle, open_bundle, write_manifest
from gearshift.runtime.errors import DataError, InputError
from gearshift.runtime.manifest import MANIFEST, PRECISIONS, SELF_TEST, TOKENIZER, Manifest, PoolEntry
from gearshift.runtime.session import ElasticSession, check_self_test
from gearshift.runtime.space import Space, cut_space
from gearshift.runtime.storage import replacing_directory
from gearshift.trainer.batches import Batch, EncodedRows, encode
from gearshift.trainer.checkpoint import Run
from gearshift.trainer.evaluate import with_reference
from gearshift.trainer.rows import Row
from gearshift.trainer.tasks import OBJECTIVES

MACS_TOKENS = 128
"""Length of text for which the manifest counts multiply-accumulates, as the papers do."""

MINIMUM_ONNXRUNTIME = "1.23"

SESSION_OPTIONS = {"graph_optimization_level": "disable", "session.intra_op.allow_spinning": "0"}
"""The operators were chosen by measured time; with optimisation on the library fuses them into slower ones."""

SELF_TEST_ROWS = 8

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many parts of it are done, and how many there are."""


@dataclass(frozen=True)
class ExportReport:
    """What an export measured."""

    bundle: Bundle
    parity: float | None
    """Largest difference of an fp32 logit from torch, over all pool subnets; None where no fp32 graph was made."""
    packed_weights: dict[str, int]
    """Precision -> large weights, all of which were packed."""
    losses: dict[str, float]
    """Subnets that lose more than the tolerance in int8, with the loss as a share of 1."""


def export_bundle(
    run: Run,
    out: Path,
    rows: Sequence[Row],
    *,
    precisions: Sequence[str] = PRECISIONS,
    layers_per_stage: int = 1,
    licence: str = "unspecified",
    progress: Progress = lambda what, done, total: None,
) -> ExportReport:
    """Write the bundle of a supernet, whole or not at all, and check it.

    `layers_per_stage`: how many layers are switched together. 1 lets any mix of the layers' options be chosen;
    all of them in one stage list the subnets themselves, which runs fastest and loads slowest.

    `rows` are held-out rows: the metric of every pool subnet is measured on them at each precision.
    Raises ExportError where a graph differs from the model, StorageError where `out` cannot be written.
    """
    _check_arguments(precisions, rows)
    checkpoint = run.checkpoint
    max_length = int(run.facts["max_length"])
    encoded = encode(rows, checkpoint.labels, checkpoint.tokenizer, max_length=max_length, task=checkpoint.task)
    encoded = with_reference(checkpoint.model, encoded)
    shape = checkpoint.model.shape
    space = cut_space(shape, list(run.subnets.values()), layers_per_stage)
    draft = _draft(run, space, out, precisions, len(rows), licence, encoded.pad_id, max_length)
    sample = _sample(encoded)
    with replacing_directory(out, marker=MANIFEST) as fresh:
        bundle = Bundle(fresh, draft, hash="")
        packed = _write_graphs(bundle, run, space, precisions, progress)
        (fresh / TOKENIZER).write_text(checkpoint.tokenizer.to_str(), encoding="utf-8")
        accuracies, parity = _measure(bundle, run, sample, encoded, precisions, progress)
        pool = tuple(dataclasses.replace(e, accuracy=accuracies[e.precision][e.name]) for e in draft.pool)
        manifest = dataclasses.replace(draft, pool=pool)
        (fresh / "README.md").write_text(model_card(manifest), encoding="utf-8")
        write_manifest(fresh, manifest)
        written = open_bundle(fresh)
        for precision in precisions:
            session = ElasticSession(written, precision, threads=1)
            check_self_test(session, written)
            session.close()
    losses = {}
    if {"fp32", "int8"} <= set(precisions):
        losses = accuracy_losses(accuracies["fp32"], accuracies["int8"])
    return ExportReport(dataclasses.replace(written, path=out), parity, packed, losses)


def _check_arguments(precisions: Sequence[str], rows: Sequence[Row]) -> None:
    unknown = [precision for precision in precisions if precision not in PRECISIONS]
    if unknown or not precisions or len(set(precisions)) < len(precisions):
        raise InputError(
            f"precisions: expected some of {', '.join(PRECISIONS)}, each once, got {', '.join(precisions) or 'none'}"
        )
    if not rows:
        raise DataError("export: no held-out rows to measure accuracy on; pass a data set with a test split")


def _draft(
    run: Run,
    space: Space,
    out: Path,
    precisions: Sequence[str],
    rows: int,
    licence: str,
    pad_id: int,
    max_length: int,
) -> Manifest:
    """The manifest before anything was measured."""
    pool = tuple(
        PoolEntry(
            name=name,
            subnet=subnet,
            executor="elastic",
            file=f"{precision}.onnx",
            choice=space.choice(subnet),
            precision=precision,
            accuracy=0.0,  # measured before the manifest is written
            parameters=subnet.parameters(space.shape),
            macs=subnet.macs(space.shape, MACS_TOKENS),
        )
        for precision in precisions
        for name, subnet in run.subnets.items()
    )
    return Manifest(
        name=out.name.removesuffix(".gearshift"),
        task=run.checkpoint.task,
        metric=OBJECTIVES[run.checkpoint.task].metric,
        labels=run.checkpoint.labels,
        max_length=max_length,
        pad_id=pad_id,
        inputs=token_inputs(space.shape),
        space=space,
        pool=pool,
        macs_tokens=MACS_TOKENS,
        session_options=SESSION_OPTIONS,
        minimum_onnxruntime=MINIMUM_ONNXRUNTIME,
        accuracy_rows=rows,
        licence=licence,
        made_by=f"gearshift {gearshift.__version__}",
        files={},
    )


def _sample(encoded: EncodedRows) -> Batch:
    """A few held-out rows of different lengths in one batch, so that all but the longest are padded."""
    by_length = sorted(range(len(encoded)), key=lambda row: len(encoded.ids[row]))
    spread = np.linspace(0, len(by_length) - 1, min(SELF_TEST_ROWS, len(by_length))).astype(int)
    return encoded.select([by_length[place] for place in spread])


def _write_graphs(
    bundle: Bundle, run: Run, space: Space, precisions: Sequence[str], progress: Progress
) -> dict[str, int]:
    model = run.checkpoint.model
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    packed = {}
    for index, precision in enumerate(precisions):
        progress("graphs", index, len(precisions))
        path = bundle.path / f"{precision}.onnx"
        write_elastic_graph(path, weights, space, precision=precision, norm_eps=model.norm_eps, head=model.head)
        packed[precision] = check_packed(path)
    progress("graphs", len(precisions), len(precisions))
    return packed


def _measure(
    bundle: Bundle,
    run: Run,
    sample: Batch,
    encoded: EncodedRows,
    precisions: Sequence[str],
    progress: Progress,
) -> tuple[dict[str, dict[str, float]], float | None]:
    """Accuracy per precision and subnet, and the fp32 parity; writes the self-test beside the graphs."""
    expected = torch_logits(run.checkpoint.model, run.subnets, sample)
    arrays = {name: getattr(sample, name).numpy() for name in bundle.manifest.inputs}
    accuracies: dict[str, dict[str, float]] = {}
    parity: float | None = None
    threads = max(1, os.cpu_count() or 1)
    for precision in precisions:
        session = ElasticSession(bundle, precision, threads=threads)
        if precision == "fp32":
            parity = check_parity(session, bundle, sample, expected)
        accuracies[precision] = {}
        entries = bundle.pool(precision)
        for done, (name, entry) in enumerate(entries.items()):
            progress(f"accuracy {precision}", done, len(entries))
            logits = expected[name] if precision == "fp32" else session.run(_only(arrays, bundle), entry.choice)
            arrays[f"logits.{precision}.{name}"] = logits
            accuracies[precision][name] = measure_accuracy(session, bundle.manifest.inputs, entry, encoded)
        progress(f"accuracy {precision}", len(entries), len(entries))
        session.close()
    np.savez_compressed(bundle.path / SELF_TEST, **arrays)
    return accuracies, parity


def _only(arrays: dict[str, np.ndarray], bundle: Bundle) -> dict[str, np.ndarray]:
    return {name: arrays[name] for name in bundle.manifest.inputs}
