"""`gearshift export`: a trained supernet as a bundle, or one of its subnets as a model of its own."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gearshift.commands.bundle import compressed, description, megabytes, pool_table
from gearshift.drawing.numbers import millions
from gearshift.errors import InputError
from gearshift.runtime.bundle.manifest import CPU_PRECISIONS, PRECISIONS
from gearshift.terminal.options import add_columns, columns_of, command, names, precisions
from gearshift.terminal.output import progress_line, show

if TYPE_CHECKING:
    from gearshift.export.pipeline import ExportReport
    from gearshift.export.vocabulary import VocabularyReport
    from gearshift.runtime import Bundle
    from gearshift.trainer.data.splits import DataSet
    from gearshift.trainer.model.run import Run


LISTED_SUBNETS = 16
"""Size of the largest pool that one stage lists whole by default: the graph's load time grows with the pool."""

_PRECISIONS: dict[str, tuple[str, ...] | None] = {"fast": None, "standard": ("fp32",), "gpu": ("fp32", "fp16")}
"""Table of operators -> precisions of a bundle by default; None: those of the kind of net."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    command(parser, export, extras=["export", "train"])
    parser.add_argument("run", type=Path, metavar="RUN", help="run directory of `gearshift train`")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="BUNDLE", help="bundle directory to write")
    parser.add_argument(
        "--checkpoint",
        metavar="ID",
        help="instead of a bundle, write this subnet as a Hugging Face model of its own size into the directory",
    )
    parser.add_argument("--data", type=Path, metavar="DATA", help="held-out rows (default: the data it was trained on)")
    _add_graph(parser)
    parser.add_argument(
        "--portable",
        type=names,
        metavar="ID,ID|all",
        help="also write these subnets, or all, as static ONNX models of their own, into BUNDLE.portable/ID",
    )
    parser.add_argument("--dan", type=Path, metavar="DANRUN", help="add this DAN of `train-dan` below the subnets")
    parser.add_argument(
        "--dan-mb", type=float, default=30, metavar="MB", help="largest size of the DAN in megabytes (default: 30)"
    )
    parser.add_argument(
        "--vocabulary",
        type=names,
        metavar="FILE,FILE|train",
        help="keep the pieces of these texts, one a line, or of the training rows; other words are spelt by smaller "
        "pieces (default: keep all)",
    )
    parser.add_argument(
        "--compress", action="store_true", help="write a compressed bundle: weights without their zeros, all deflated"
    )
    parser.add_argument("--licence", default="unspecified", help="licence of the model, for its manifest")
    add_columns(parser)


def _add_graph(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--precision",
        type=precisions,
        metavar="P,P",
        help=f"some of {','.join(PRECISIONS)}; fp16 is for GPUs (default: {','.join(CPU_PRECISIONS)}; "
        "with standard operators fp32, with those for GPUs fp32,fp16)",
    )
    parser.add_argument(
        "--operators",
        choices=list(_PRECISIONS),
        default="fast",
        help="fast (default): with ONNX Runtime's own operators; standard: those of ONNX alone, for other engines; "
        "gpu: for ONNX Runtime on CUDA, where it was not tried yet",
    )
    parser.add_argument(
        "--int8-tolerance",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="accuracy that a subnet may lose in int8 against fp32 before it is reported (default: 0.01, a point)",
    )
    parser.add_argument(
        "--wider", action="store_true", help="keep layers in fp32 within the int8 graph if it would lose more"
    )
    parser.add_argument(
        "--coarse",
        type=float,
        metavar="STEP",
        help="coarse steps for the weights of the int8 graph, as a share of their root mean square, by which a "
        "compressed bundle is smaller (docs/download.md)",
    )
    parser.add_argument(
        "--granularity",
        choices=["layer", "block", "pool"],
        help="unit of switching: each layer alone, blocks of layers, or whole subnets (default: whole subnets; layers "
        f"if there are more than {LISTED_SUBNETS} subnets)",
    )
    parser.add_argument("--block-layers", type=int, default=2, metavar="N", help="layers of a block (default: 2)")


def export(options: argparse.Namespace) -> int:
    """Write a bundle and show the measurements made on the way."""
    from gearshift.export.pipeline import export_bundle
    from gearshift.trainer.model.run_data import read_run_data
    from gearshift.trainer.nasbert.run import load_run
    from gearshift.trainer.vision.run import ImageRun, read_run_images

    if options.checkpoint is not None:
        return _extract(options)
    run = load_run(options.run)
    data: Any
    if isinstance(run, ImageRun):
        check_image_options(options)
        data = read_run_images(run, options.data)
    else:
        data = read_run_data(run, options.data, columns_of(options))
    chosen, portable = _portable(options, run)
    with progress_line() as progress:
        report = export_bundle(
            run,
            options.output,
            data.splits["test"],
            dev=data.splits["dev"],
            precisions=options.precision or _PRECISIONS[options.operators],
            operators=options.operators,
            coarse=options.coarse,
            int8_tolerance=options.int8_tolerance,
            wider=options.wider,
            layers_per_stage=None if isinstance(run, ImageRun) else _layers_per_stage(options, run),
            vocabulary=_vocabulary(options.vocabulary, data),
            licence=options.licence,
            progress=progress,
        )
        static: dict[str, float] = {}
        if chosen:
            from gearshift.export.portable import export_portable

            static = export_portable(run, portable, data.splits["test"], chosen, progress=progress)
    bundle = _with_dan(options, report.bundle, data)
    bundle = compressed(bundle) if options.compress else bundle
    measured = _measured(report, data, static, portable)
    show(options, {**description(bundle), **measured}, _lines(options, report, bundle, data, static, portable))
    return 0


def check_image_options(options: argparse.Namespace) -> None:
    """Raise InputError for an option that an export of images does not have."""
    strange = {
        "--granularity": options.granularity not in (None, "pool"),
        "--dan": options.dan is not None,
        "--vocabulary": options.vocabulary is not None,
        "--wider": options.wider,
    }
    for name, typed in strange.items():
        if typed:
            raise InputError(f"{name}: not for images, whose subnets are switched whole; leave it out")


def _with_dan(options: argparse.Namespace, bundle: Bundle, data: DataSet) -> Bundle:
    """Return the bundle with the requested DAN, if any."""
    if options.dan is None:
        return bundle
    from gearshift.export.dan import add_dan
    from gearshift.trainer.dan.run import load_dan_run

    dan, rows = load_dan_run(options.dan), data.splits
    return add_dan(bundle, dan, rows["test"], max_mb=options.dan_mb, held_out=rows["dev"])


def _lines(
    options: argparse.Namespace,
    report: ExportReport,
    bundle: Bundle,
    data: DataSet,
    static: dict[str, float],
    portable: Path,
) -> list[str]:
    parity, spelling = report.parity, report.vocabulary
    return [
        *data.notes,
        f"{options.output}: written and verified, {megabytes(bundle)}",
        *([] if parity is None else [f"fp32 logits within {parity:.1e} of torch over all subnets"]),
        *(f"{precision}: all {count} large weights packed" for precision, count in report.packed_weights.items()),
        *([] if spelling is None else [_spelling_line(spelling)]),
        *(f"int8: layer {layer} is computed in fp32" for layer in report.wide_layers),
        *(f"int8 {name} loses {100 * loss:.1f} points against fp32" for name, loss in report.losses.items()),
        *([f"{portable}: {len(static)} static models, within {max(static.values()):.1e} of torch"] if static else []),
        *pool_table(bundle),
    ]


def _measured(report: ExportReport, data: DataSet, static: dict[str, float], portable: Path) -> dict[str, Any]:
    measured: dict[str, Any] = {
        "parity": report.parity,
        "int8_losses": report.losses,
        "wide_layers": list(report.wide_layers),
        "notes": list(data.notes),
    }
    if report.vocabulary is not None:
        measured["vocabulary"] = dataclasses.asdict(report.vocabulary)
    if static:
        measured["portable"] = {"path": str(portable), "parity": static}
    return measured


def _vocabulary(asked: Sequence[str] | None, data: DataSet) -> list[str] | None:
    """Read the texts whose pieces are to stay: those of the training rows for `train`, or the lines of files."""
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
        "are spelt differently"
    )


def _extract(options: argparse.Namespace) -> int:
    """Write one subnet as a Hugging Face model."""
    from gearshift.export.extract import PRUNED_NOTE, extract_subnet, named_subnet
    from gearshift.trainer.model.run import load_supernet

    run, name = load_supernet(options.run), options.checkpoint
    run.require_one_head("--checkpoint")
    made = extract_subnet(run, name, named_subnet(run, name), options.output)
    checked = "not loaded here" if made.parity is None else f"within {made.parity:.1e} of the supernet"
    lines = [
        f"{made.path}: {name} as a Hugging Face model of {millions(made.parameters)} parameters, {checked}",
        *([PRUNED_NOTE] if made.prunes_heads else []),
    ]
    result = {"checkpoint": str(made.path), "subnet": name, **dataclasses.asdict(made), "path": str(made.path)}
    show(options, result, lines)
    return 0


def _layers_per_stage(options: argparse.Namespace, run: Run[Any, Any]) -> int:
    """Return the number of layers that are switched together."""
    granularity = options.granularity or ("pool" if len(run.subnets) <= LISTED_SUBNETS else "layer")
    return {"layer": 1, "block": int(options.block_layers), "pool": run.depth}[granularity]


def _portable(options: argparse.Namespace, run: Run[Any, Any]) -> tuple[tuple[str, ...], Path]:
    """Return the subnets to write as static models, none by default, and their directory; a refusal comes before the
    long work."""
    target = options.output.with_name(f"{options.output.name}.portable")
    if options.portable is None:
        return (), target
    run.require_one_head("--portable")
    run.require_transformers()
    from gearshift.export.portable import checked_names, require_free

    chosen = checked_names(run, None if options.portable == ("all",) else options.portable)
    require_free(target)
    return chosen, target
