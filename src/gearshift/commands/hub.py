"""`gearshift hub`: a run and its bundle as a folder in the hub's layout, with a card of accuracies and latencies."""

from __future__ import annotations

import argparse
from pathlib import Path

from gearshift.runtime.bundle.manifest import PRECISIONS
from gearshift.terminal.options import command
from gearshift.terminal.output import show


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    command(parser, hub, extras=("export",))
    parser.add_argument("run", type=Path, metavar="RUN", help="run directory of `gearshift train`")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle that `gearshift export` made of it")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="folder to write, for `hf upload`"
    )
    parser.add_argument(
        "--precision", choices=["auto", *PRECISIONS], default="auto", help="precision of the card's latencies"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="threads of a call (default: half of the CPUs)")
    parser.add_argument(
        "--profile", type=Path, metavar="FILE", help="latencies (default: of this device, measured now if need be)"
    )


def hub(options: argparse.Namespace) -> int:
    """Write the folder, with latencies of this device."""
    from gearshift.device_profiles.profile import load_profile
    from gearshift.export.hub_folder import write_hub_folder
    from gearshift.runtime import Engine
    from gearshift.runtime.profiles.store import this_device
    from gearshift.trainer.nasbert.run import load_run

    run = load_run(options.run)
    device = this_device() if options.profile is None else load_profile(options.profile).device
    with Engine.load(
        options.bundle, precision=options.precision, threads=options.threads, profile=options.profile, sensors=False
    ) as engine:
        out = write_hub_folder(run, engine.bundle, options.output, engine.table, device)
        result = {"folder": str(out), "precision": engine.precision, "threads": engine.threads}
    show(options, result, [f"{out}: checkpoint, bundle and card; upload it with `hf upload OWNER/NAME {out}`"])
    return 0
