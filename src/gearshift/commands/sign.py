"""`gearshift sign`: a signature for a bundle, and pairs of keys."""

from __future__ import annotations

import argparse
from pathlib import Path

from gearshift.commands.bundle import require_right
from gearshift.errors import SchemaError
from gearshift.runtime import open_bundle
from gearshift.terminal.options import command
from gearshift.terminal.output import show


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    command(parser, sign, extras=["sign"])
    parser.add_argument("bundle", type=Path, nargs="?", metavar="BUNDLE", help="bundle directory, compressed or not")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--key", type=Path, metavar="K", help="private key (Ed25519, PEM) to sign the bundle with")
    what.add_argument(
        "--new-key", type=Path, metavar="K", help="make a key: the private one in K, the public one in K.pub"
    )
    parser.add_argument(
        "--version",
        type=int,
        metavar="N",
        help="number of this version, greater than those before it: devices can refuse to go back",
    )
    parser.add_argument(
        "--name",
        metavar="NAME",
        help="name of the product whose version it is, the same for each version of it (default: the name in the "
        "manifest, that of the directory it was exported to)",
    )


def sign(options: argparse.Namespace) -> int:
    """Sign a bundle that passes the checks of `verify`, or make a pair of keys."""
    if options.new_key is not None:
        return _make_key(options)
    if options.bundle is None:
        options.wrong_usage("expected a BUNDLE to sign")
    from gearshift.runtime.bundle.keys import read_private_key, shown_key
    from gearshift.runtime.bundle.signatures import check_product, check_version, write_signature

    if options.version is not None:
        check_version(options.version)
    if options.name is not None:
        check_product(options.name)
    key = read_private_key(options.key)
    bundle = open_bundle(options.bundle)
    if bundle.digest is None:
        raise SchemaError(f"{bundle.origin}: expected a bundle with a digest, found an older one; export it again")
    require_right(bundle)
    made = write_signature(bundle.origin, bundle.digest, key, options.version, options.name)
    result = {
        "bundle": str(bundle.origin),
        "digest": bundle.digest,
        "key": made.key,
        "version": made.version,
        **({"name": made.name} if made.name is not None else {}),
    }
    show(options, result, [f"{bundle.origin}: signed by {shown_key(made.key)}, {made.shown_version}"])
    return 0


def _make_key(options: argparse.Namespace) -> int:
    from gearshift.runtime.bundle.keys import PUBLIC_SUFFIX, shown_key, write_new_pair

    if any(given is not None for given in (options.bundle, options.version, options.name)):
        options.wrong_usage("--new-key makes a key and signs nothing; sign with --key")
    name, public = write_new_pair(options.new_key), f"{options.new_key}{PUBLIC_SUFFIX}"
    lines = [f"{shown_key(name)}: {options.new_key}, to be kept secret; {public}, for those who verify"]
    show(options, {"key": name, "private": str(options.new_key), "public": public}, lines)
    return 0
