"""Commands that make, shrink, check and show bundles."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gearshift.commands.output import millions as _millions
from gearshift.commands.output import percent as _percent
from gearshift.commands.output import show as _print
from gearshift.commands.output import table as _table
from gearshift.commands.task_data import data_path
from gearshift.commands.task_data import read_task_data as _read_data
from gearshift.runtime import Bundle, open_bundle
from gearshift.runtime.bundle.compressed import open_compressed
from gearshift.runtime.bundle.compressed import unpack as write_unpacked
from gearshift.runtime.bundle.manifest import CPU_PRECISIONS
from gearshift.runtime.inference.self_test import check_dan, check_self_test
from gearshift.runtime.inference.session import ElasticSession

if TYPE_CHECKING:
    from gearshift.export.vocabulary import VocabularyReport
    from gearshift.trainer.data.splits import DataSet
    from gearshift.trainer.model.checkpoint import Run


LISTED_SUBNETS = 16
"""Largest pool that one stage lists whole unless asked to: its graph loads in a time that grows with the pool."""


def export(options: argparse.Namespace) -> int:
    """Write a bundle and show what was measured on the way."""
    from gearshift.commands.progress import progress_bar
    from gearshift.export.pipeline import export_bundle
    from gearshift.trainer.nasbert.run import load_any_run

    if options.checkpoint is not None:
        return _extract(options)
    run = load_any_run(options.run)
    data = _read_data(options, data_path(options, run), run.checkpoint.task, run)
    names, portable = _portable(options, run)
    precisions = options.precision or (CPU_PRECISIONS if options.operators == "fast" else ("fp32",))
    with progress_bar() as progress:
        report = export_bundle(
            run,
            options.output,
            data.splits["test"],
            precisions=precisions,
            operators=options.operators,
            int8_tolerance=options.int8_tolerance,
            wider=options.wider,
            layers_per_stage=_layers_per_stage(options, run),
            vocabulary=_vocabulary(options.vocabulary, data),
            licence=options.licence,
            progress=progress,
        )
        static: dict[str, float] = {}
        if names:
            from gearshift.export.portable import export_portable

            static = export_portable(run, portable, data.splits["test"], names, progress=progress)
    if options.dan is not None:
        from gearshift.export.dan import add_dan
        from gearshift.trainer.dan.run import load_dan_run

        with_dan = add_dan(
            report.bundle,
            load_dan_run(options.dan),
            data.splits["test"],
            max_mb=options.dan_mb,
            held_out=data.splits["dev"],
        )
        report = dataclasses.replace(report, bundle=with_dan)
    spelling = report.vocabulary
    if options.compress:
        report = dataclasses.replace(report, bundle=_compressed(report.bundle))
    parity = report.parity
    lines = [
        *data.notes,
        f"{options.output}: written and verified, {_megabytes(report.bundle)}",
        *([] if parity is None else [f"fp32 logits within {parity:.1e} of torch over all subnets"]),
        *(f"{precision}: all {count} large weights packed" for precision, count in report.packed_weights.items()),
        *([] if spelling is None else [_spelling_line(spelling)]),
        *(f"int8: layer {layer} is computed in fp32" for layer in report.wide_layers),
        *(f"int8 {name} loses {100 * loss:.1f} points against fp32" for name, loss in report.losses.items()),
        *([f"{portable}: {len(static)} static models, within {max(static.values()):.1e} of torch"] if static else []),
        *_pool_table(report.bundle),
    ]
    measured: dict[str, Any] = {
        "parity": parity,
        "int8_losses": report.losses,
        "wide_layers": list(report.wide_layers),
        "notes": list(data.notes),
    }
    if spelling is not None:
        measured["vocabulary"] = asdict(spelling)
    if static:
        measured["portable"] = {"path": str(portable), "parity": static}
    _print(options, {**_description(report.bundle), **measured}, lines)
    return 0


def _vocabulary(asked: Sequence[str] | None, data: DataSet) -> list[str] | None:
    """The texts whose pieces are to stay: those of the training rows for `train`, or the lines of files."""
    if asked is None:
        return None
    from gearshift.export.vocabulary import texts_of
    from gearshift.trainer.data.formats import read_texts

    return [
        text
        for name in asked
        for text in (texts_of(data.splits["train"]) if name == "train" else read_texts(Path(name)))
    ]


def _spelling_line(spelling: VocabularyReport) -> str:
    return (
        f"vocabulary: {spelling.kept} of {spelling.of} pieces; {spelling.respelt} of {spelling.texts} held-out texts "
        "are spelt otherwise"
    )


def _extract(options: argparse.Namespace) -> int:
    """Write one subnet as a Hugging Face model."""
    from gearshift.export.extract import PRUNED_NOTE, extract_subnet, named_subnet
    from gearshift.trainer.model.checkpoint import load_run

    run, name = load_run(options.run), options.checkpoint
    made = extract_subnet(run, name, named_subnet(run, name), options.output)
    checked = "not loaded here" if made.parity is None else f"within {made.parity:.1e} of the supernet"
    lines = [
        f"{made.path}: {name} as a Hugging Face model of {_millions(made.parameters)} parameters, {checked}",
        *([PRUNED_NOTE] if made.prunes_heads else []),
    ]
    result = {"checkpoint": str(made.path), "subnet": name, **dataclasses.asdict(made), "path": str(made.path)}
    _print(options, result, lines)
    return 0


def _layers_per_stage(options: argparse.Namespace, run: Run[Any, Any]) -> int:
    """Number of layers that are switched together."""
    granularity = options.granularity or ("pool" if len(run.subnets) <= LISTED_SUBNETS else "layer")
    return {"layer": 1, "block": int(options.block_layers), "pool": run.depth}[granularity]


def _portable(options: argparse.Namespace, run: Run[Any, Any]) -> tuple[tuple[str, ...], Path]:
    """The subnets to write as static models, none by default, and where; a refusal comes before the long work."""
    target = options.output.with_name(f"{options.output.name}.portable")
    if options.portable is None:
        return (), target
    run.require_transformers()
    from gearshift.export.portable import checked_names, require_free

    names = checked_names(run, None if options.portable == ("all",) else options.portable)
    require_free(target)
    return names, target


def trim(options: argparse.Namespace) -> int:
    """Write a smaller bundle and show what it holds."""
    from gearshift.export.trim import trim_bundle

    bundle = open_bundle(options.bundle)
    smaller = trim_bundle(
        bundle, options.output, keep=options.keep, max_mb=options.max_mb, precisions=options.precision
    )
    smaller = _compressed(smaller) if options.compress else smaller
    lines = [
        f"{options.output}: written and verified, {_megabytes(smaller)} of {_megabytes(bundle)}",
        *_pool_table(smaller),
    ]
    _print(options, _description(smaller), lines)
    return 0


def unpack(options: argparse.Namespace) -> int:
    """Write the dense bundle of a compressed one to a directory."""
    compressed = open_compressed(options.bundle)
    write_unpacked(compressed, options.output)
    bundle = open_bundle(options.output)
    lines = [f"{options.output}: written and verified, {_megabytes(bundle)} out of {compressed.bytes / 1e6:.1f} MB"]
    _print(options, _description(bundle), lines)
    return 0


def inspect(options: argparse.Namespace) -> int:
    """Show what a bundle holds."""
    bundle = open_bundle(options.bundle)
    manifest = bundle.manifest
    counted = f"{len(manifest.labels)} labels, " if manifest.labels else ""
    lines = [
        f"{bundle.origin}: {manifest.task}, {counted}{_megabytes(bundle)}, {bundle.hash[:12]}",
        *([f"labels: {', '.join(manifest.labels)}"] if manifest.labels else []),
        f"texts up to {manifest.max_length} tokens; licence {manifest.licence}; made by {manifest.made_by}",
        f"{manifest.metric} on {manifest.accuracy_rows} held-out rows",
        *_pool_table(bundle),
    ]
    _print(options, _description(bundle), lines)
    return 0


def verify(options: argparse.Namespace) -> int:
    """Check every file, and the numbers of every subnet at every precision on this CPU."""
    bundle = open_bundle(options.bundle)
    for precision in bundle.precisions:
        with contextlib.closing(ElasticSession(bundle, precision, threads=1)) as session:
            check_self_test(session, bundle)
    check_dan(bundle)
    checked = ", ".join(
        f"{len(bundle.pool(precision))} subnets right at {precision}" for precision in bundle.precisions
    )
    dan = "" if bundle.dan is None else f", {bundle.dan.name} right"
    lines = [f"{bundle.origin}: {len(bundle.manifest.files)} files as they must be, {checked}{dan}"]
    result = {
        "bundle": str(bundle.origin),
        "hash": bundle.hash,
        "verified": True,
        "precisions": list(bundle.precisions),
    }
    _print(options, result, lines)
    return 0


def _compressed(bundle: Bundle) -> Bundle:
    """The bundle, written again for the download in place of what stood there."""
    from gearshift.export.compress import compress_bundle

    return dataclasses.replace(bundle, compressed=compress_bundle(bundle, bundle.path))


def _description(bundle: Bundle) -> dict[str, Any]:
    download = {} if bundle.compressed is None else {"compressed_bytes": bundle.compressed.bytes}
    return {"bundle": str(bundle.origin), "hash": bundle.hash, **download, **bundle.manifest.to_dict()}


def _pool_table(bundle: Bundle) -> list[str]:
    manifest = bundle.manifest
    pools = {precision: bundle.gears(precision) for precision in bundle.precisions}
    entries = {name: entry for pool in pools.values() for name, entry in pool.items()}
    header = (
        "subnet",
        "parameters",
        f"MACs ({manifest.macs_tokens} tokens)",
        *(f"{manifest.metric} {p}" for p in pools),
    )
    rows = [
        (
            name,
            _millions(entry.parameters),
            _millions(entry.macs),
            *(_percent(pool[name].accuracy) if name in pool else "" for pool in pools.values()),
        )
        for name, entry in entries.items()
    ]
    return _table(header, rows)


def _megabytes(bundle: Bundle) -> str:
    dense = f"{sum(file.bytes for file in bundle.manifest.files.values()) / 1e6:.1f} MB"
    return (
        dense if bundle.compressed is None else f"{bundle.compressed.bytes / 1e6:.1f} MB compressed, {dense} unpacked"
    )
