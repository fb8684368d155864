"""Export pipeline: from a trained supernet to a verified bundle in four steps: prepare, write, measure, seal."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gearshift.errors import InputError
from gearshift.export.calibrate import ROWS, input_products
from gearshift.export.card import model_card
from gearshift.export.checks.parity import INT8_TOLERANCE
from gearshift.export.checks.tokens import token_vectors
from gearshift.export.checks.words import word_arrays
from gearshift.export.graph.operators import OPERATORS
from gearshift.export.graph.quantizer import MOST_STEP, CoarseQuantizer
from gearshift.export.measure import Measured, measure
from gearshift.export.prepare import Prepared, prepare, with_thresholds
from gearshift.export.prepare_images import PRECISIONS as IMAGE_PRECISIONS
from gearshift.export.prepare_images import prepare_images
from gearshift.export.vocabulary import VocabularyReport
from gearshift.export.write import Progress as Progress
from gearshift.export.write import write
from gearshift.runtime.bundle.bundle import Bundle, open_bundle, write_manifest
from gearshift.runtime.bundle.compressed import CARD
from gearshift.runtime.bundle.manifest import CPU_PRECISIONS, MANIFEST, PRECISIONS, SELF_TEST, TOKENIZER
from gearshift.runtime.files.atomic import replacing_directory
from gearshift.runtime.inference.self_test import check_self_test, checked_encoder
from gearshift.runtime.inference.self_test_file import logits_names
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.inference.token_vectors import write_token_vectors
from gearshift.runtime.tables.tables_file import TABLES, save_tables
from gearshift.trainer.data.images import ImageRows
from gearshift.trainer.data.rows import Row
from gearshift.trainer.model.elastic import ElasticClassifier
from gearshift.trainer.model.run import Run
from gearshift.trainer.model.run_data import read_run_data
from gearshift.trainer.nasbert.run import load_run
from gearshift.trainer.vision.run import ImageRun, read_run_images


@dataclass(frozen=True)
class ExportReport:
    """Exported bundle, with the measurements of its export."""

    bundle: Bundle
    parity: float | None
    """Largest difference of an fp32 logit from torch, over all pool subnets; None without an fp32 graph."""
    packed_weights: dict[str, int]
    """Precision -> number of large weights, all of which were packed."""
    losses: dict[str, float]
    """Subnets that lose more than the tolerance in int8, with the loss as a share of 1, on the rows that choose."""
    wide_layers: tuple[int, ...] = ()
    """Layers that the int8 graph computes in fp32."""
    vocabulary: VocabularyReport | None = None
    """Report of the shrinking of the vocabulary; None if it was not shrunk."""


def export_bundle(
    run: Run[Any, Any] | Path | str,
    out: Path | str,
    rows: Sequence[Row] | ImageRows | None = None,
    *,
    dev: Sequence[Row] | ImageRows = (),
    precisions: Sequence[str] | None = None,
    layers_per_stage: int | None = None,
    operators: str = "fast",
    int8_tolerance: float = INT8_TOLERANCE,
    wider: bool = False,
    coarse: float | None = None,
    vocabulary: Collection[str] | None = None,
    licence: str = "unspecified",
    progress: Progress = lambda what, done, total: None,
) -> ExportReport:
    """Write the bundle of a supernet, atomically, and check it.

    `run`: a run, or its directory.

    `rows`: held-out rows; the metric of every pool subnet is measured on them at each precision, to be reported.
    Default: the test rows of the data that the run was trained on, and its dev rows as `dev`.

    `dev`: other held-out rows; the metric on them chooses: the layers of `wider`, and the subnets between which an
    engine switches. Without any, that on `rows` does. Thresholds of no answer are chosen on them too, for a net that a
    training loop of your own saved; other runs have theirs from their training.

    `precisions`: fp32 and int8 by default; of a net of convolutions fp32, the only one yet.

    `layers_per_stage`: number of layers that are switched together. With 1, the default, the options of all layers can
    be mixed freely. With all layers in one stage, its options are the subnets themselves, which runs fastest and loads
    slowest. A net of mixed operations keeps its stages, and one of convolutions has a single stage.

    `operators`: `fast`, `standard` for a graph that other engines can run, or `gpu` for ONNX Runtime on CUDA.

    `int8_tolerance`: accuracy that a subnet may lose in int8, as a share of 1. The manifest names the subnets that lose
    more. With `wider`, the layers that cause the loss are kept in fp32 within the int8 graph, if a few are enough.

    `coarse`: step of the weights of the int8 graph, as a share of their root mean square; a compressed bundle then
    takes some three bits a weight. Errors are made up for on training rows, which must be there. None: the finest
    steps.

    `vocabulary`: texts whose pieces stay in the word table; other text is spelt by smaller pieces. None keeps all.

    Raises ModelError if there is no run, InputError if the run does not name its data, DataError if the data cannot be
    read, ExportError if a graph differs from the model, StorageError if `out` cannot be written.
    """
    out = Path(out)
    run = load_run(Path(run)) if isinstance(run, Path | str) else run
    run.require_tuned()
    of_images = isinstance(run, ImageRun)
    if precisions is None:
        precisions = IMAGE_PRECISIONS if of_images else CPU_PRECISIONS
    _check_arguments(precisions, operators, int8_tolerance)
    if coarse is not None:
        _check_coarse(run, precisions, coarse)
    name = out.name.removesuffix(".gearshift")
    if isinstance(run, ImageRun):
        if operators == "gpu":
            raise InputError("operators gpu: are for texts; a net of convolutions has fast and standard ones")
        if wider or vocabulary is not None or layers_per_stage is not None:
            raise InputError("export: wider, vocabulary and layers_per_stage are for texts; leave them out")
        prepared = _prepared_images(run, rows, dev, name, precisions, operators, licence)
    else:
        if rows is None:
            splits = read_run_data(run).splits
            rows, dev = splits["test"], splits["dev"]
        of_texts: Any = rows
        held_out: Any = dev
        prepared = prepare(
            with_thresholds(run, held_out),
            of_texts,
            name,
            dev=held_out,
            precisions=precisions,
            layers_per_stage=layers_per_stage or 1,
            operators=operators,
            vocabulary=vocabulary,
            licence=licence,
            typical=[] if coarse is None else read_run_data(run).splits["train"][:ROWS],
        )
        if coarse is not None:
            prepared = _with_coarse(prepared, coarse)
    with replacing_directory(out, marker=MANIFEST) as fresh:
        graphs = write(prepared, fresh, progress)
        measured = measure(prepared, graphs, int8_tolerance=int8_tolerance, wider=wider, progress=progress)
        bundle = dataclasses.replace(seal(prepared, measured), path=out)
    return ExportReport(
        bundle,
        parity=measured.of["fp32"].parity if "fp32" in measured.of else None,
        packed_weights=dict(measured.graphs.packed),
        losses=dict(measured.losses),
        wide_layers=bundle.manifest.wide_layers,
        vocabulary=prepared.vocabulary,
    )


def _check_coarse(run: Run[Any, Any], precisions: Sequence[str], step: float) -> None:
    if not 0 < step <= MOST_STEP:
        raise InputError(f"coarse: expected a share of 1 up to {MOST_STEP:g}, such as .4, got {step!r}")
    if "int8" not in precisions or not isinstance(run.checkpoint.model, ElasticClassifier):
        raise InputError("coarse: is for the int8 graph of an elastic net of texts; leave it out")


def _with_coarse(prepared: Prepared, step: float) -> Prepared:
    """Return an export whose int8 weights have coarse steps, chosen by the inputs of typical rows."""
    products = input_products(prepared.run.checkpoint.model, prepared.run.subnets, prepared.typical)
    head_size = prepared.draft.space.shape.head_size
    return dataclasses.replace(prepared, quantizer=CoarseQuantizer(step, products, head_size))


def _prepared_images(
    run: ImageRun, rows: Any, dev: Any, name: str, precisions: Sequence[str], operators: str, licence: str
) -> Prepared:
    """Prepare a net of convolutions, with the images that it was trained on unless some are given."""
    if rows is None:
        splits = read_run_images(run).splits
        rows, dev = splits["test"], splits["dev"]
    dev = dev if len(dev) else None
    return prepare_images(run, rows, name, dev=dev, precisions=precisions, operators=operators, licence=licence)


def _check_arguments(precisions: Sequence[str], operators: str, int8_tolerance: float) -> None:
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


def seal(prepared: Prepared, measured: Measured) -> Bundle:
    """Write all files besides the graphs, the manifest last, and check the bundle as a device would."""
    folder, draft = measured.graphs.bundle.path, prepared.draft
    pool = (
        dataclasses.replace(
            entry,
            accuracy=measured.of[entry.precision].accuracies[entry.name],
            dev_accuracy=measured.of[entry.precision].dev_accuracies.get(entry.name),
            head_accuracies=dict(measured.of[entry.precision].head_accuracies[entry.name]),
        )
        for entry in draft.pool
    )
    manifest = dataclasses.replace(
        draft, pool=tuple(pool), losses=dict(measured.losses), wide_layers=tuple(sorted(measured.graphs.wide))
    )
    if draft.images is None:
        (folder / TOKENIZER).write_text(prepared.run.checkpoint.tokenizer.to_str(), encoding="utf-8")
    if prepared.tables is not None:
        save_tables(folder / TABLES, prepared.tables)
    arrays: dict[str, Any] = dict(prepared.inputs)
    tagger = next((place for place, head in enumerate(draft.every_head) if head.tagging is not None), None)
    if tagger is not None:
        rows = prepared.encoded.heads[tagger].rows if draft.heads else prepared.encoded
        arrays |= word_arrays(prepared.run.checkpoint.tokenizer, draft.every_head[tagger], rows, draft.max_length)
    for precision, graph in measured.of.items():
        for name, logits in graph.logits.items():
            arrays |= zip(logits_names(draft, precision, name), logits, strict=True)
    np.savez_compressed(folder / SELF_TEST, **arrays)
    (folder / CARD).write_text(model_card(manifest), encoding="utf-8")
    if draft.images is None:
        write_token_vectors(folder, token_vectors(dataclasses.replace(measured.graphs.bundle, manifest=manifest)))
    write_manifest(folder, manifest)
    written = open_bundle(folder)
    for precision in prepared.precisions:
        session = ElasticSession(written, precision, threads=1)
        check_self_test(session, written)
        session.close()
    checked_encoder(written)
    return written
