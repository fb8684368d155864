"""The arguments of the commands that make, shrink, check and show bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gearshift.commands import bundle_commands
from gearshift.commands.options import add_columns, command, names, precisions
from gearshift.runtime.bundle.manifest import CPU_PRECISIONS, PRECISIONS


def add_bundles(listed: Any) -> None:
    """Add these commands to those that are listed."""
    _add_export(listed)
    _add_trim(listed)
    _add_unpack(listed)
    _add_inspect(listed)
    _add_verify(listed)


def _add_export(listed: Any) -> None:
    parser = command(listed, "export", bundle_commands.export, "write a trained supernet as a bundle")
    parser.add_argument("run", type=Path, metavar="RUN", help="run directory of `gearshift train`")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="BUNDLE", help="bundle directory to write")
    parser.add_argument(
        "--checkpoint",
        metavar="ID",
        help="instead of a bundle, write this subnet as a Hugging Face model of its own size into the directory",
    )
    parser.add_argument("--data", type=Path, metavar="DATA", help="held-out rows (default: the data it was trained on)")
    parser.add_argument(
        "--precision",
        type=precisions,
        metavar="P,P",
        help=f"some of {','.join(PRECISIONS)}; fp16 is for GPUs (default: {','.join(CPU_PRECISIONS)}; "
        "of standard operators fp32)",
    )
    parser.add_argument(
        "--operators",
        choices=["fast", "standard"],
        default="fast",
        help="fast (default): with the library's own; standard: those of ONNX alone, for other engines",
    )
    parser.add_argument(
        "--int8-tolerance",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="accuracy that a size may lose in int8 against fp32 before it is said (default: 0.01, a point)",
    )
    parser.add_argument(
        "--wider", action="store_true", help="keep layers in fp32 within the int8 graph where it would lose more"
    )
    parser.add_argument(
        "--granularity",
        choices=["layer", "block", "pool"],
        help="what is switched together: each layer alone, blocks of layers, or whole subnets (default: whole subnets, "
        f"and of more than {bundle_commands.LISTED_SUBNETS} each layer)",
    )
    parser.add_argument("--block-layers", type=int, default=2, metavar="N", help="layers of a block (default: 2)")
    parser.add_argument(
        "--portable",
        type=names,
        metavar="ID,ID|all",
        help="also write these subnets, or all, as static ONNX models of their own, into BUNDLE.portable/ID",
    )
    parser.add_argument("--dan", type=Path, metavar="DANRUN", help="add this DAN of `train-dan` as the smallest gear")
    parser.add_argument("--dan-mb", type=float, default=30, metavar="MB", help="most megabytes of it (default: 30)")
    parser.add_argument(
        "--vocabulary",
        type=names,
        metavar="FILE,FILE|train",
        help="keep the pieces of these texts, one a line, or of the training rows; other words are spelt by smaller "
        "pieces (default: keep all)",
    )
    parser.add_argument(
        "--compress", action="store_true", help="write it for the download: weights without their zeros, all deflated"
    )
    parser.add_argument("--licence", default="unspecified", help="licence of the model, for its manifest")
    add_columns(parser)


def _add_trim(listed: Any) -> None:
    parser = command(listed, "trim", bundle_commands.trim, "write a smaller bundle with some of a bundle's subnets")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="SMALLER", help="bundle directory to write")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--max-mb",
        type=float,
        metavar="MB",
        help="keep the most accurate subnet that fits, and as many others as fit beside it",
    )
    what.add_argument("--keep", type=names, metavar="ID,ID", help="keep these subnets; `inspect` lists them")
    parser.add_argument("--precision", type=precisions, metavar="P,P", help="precisions to keep (default: all)")

    parser.add_argument("--compress", action="store_true", help="write it for the download; --max-mb is of it unpacked")


def _add_unpack(listed: Any) -> None:
    parser = command(listed, "unpack", bundle_commands.unpack, "write what a compressed bundle holds as a plain one")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory of `export --compress`")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="PLAIN", help="bundle directory to write")


def _add_inspect(listed: Any) -> None:
    parser = command(listed, "inspect", bundle_commands.inspect, "show what a bundle holds")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")


def _add_verify(listed: Any) -> None:
    parser = command(
        listed, "verify", bundle_commands.verify, "check every file and the numbers of every subnet on this CPU"
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")
