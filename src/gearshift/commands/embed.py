"""`gearshift embed`: the folder that an app in another language ships."""

from __future__ import annotations

import argparse
from pathlib import Path

from gearshift.commands.bundle import description, megabytes
from gearshift.runtime import open_bundle
from gearshift.terminal.options import command
from gearshift.terminal.output import progress_line, show


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    command(parser, embed)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="folder to write")


def embed(options: argparse.Namespace) -> int:
    """Write the folder and show what it holds."""
    from gearshift.export.embed import embed_bundle

    bundle = open_bundle(options.bundle)
    with progress_line() as progress:
        made = embed_bundle(bundle, options.output, progress)
    graphs = ", ".join(sorted({entry.file for entry in made.manifest.pool}))
    line = f"{options.output}: written and verified, {megabytes(made)}: {graphs}; see docs/embed.md for what is in it"
    show(options, description(made), [line])
    return 0
