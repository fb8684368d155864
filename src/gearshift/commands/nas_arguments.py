"""The arguments of the commands that search and train nets of mixed operations."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gearshift.commands import nas_commands
from gearshift.commands.options import GOES_ON, Flags, add_columns, add_flags, command, whole_numbers
from gearshift.runtime.bundle.manifest import PRECISIONS
from gearshift.runtime.bundle.tasks import TASKS

_COMMON: Flags = {
    "batch_size": (int, "pieces of text of a training step"),
    "lr": (float, "peak learning rate"),
    "warmup": (float, "share of the steps in which the learning rate rises"),
    "weight_decay": (float, "weight decay of AdamW"),
    "clip": (float, "largest norm of a step's gradient"),
    "save_every_s": (float, "seconds that an interruption loses at most"),
    "seed": (int, "what all random numbers follow from"),
}


_TEXT: Flags = {
    "block_layers": (int, "layers of the teacher that a block stands for"),
    "max_length": (int, "tokens of a piece of text"),
    "tokens": (int, "tokens of text to learn from, at most"),
    "dev_tokens": (int, "tokens of text to score on"),
}


SEARCH: Flags = {
    **_TEXT,
    "sizes": (whole_numbers, "hidden sizes of blocks (default: the paper's shares of the teacher's)"),
    "warm_epochs": (int, "epochs before the first deletion"),
    "last_epochs": (int, "epochs at the end, besides the one that follows each deletion"),
    "buckets": (int, "kinds of sizes, of which none dies out"),
    "bucketing": (str, "quantile: as many blocks in each bucket; fixed: buckets of one width, as in the paper"),
    "sampled": (int, "blocks of a bucket that are scored in an epoch"),
    "deleted": (float, "share of them that is deleted"),
    "kept": (int, "blocks that are left of each bucket"),
    "score_batches": (int, "batches of held-out text that they are scored on"),
    "shrink": (str, "architectures: blocks are deleted; operations: an operation at a place; none: nothing"),
    "max_rounds": (int, "deletions at most; what is then left of a bucket stays, be it more than kept"),
    **_COMMON,
}


NET: Flags = {
    **_TEXT,
    "embedding": (int, "width of the embeddings"),
    "embeddings_from": (str, "teacher: its own, along their principal directions; random: none"),
    "objective": (str, "hidden: the teacher's states behind each block; masked: masked words"),
    "distilled": (bool, "learn from the teacher; without, from masked words alone"),
    "distillation_weight": (float, "weight of the teacher's guesses against the masked words themselves"),
    "masked_share": (float, "tokens that are masked"),
    "epochs": (float, "epochs over the text"),
    "dropout": (float, "share of values that are zeroed while it learns on text"),
    **_COMMON,
}


TUNE: Flags = {
    "distillation_weight": (float, "weight of the teacher's answers against the labels; 0 needs no teacher"),
    "epochs": (float, "epochs over the rows"),
    "max_length": (int, "tokens of a text; longer ones are cut"),
    "head_lr_factor": (float, "learning rate of the task head / that of the net"),
    **_COMMON,
}


def add_nas(listed: Any) -> None:
    """Add the commands."""
    search = command(
        listed, "nas-search", nas_commands.search, "search nets of mixed operations, block by block (NAS-BERT)"
    )
    search.add_argument(
        "--model", help="teacher: run of `gearshift train`, directory or hub name (default: all-MiniLM-L6-v2)"
    )
    _add_text(search)
    search.add_argument("-o", "--output", type=Path, required=True, metavar="NAS", help="directory to write")
    search.add_argument("--plot", type=Path, metavar="FILE", help="picture of buckets and blocks, .png or .svg")
    search.set_defaults(when_interrupted=GOES_ON)
    _add_device(search)
    add_flags(search, SEARCH, _defaults("SearchSettings"))

    told = "write a bundle of all operations of a search, to be timed on a device"
    operations = command(listed, "nas-operations", nas_commands.operations, told)
    operations.add_argument("nas", type=Path, metavar="NAS", help="directory of `nas-search`")
    operations.add_argument("-o", "--output", type=Path, required=True, metavar="BUNDLE", help="bundle to write")
    operations.add_argument(
        "--sizes", type=whole_numbers, metavar="N,N", help="hidden sizes (default: those of the search)"
    )

    net = command(
        listed, "nas-train", nas_commands.train, "pick the best net under limits, or name one, and train it on text"
    )
    net.add_argument("nas", type=Path, metavar="NAS", help="directory of `nas-search`")
    for name, text in (
        ("parameters", "most parameters, embeddings included"),
        ("macs", "most multiply-accumulates for 128 tokens"),
        ("bytes", "most bytes of weights at --precision"),
    ):
        net.add_argument(f"--{name}", type=float, metavar="N", help=text)
    net.add_argument("--latency-ms", type=float, metavar="MS", help="longest call on the device of --profile")
    net.add_argument(
        "--task",
        choices=list(TASKS),
        default="classification",
        help="what it will be tuned for: --latency-ms is that of such a net (default: %(default)s)",
    )
    net.add_argument("--length", type=int, default=64, metavar="N", help="tokens of that call (default: 64)")
    _add_device(net)
    net.add_argument("--net", metavar="NAME", help="train this net instead, such as 128MFMF-128MFMF-128MFMF")
    net.add_argument(
        "--top", type=int, default=100, metavar="T", help="best nets whose real loss is measured (default: 100)"
    )
    net.add_argument(
        "--any-net", action="store_true", help="also nets without attention in the last block, which see no whole text"
    )
    net.add_argument("--model", help="teacher (default: that of the search)")
    _add_text(net, of_search=True)
    net.add_argument("-o", "--output", type=Path, required=True, metavar="NET", help="directory to write")
    net.set_defaults(when_interrupted=GOES_ON)
    add_flags(net, NET, _defaults("NetSettings"))

    told = "choose nets out of a search's own blocks, which switch without training (an experiment)"
    pool = command(listed, "nas-pool", nas_commands.pool, told)
    pool.add_argument("nas", type=Path, metavar="NAS", help="directory of `nas-search`, of a teacher for a task")
    pool.add_argument("--data", type=Path, metavar="DATA", help="held-out rows (default: those of the teacher)")
    pool.add_argument("--pool", type=int, default=12, metavar="N", help="nets to choose (default: 12)")
    add_columns(pool)

    told = "tune a net of `nas-train` for a task; `export` takes what is written"
    tune = command(listed, "nas-tune", nas_commands.tune, told)
    tune.add_argument("net", type=Path, metavar="NET", help="directory of `nas-train`")
    tune.add_argument("--data", type=Path, required=True, metavar="DATA", help="folder or file of TSV, CSV or JSONL")
    tune.add_argument("--task", default="classification", help="task of the data (default: classification)")
    tune.add_argument("--teacher", type=Path, metavar="RUN", help="run of `gearshift train` on the same data")
    tune.add_argument("-o", "--output", type=Path, required=True, metavar="RUN", help="run directory to write")
    tune.set_defaults(when_interrupted=GOES_ON)
    add_columns(tune)
    add_flags(tune, TUNE, _defaults("TuneSettings"))


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", type=Path, metavar="FILE", help="device profile with the times of --operations")
    parser.add_argument("--operations", type=Path, metavar="BUNDLE", help="bundle of `nas-operations`, timed there")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="fp32", help="whose times and bytes count (default: fp32)"
    )


def _add_text(parser: argparse.ArgumentParser, *, of_search: bool = False) -> None:
    told = " (default: that of the search)" if of_search else ""
    parser.add_argument(
        "--text",
        type=Path,
        nargs="+",
        required=not of_search,
        metavar="FILE",
        help=f"text, one a line, or TSV, CSV or JSONL with a column sentence; .xz too{told}",
    )
    parser.add_argument(
        "--states", type=Path, metavar="FOLDER", help="keep the teacher's states here, for further searches and nets"
    )


def _defaults(settings: str) -> Callable[[], dict[str, Any]]:
    """Reads the defaults of one of the classes of `trainer.nasbert.settings`."""

    def read() -> dict[str, Any]:
        from gearshift.trainer.nasbert import settings as module

        found: dict[str, Any] = getattr(module, settings)().to_dict()
        return found

    return read
