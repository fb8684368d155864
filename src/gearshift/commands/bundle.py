"""`gearshift unpack`, `inspect` and `verify`: the contents of a bundle."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
from pathlib import Path
from typing import Any

from gearshift.drawing.numbers import millions, percent
from gearshift.errors import StorageError
from gearshift.runtime import Bundle, open_bundle
from gearshift.runtime.bundle.keys import shown_key
from gearshift.runtime.bundle.manifest import Manifest
from gearshift.runtime.bundle.signatures import readable_signatures
from gearshift.runtime.bundle.signers import Signers
from gearshift.terminal.options import command
from gearshift.terminal.output import show, table


def add_unpack(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `unpack`."""
    command(parser, unpack)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory of `export --compress`")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="PLAIN", help="bundle directory to write")


def add_inspect(parser: argparse.ArgumentParser) -> None:
    """Add the argument of `inspect`."""
    command(parser, inspect)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")


def add_verify(parser: argparse.ArgumentParser) -> None:
    """Add the argument of `verify`."""
    command(parser, verify)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")
    parser.add_argument(
        "--public-key",
        type=Path,
        action="append",
        metavar="P",
        help="public key (Ed25519, PEM) that must have signed the bundle; may be repeated, then one of them",
    )
    parser.add_argument("--vectors", type=Path, metavar="FOLDER", help="also compare with what `vectors` wrote there")


def unpack(options: argparse.Namespace) -> int:
    """Write the dense bundle of a compressed one to a directory."""
    from gearshift.runtime.bundle.compressed import open_compressed
    from gearshift.runtime.bundle.compressed import unpack as write_unpacked

    compressed = open_compressed(options.bundle)
    write_unpacked(compressed, options.output)
    bundle = open_bundle(options.output)
    lines = [f"{options.output}: written and verified, {megabytes(bundle)} out of {compressed.bytes / 1e6:.1f} MB"]
    show(options, description(bundle), lines)
    return 0


def inspect(options: argparse.Namespace) -> int:
    """Show the contents of a bundle."""
    bundle = open_bundle(options.bundle)
    manifest = bundle.manifest
    counted = f"{len(manifest.labels)} labels, " if manifest.labels else ""
    lines = [
        f"{bundle.origin}: {manifest.task}, {counted}{megabytes(bundle)}, {bundle.hash[:12]}",
        *([f"labels: {', '.join(manifest.labels)}"] if manifest.labels else []),
        *(f"{head.name}: {head.task}, labels: {', '.join(head.labels)}" for head in manifest.heads),
        *([str(manifest.vectors)] if manifest.vectors is not None else []),
        f"{_read(manifest)}; licence {manifest.licence}; made by {manifest.made_by}",
        rows_line(bundle),
        f"manifest digest {bundle.digest or 'none (made before there were digests; export it again)'}",
        *signature_lines(bundle),
        *pool_table(bundle),
    ]
    show(options, description(bundle), lines)
    return 0


def _read(manifest: Manifest) -> str:
    """Write what a bundle reads."""
    if manifest.images is None:
        return f"texts up to {manifest.max_length} tokens"
    return f"images of {manifest.images.height} x {manifest.images.width} pixels, or resized to it"


def signature_lines(bundle: Bundle) -> list[str]:
    """Describe the signatures of a bundle, which nobody has checked, one a line; or why they cannot be read."""
    found, unreadable = readable_signatures(bundle.origin)
    if unreadable is not None:
        return [f"signatures cannot be read: {unreadable}"]
    return [
        f"signature by {shown_key(signature.key)}, {signature.shown_version} (`verify --public-key` checks it)"
        for signature in found
    ]


def verify(options: argparse.Namespace) -> int:
    """Check every file, the numbers of every subnet at every precision on this CPU, and packed weights kept here."""
    bundle = open_bundle(options.bundle, signers=Signers.of(options.public_key))
    require_right(bundle)
    compared = _compared(bundle, options.vectors)
    checked = ", ".join(
        f"{len(bundle.pool(precision))} subnets right at {precision}" for precision in bundle.precisions
    )
    dan = "" if bundle.dan is None else f", {bundle.dan.name} right"
    removed, signature = _removed_packed(bundle), bundle.signature
    lines = [
        f"{bundle.origin}: {len(bundle.manifest.files)} files intact, {checked}{dan}",
        *([f"signed by {shown_key(signature.key)}, {signature.shown_version}"] if signature is not None else []),
        *(
            [f"{compared['texts']} texts and {compared['decisions']} decisions as in {options.vectors}"]
            if compared
            else []
        ),
        *(
            f"packed weights of {precision} were damaged ({wrong}), and are removed"
            for precision, wrong in removed.items()
        ),
    ]
    result = {
        "bundle": str(bundle.origin),
        "hash": bundle.hash,
        "verified": True,
        "precisions": list(bundle.precisions),
        "removed_packed": removed,
        **({"vectors": compared} if compared else {}),
        **({"signature": signature.to_dict()} if signature is not None else {}),
    }
    show(options, result, lines)
    return 0


def require_right(bundle: Bundle) -> None:
    """Raise BundleError unless tokens, DAN, and every subnet's numbers at every precision are right on this CPU."""
    from gearshift.runtime.inference.self_test import check_dan, check_self_test, checked_encoder
    from gearshift.runtime.inference.session import ElasticSession

    checked_encoder(bundle)
    check_dan(bundle)
    for precision in bundle.precisions:
        with contextlib.closing(ElasticSession(bundle, precision, threads=1)) as session:
            check_self_test(session, bundle)


def _compared(bundle: Bundle, folder: Path | None) -> dict[str, int]:
    """Compare a bundle with the vectors of a folder; return their numbers, nothing without a folder."""
    if folder is None:
        return {}
    from gearshift.commands.vectors import opened_precisions
    from gearshift.runtime.conformance.decisions import check_decision_vectors
    from gearshift.runtime.conformance.texts import check_text_vectors

    with opened_precisions(bundle) as opened:
        return {"texts": check_text_vectors(folder, opened), "decisions": check_decision_vectors(folder)}


def _removed_packed(bundle: Bundle) -> dict[str, str]:
    """Check the packed weights of a bundle that engines keep here; return precision -> what was wrong, if removed."""
    from gearshift.runtime.packed.cache import PackedCache

    cache = PackedCache()
    try:
        found = {precision: cache.remove_if_damaged(bundle, precision) for precision in bundle.precisions}
    except StorageError:  # no cache that could be used
        return {}
    return {precision: wrong for precision, wrong in found.items() if wrong is not None}


def description(bundle: Bundle) -> dict[str, Any]:
    """Return the manifest of a bundle with its place and hash, for JSON."""
    download = {} if bundle.compressed is None else {"compressed_bytes": bundle.compressed.bytes}
    found, unreadable = readable_signatures(bundle.origin)
    signatures = [signature.to_dict() for signature in found]
    return {
        "bundle": str(bundle.origin),
        "hash": bundle.hash,
        "digest": bundle.digest,
        **({"signatures": signatures} if signatures else {}),
        **({"signatures_unreadable": unreadable} if unreadable is not None else {}),
        **download,
        **bundle.manifest.to_dict(),
    }


def rows_line(bundle: Bundle) -> str:
    """Name the rows that the accuracies of a bundle were measured on."""
    manifest = bundle.manifest
    if not manifest.chosen_by:
        return f"{manifest.metric} on {manifest.accuracy_rows} held-out rows"
    return (
        f"{manifest.metric} on {manifest.accuracy_rows} test rows; dev: on {manifest.dev_rows} other rows, by which "
        "the engine chooses"
    )


def pool_table(bundle: Bundle) -> list[str]:
    """Tabulate the subnets of a bundle with their accuracy at each precision, and its DAN."""
    manifest = bundle.manifest
    pools = {precision: bundle.entries(precision) for precision in bundle.precisions}
    entries = {name: entry for pool in pools.values() for name, entry in pool.items()}
    silent = any(entry.null_threshold is not None for entry in entries.values())
    header = (
        "subnet",
        "parameters",
        f"MACs ({manifest.counted})",
        *(f"{manifest.metric} {p}" for p in pools),
        *(f"{head.name} {p}" for p in pools for head in manifest.heads),
        *(f"dev {p}" for p in pools if manifest.chosen_by),
        *(["no answer above"] if silent else []),
    )
    rows = [
        (
            name,
            millions(entry.parameters),
            millions(entry.macs),
            *(percent(pool[name].accuracy) if name in pool else "" for pool in pools.values()),
            *(
                percent(pool[name].head_accuracies[head.name]) if name in pool else ""
                for pool in pools.values()
                for head in manifest.heads
            ),
            *(
                percent(pool[name].choosing_accuracy) if name in pool else ""
                for pool in pools.values()
                if manifest.chosen_by
            ),
            *([f"{entry.null_threshold:.2f}"] if entry.null_threshold is not None else []),
        )
        for name, entry in entries.items()
    ]
    return table(header, rows)


def megabytes(bundle: Bundle) -> str:
    """Format the size of a bundle, and of its download if it is compressed."""
    dense = f"{sum(file.bytes for file in bundle.manifest.files.values()) / 1e6:.1f} MB"
    return (
        dense if bundle.compressed is None else f"{bundle.compressed.bytes / 1e6:.1f} MB compressed, {dense} unpacked"
    )


def compressed(bundle: Bundle) -> Bundle:
    """Replace a bundle by its compressed form, for download."""
    from gearshift.export.compress import compress_bundle

    return dataclasses.replace(bundle, compressed=compress_bundle(bundle, bundle.path))
