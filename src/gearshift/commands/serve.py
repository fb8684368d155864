"""`gearshift serve`: answers to other programs over HTTP."""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from gearshift.server.access import VARIABLE, access_of, read_token
from gearshift.server.limits import Limits
from gearshift.server.listening import HOST, PORT, bound_path, bound_port, is_loopback, shown_address
from gearshift.terminal import streams
from gearshift.terminal.engine_options import add_cascade, add_engine_options, load_engine
from gearshift.terminal.options import add_settings, command, given

if TYPE_CHECKING:
    from gearshift.server.service import Service


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    command(parser, serve, extras=("serve",))
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")
    parser.add_argument(
        "--host", default=HOST, help=f"address to listen at (default: {HOST}; others need a token)", metavar="ADDRESS"
    )
    parser.add_argument("--port", type=int, default=PORT, metavar="N", help=f"port (default: {PORT}; 0: any free one)")
    parser.add_argument("--socket", type=Path, metavar="PATH", help="listen at a unix socket instead, of this user")
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help=f"file with the token that requests must bring (default: the variable {VARIABLE}, if it is set)",
    )
    add_cascade(parser)
    add_engine_options(parser)
    add_settings(parser, Limits)


def serve(options: argparse.Namespace) -> int:
    """Listen, load, and answer until SIGTERM or Ctrl-C."""
    from gearshift.server.serving import serve

    limits, token = Limits(**given(options, Limits)), read_token(options.token_file)
    with _bound(options) as bound:
        local = options.socket is not None
        access = access_of(None if local else options.host, loopback=local or is_loopback(bound), token=token)
        with load_engine(options, cascade=options.cascade, null_threshold=options.null_threshold) as engine:
            engine.warm_up()
            serve(engine, bound, access, limits, lambda service: _told(options, bound, service))
    return 0


def _bound(options: argparse.Namespace) -> contextlib.AbstractContextManager[socket.socket]:
    return bound_port(options.host, options.port) if options.socket is None else bound_path(options.socket)


def _told(options: argparse.Namespace, bound: socket.socket, service: Service) -> None:
    """Print where clients are answered."""
    manifest, address = service.engine.bundle.manifest, shown_address(bound)
    if options.json:
        told = {"address": address, "model": manifest.name, "task": manifest.task, "paths": service.paths}
        streams.result(json.dumps(told))
    else:
        streams.result(f"{manifest.name} ({manifest.task}) at {address}: {', '.join(service.paths)}")
