"""`gearshift doctor`: check of this device, with advice."""

from __future__ import annotations

import argparse

from gearshift.errors import GearshiftError
from gearshift.terminal.options import command
from gearshift.terminal.output import show
from gearshift.terminal.streams import message


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    command(parser, doctor)
    parser.add_argument(
        "--clear-cache", action="store_true", help="remove the files that `run` and the engine keep on disk"
    )


def doctor(options: argparse.Namespace) -> int:
    """Show the findings about this device; the exit code is that of the worst."""
    from gearshift.runtime.doctor.examine import examine, exit_code

    if options.clear_cache:
        _clear_cache()
    report = examine()
    show(options, report.to_dict(), report.lines())
    if report.problem is not None:
        raise GearshiftError(report.problem)
    return exit_code(report)


def _clear_cache() -> None:
    from gearshift.runtime.bundle.compressed import unpacked_entries
    from gearshift.runtime.packed.cache import PackedCache

    cache, unpacked = PackedCache(), unpacked_entries()
    for directory, freed in ((cache.directory, cache.clear()), (unpacked.directory, unpacked.clear())):
        message(f"gearshift: {directory}: {freed / 1e6:.0f} MB freed")
