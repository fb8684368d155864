"""`gearshift search`: the block tables of a supernet, and its pool of subnets."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gearshift.drawing.numbers import millions, percent
from gearshift.errors import InputError
from gearshift.terminal.options import add_columns, columns_of, command, multipliers
from gearshift.terminal.output import show, table

if TYPE_CHECKING:
    from gearshift.runtime.tables.latency import LatencyPredictor
    from gearshift.trainer.search.search import SearchReport


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    command(parser, search, extras=["train"])
    parser.add_argument("run", type=Path, metavar="RUN", help="run directory of `gearshift train`")
    parser.add_argument("--data", type=Path, metavar="DATA", help="held-out rows (default: the data it was trained on)")
    parser.add_argument(
        "--stages", choices=["layer", "block"], default="layer", help="stage: a layer or a block (default: %(default)s)"
    )
    parser.add_argument("--block-layers", type=int, default=2, metavar="N", help="layers of a block (default: 2)")
    parser.add_argument(
        "--widths", type=multipliers, metavar="M,M", help="widths of a layer (default: those it was trained with)"
    )
    parser.add_argument("--separate", action="store_true", help="heads and neurons of a layer at widths of their own")
    parser.add_argument(
        "--profile", type=Path, metavar="FILE", help="choose the pool for this device (default: for several kinds)"
    )
    parser.add_argument(
        "--measured", type=Path, metavar="BUNDLE", help="bundle that the profile was measured with, of this encoder"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="picture of losses and sizes to write, .png or .svg")
    parser.add_argument("--pool", type=int, default=50, metavar="N", help="subnets to choose (default: 50)")
    parser.add_argument(
        "--rescored",
        type=int,
        default=200,
        metavar="N",
        help="number of candidates whose real loss is measured (default: 200)",
    )
    add_columns(parser)


def search(options: argparse.Namespace) -> int:
    """Write the block tables and the pool of a supernet, and show the pool."""
    from gearshift.trainer.model.run import load_supernet
    from gearshift.trainer.model.run_data import read_run_data
    from gearshift.trainer.search.search import search_run

    if options.plot is not None:  # a name that cannot be written is found before the long work
        from gearshift.drawing.figure import check_format
        from gearshift.drawing.search import plot_search

        check_format(options.plot)
    run = load_supernet(options.run)
    data = read_run_data(run, options.data, columns_of(options))
    devices = _devices(options)
    report = search_run(
        run,
        data,
        widths=options.widths,
        layers_per_stage=1 if options.stages == "layer" else options.block_layers,
        separate=options.separate,
        pool=options.pool,
        rescored=options.rescored,
        devices=devices,
    )
    if options.plot is not None:
        plot_search(report, options.plot, devices)
    notes = [*data.notes, *report.notes]
    lines = [
        *notes,
        f"{run.path}: {len(report.pool)} subnets chosen on {report.tables.loss_rows} dev rows, "
        f"{report.metric} on {report.test_rows} test rows",
        f"{report.evaluations} losses measured; summed against measured loss: Spearman {report.spearman:.3f} "
        f"over {report.compared} subnets",
        *_pool_table(report),
    ]
    show(options, {"run": str(run.path), "notes": notes, **report.to_dict()}, lines)
    return 0


def _pool_table(report: SearchReport) -> list[str]:
    header = (
        "subnet",
        "parameters",
        f"MACs ({report.tables.macs_tokens} tokens)",
        "loss",
        "summed",
        f"{report.metric}, dev",
        "test",
    )
    rows = [
        (
            one.name,
            millions(one.parameters),
            millions(one.macs),
            f"{one.loss:.4f}",
            "" if one.summed_loss is None else f"{one.summed_loss:.4f}",
            percent(one.dev_accuracy),
            percent(one.accuracy),
        )
        for one in report.pool
    ]
    return table(header, rows)


def _devices(options: argparse.Namespace) -> dict[str, LatencyPredictor] | None:
    """Read the latencies of the device that a pool is for; None if no device is given."""
    if options.profile is None and options.measured is None:
        return None
    if options.profile is None or options.measured is None:
        raise InputError("search: expected both --profile and --measured, the bundle that it was measured with")
    from gearshift.runtime import open_bundle
    from gearshift.runtime.tables.from_profile import latencies

    return latencies(options.profile, open_bundle(options.measured))
