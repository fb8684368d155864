"""A trained supernet in, a verified bundle out: everything in order."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import gearshift
from gearshift.errors import DataError, InputError
from gearshift.export.card import model_card
from gearshift.export.checks.guard import check_packed
from gearshift.export.checks.parity import (
    INT8_TOLERANCE,
    accuracy_losses,
    check_fp16,
    check_parity,
    graph_inputs,
    measure_accuracy,
    torch_logits,
)
from gearshift.export.checks.samples import telling_sample
from gearshift.export.checks.widen import choose_wide
from gearshift.export.graph.elastic import write_elastic_graph
from gearshift.export.graph.operators import OPERATORS
from gearshift.export.graph.segments import Array
from gearshift.export.graph.switched import token_inputs
from gearshift.export.vocabulary import VocabularyReport, prune_vocabulary
from gearshift.runtime.bundle.bundle import Bundle, open_bundle, write_manifest
from gearshift.runtime.bundle.manifest import (
    CPU_PRECISIONS,
    MANIFEST,
    PRECISIONS,
    SELF_TEST,
    TOKENIZER,
    Manifest,
    PoolEntry,
)
from gearshift.runtime.files.atomic import replacing_directory
from gearshift.runtime.inference.self_test import check_self_test
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.space.space import Space
from gearshift.runtime.tables.tables import Tables
from gearshift.runtime.tables.tables_file import TABLES, save_tables
from gearshift.trainer.data.batches import Batch, EncodedRows, encode
from gearshift.trainer.data.rows import Row
from gearshift.trainer.learning.evaluate import with_reference
from gearshift.trainer.learning.objectives import OBJECTIVES
from gearshift.trainer.model.checkpoint import Run

MACS_TOKENS = 128
"""Length of text for which the manifest counts multiply-accumulates, as the papers do."""

MINIMUM_ONNXRUNTIME = "1.23"

SESSION_OPTIONS = {"graph_optimization_level": "disable", "session.intra_op.allow_spinning": "0"}
"""The operators were chosen by measured time; with optimisation on the library fuses them into slower ones."""

STANDARD_OPTIONS = {**SESSION_OPTIONS, "graph_optimization_level": "all"}
"""Of standard operators the library makes its own, faster ones."""

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
    wide_layers: tuple[int, ...] = ()
    """Layers that the int8 graph computes in fp32."""
    vocabulary: VocabularyReport | None = None
    """What became of the vocabulary, where it was pruned."""


@dataclass(frozen=True)
class _Plan:
    """What to write, and on what to measure it."""

    run: Run[Any, Any]
    space: Space[Any, Any]
    encoded: EncodedRows
    precisions: tuple[str, ...]
    operators: str
    int8_tolerance: float
    wider: bool
    progress: Progress


@dataclass
class _Measured:
    """What the graphs of a bundle were found to be."""

    packed: dict[str, int]
    accuracies: dict[str, dict[str, float]]
    parity: float | None
    losses: dict[str, float]
    wide: frozenset[int]


def export_bundle(
    run: Run[Any, Any],
    out: Path,
    rows: Sequence[Row],
    *,
    precisions: Sequence[str] = CPU_PRECISIONS,
    layers_per_stage: int = 1,
    operators: str = "fast",
    int8_tolerance: float = INT8_TOLERANCE,
    wider: bool = False,
    vocabulary: Collection[str] | None = None,
    licence: str = "unspecified",
    progress: Progress = lambda what, done, total: None,
) -> ExportReport:
    """Write the bundle of a supernet, whole or not at all, and check it.

    `layers_per_stage`: how many layers are switched together. 1 lets any mix of the layers' options be chosen;
    all of them in one stage list the subnets themselves, which runs fastest and loads slowest. A net of mixed
    operations has the stages that it was made with.

    `operators`: `fast`, or `standard` for a graph that other engines can run. `int8_tolerance`: accuracy that a
    subnet may lose in int8, as a share of 1; the manifest names those that lose more, or, with `wider`, the layers
    at fault are kept in fp32 within the int8 graph, where a few are enough.

    `vocabulary`: texts whose pieces stay in the word table; others are spelt by smaller pieces. None keeps all.

    `rows` are held-out rows: the metric of every pool subnet is measured on them at each precision.
    Raises ExportError where a graph differs from the model, StorageError where `out` cannot be written.
    """
    run.require_tuned()
    _check_arguments(precisions, operators, int8_tolerance, rows)
    ordered = tuple(precision for precision in PRECISIONS if precision in precisions)
    run, encoded, tables, spelling = _prepared(run, rows, vocabulary)
    checkpoint, max_length = run.checkpoint, int(run.facts["max_length"])
    space = run.space(layers_per_stage)
    plan = _Plan(run, space, encoded, ordered, operators, int8_tolerance, wider, progress)
    draft = _draft(plan, out, licence, max_length)
    sample = telling_sample(checkpoint.model, run.subnets, encoded, max_length)
    with replacing_directory(out, marker=MANIFEST) as fresh:
        bundle = Bundle(fresh, draft, hash="")
        packed = _write_graphs(bundle, plan)
        (fresh / TOKENIZER).write_text(checkpoint.tokenizer.to_str(), encoding="utf-8")
        if tables is not None:
            save_tables(fresh / TABLES, tables)
        measured = _measure(bundle, plan, sample, packed)
        pool = tuple(dataclasses.replace(e, accuracy=measured.accuracies[e.precision][e.name]) for e in draft.pool)
        wide = tuple(sorted(measured.wide))
        manifest = dataclasses.replace(draft, pool=pool, losses=measured.losses, wide_layers=wide)
        (fresh / "README.md").write_text(model_card(manifest), encoding="utf-8")
        write_manifest(fresh, manifest)
        written = open_bundle(fresh)
        for precision in ordered:
            session = ElasticSession(written, precision, threads=1)
            check_self_test(session, written)
            session.close()
    written = dataclasses.replace(written, path=out)
    return ExportReport(written, measured.parity, measured.packed, measured.losses, wide, spelling)


def _prepared(
    run: Run[Any, Any], rows: Sequence[Row], vocabulary: Collection[str] | None
) -> tuple[Run[Any, Any], EncodedRows, Tables[Any, Any] | None, VocabularyReport | None]:
    """The run with the vocabulary that was asked for, the rows in its tokens, and its block tables."""
    encoded, tables = with_reference(run.checkpoint.model, _encoded(run, rows)), run.block_tables()
    if vocabulary is None:
        return run, encoded, tables, None
    pruned, report = prune_vocabulary(run, vocabulary, rows)
    respelt = _encoded(pruned, rows)
    if encoded.task == "embedding":  # vectors are compared with those of the net as it was
        respelt = dataclasses.replace(respelt, labels=encoded.labels)
    if tables is not None:
        tables = tables.with_embeddings(pruned.checkpoint.model.shape)
    return pruned, respelt, tables, report


def _encoded(run: Run[Any, Any], rows: Sequence[Row]) -> EncodedRows:
    checkpoint, max_length = run.checkpoint, int(run.facts["max_length"])
    return encode(rows, checkpoint.labels, checkpoint.tokenizer, max_length=max_length, task=checkpoint.task)


def _check_arguments(precisions: Sequence[str], operators: str, int8_tolerance: float, rows: Sequence[Row]) -> None:
    if operators not in OPERATORS:
        raise InputError(f"operators: expected {' or '.join(OPERATORS)}, got {operators!r}")
    known = [precision for precision in PRECISIONS if precision in OPERATORS[operators]]
    if not precisions or not set(precisions) <= set(known) or len(set(precisions)) < len(precisions):
        of = "" if operators == "fast" else f" of {operators} operators"
        raise InputError(
            f"precisions{of}: expected some of {', '.join(known)}, each once, got {', '.join(precisions) or 'none'}"
        )
    if not 0 <= int8_tolerance <= 1:
        raise InputError(f"int8 tolerance: expected a share of 1, such as 0.01, got {int8_tolerance!r}")
    if not rows:
        raise DataError("export: no held-out rows to measure accuracy on; pass a data set with a test split")


def _draft(plan: _Plan, out: Path, licence: str, max_length: int) -> Manifest:
    """The manifest before anything was measured."""
    run, space = plan.run, plan.space
    subnets: Mapping[str, Any] = run.subnets
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
        for precision in plan.precisions
        for name, subnet in subnets.items()
    )
    return Manifest(
        name=out.name.removesuffix(".gearshift"),
        task=run.checkpoint.task,
        metric=OBJECTIVES[run.checkpoint.task].metric,
        labels=run.checkpoint.labels,
        max_length=max_length,
        pad_id=plan.encoded.pad_id,
        inputs=token_inputs(space.shape),
        space=space,
        pool=pool,
        macs_tokens=MACS_TOKENS,
        session_options=SESSION_OPTIONS if plan.operators == "fast" else STANDARD_OPTIONS,
        minimum_onnxruntime=MINIMUM_ONNXRUNTIME,
        accuracy_rows=len(plan.encoded),
        licence=licence,
        made_by=f"gearshift {gearshift.__version__}",
        files={},
    )


def _write_graphs(bundle: Bundle, plan: _Plan) -> dict[str, int]:
    """The large weights of every precision's graph, all of which are packed."""
    packed = {}
    for index, precision in enumerate(plan.precisions):
        plan.progress("graphs", index, len(plan.precisions))
        _write_graph(bundle.path, plan, precision)
        if precision in CPU_PRECISIONS:  # on a GPU nothing is packed
            packed[precision] = check_packed(bundle.path / f"{precision}.onnx")
    plan.progress("graphs", len(plan.precisions), len(plan.precisions))
    return packed


def _write_graph(folder: Path, plan: _Plan, precision: str, wide: frozenset[int] = frozenset()) -> None:
    model = plan.run.checkpoint.model
    write_elastic_graph(
        folder / f"{precision}.onnx",
        {name: tensor.numpy() for name, tensor in model.state_dict().items()},
        plan.space,
        precision=precision,
        norm_eps=model.norm_eps,
        head=model.head,
        operators=plan.operators,
        wide=wide,
    )


def _measure(bundle: Bundle, plan: _Plan, sample: Batch, packed: dict[str, int]) -> _Measured:
    """Accuracy per precision and subnet, and the fp32 parity; writes the self-test beside the graphs."""
    expected = torch_logits(plan.run.checkpoint.model, plan.run.subnets, sample)
    inputs = graph_inputs(sample, bundle.manifest.inputs)
    measured = _Measured(packed, {}, None, {}, frozenset())
    arrays: dict[str, Any] = dict(inputs)
    for precision in plan.precisions:
        logits = _measure_graph(bundle, plan, precision, sample, expected, measured)
        if precision == "int8" and "fp32" in measured.accuracies:
            fp32, tolerance = measured.accuracies["fp32"], plan.int8_tolerance
            losses = accuracy_losses(fp32, measured.accuracies[precision], tolerance)
            if losses and plan.wider:
                measured.wide = _wide_layers(bundle, plan, losses, inputs, expected, fp32)
            if measured.wide:
                _write_graph(bundle.path, plan, precision, measured.wide)
                packed[precision] = check_packed(bundle.path / f"{precision}.onnx")
                logits = _measure_graph(bundle, plan, precision, sample, expected, measured)
            measured.losses = accuracy_losses(fp32, measured.accuracies[precision], tolerance)
        arrays |= {f"logits.{precision}.{name}": answer for name, answer in logits.items()}
    np.savez_compressed(bundle.path / SELF_TEST, **arrays)
    return measured


def _measure_graph(
    bundle: Bundle,
    plan: _Plan,
    precision: str,
    sample: Batch,
    expected: dict[str, Array],
    measured: _Measured,
) -> dict[str, Array]:
    """Name -> what the self-test shall expect: in fp32 the model's own logits; notes the accuracies."""
    session = ElasticSession(bundle, precision, threads=_threads())
    if precision == "fp32":
        measured.parity = check_parity(session, bundle, sample, expected)
    if precision == "fp16":
        check_fp16(session, bundle, sample, expected)
    inputs = graph_inputs(sample, bundle.manifest.inputs)
    entries = bundle.pool(precision)
    logits, accuracies = {}, {}
    for done, (name, entry) in enumerate(entries.items()):
        plan.progress(f"accuracy {precision}", done, len(entries))
        logits[name] = expected[name] if precision == "fp32" else session.run(inputs, entry.choice)
        accuracies[name] = measure_accuracy(session, bundle.manifest.inputs, entry, plan.encoded)
    plan.progress(f"accuracy {precision}", len(entries), len(entries))
    session.close()
    measured.accuracies[precision] = accuracies
    return logits


def _wide_layers(
    bundle: Bundle,
    plan: _Plan,
    losses: dict[str, float],
    inputs: dict[str, Array],
    expected: dict[str, Array],
    fp32: dict[str, float],
) -> frozenset[int]:
    """The layers to keep in fp32 for the subnets that lose too much."""
    names = bundle.manifest.inputs
    pool = bundle.pool("int8")
    entries = {name: pool[name] for name in losses}
    with tempfile.TemporaryDirectory() as folder:
        trial = Bundle(Path(folder), bundle.manifest, hash="")

        def open_graph(wide: frozenset[int]) -> ElasticSession:
            _write_graph(trial.path, plan, "int8", wide)
            return ElasticSession(trial, "int8", threads=_threads())

        def still_lost(session: ElasticSession) -> dict[str, float]:
            found = {name: measure_accuracy(session, names, entry, plan.encoded) for name, entry in entries.items()}
            return accuracy_losses(fp32, found, plan.int8_tolerance)

        return choose_wide(open_graph, entries, inputs, expected, still_lost)


def _threads() -> int:
    return max(1, os.cpu_count() or 1)
