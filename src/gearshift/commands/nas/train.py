"""`gearshift nas-train`: the best net of a search under limits, or a net by name, trained on text."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gearshift.commands.nas.options import add_device, add_text, device_of
from gearshift.drawing.numbers import millions
from gearshift.errors import InputError
from gearshift.runtime.bundle.tasks import TEXT_TASKS
from gearshift.terminal.options import GOES_ON, add_settings, command, given
from gearshift.terminal.output import show
from gearshift.trainer.nasbert.settings import NetSettings

if TYPE_CHECKING:
    from gearshift.runtime.space.blocks import Block
    from gearshift.runtime.space.subnet import Subnet
    from gearshift.runtime.tables.tables import Estimate
    from gearshift.trainer.nasbert.search import Searched


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    command(parser, train, extras=["train"])
    parser.add_argument("nas", type=Path, metavar="NAS", help="directory of `nas-search`")
    for name, text in (
        ("parameters", "most parameters, embeddings included"),
        ("macs", "most multiply-accumulates for 128 tokens"),
        ("bytes", "most bytes of weights at --precision"),
    ):
        parser.add_argument(f"--{name}", type=float, metavar="N", help=text)
    parser.add_argument("--latency-ms", type=float, metavar="MS", help="longest call on the device of --profile")
    parser.add_argument(
        "--task",
        choices=list(TEXT_TASKS),
        default="classification",
        help="task it will be tuned for: --latency-ms is that of such a net (default: %(default)s)",
    )
    parser.add_argument("--length", type=int, default=64, metavar="N", help="tokens of that call (default: 64)")
    add_device(parser)
    parser.add_argument("--net", metavar="NAME", help="train this net instead, such as 128MFMF-128MFMF-128MFMF")
    parser.add_argument(
        "--top",
        type=int,
        default=100,
        metavar="T",
        help="number of best nets whose real loss is measured (default: 100)",
    )
    parser.add_argument(
        "--any-net",
        action="store_true",
        help="also nets without attention in the last block, which never see a whole text",
    )
    parser.add_argument("--model", help="teacher (default: that of the search)")
    add_text(parser, of_search=True)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="NET", help="directory to write")
    parser.set_defaults(when_interrupted=GOES_ON)
    add_settings(parser, NetSettings)


def train(options: argparse.Namespace) -> int:
    """Pick a net, or take the named one, train it on text and show it."""
    from gearshift.trainer.model.pretrained import find_model
    from gearshift.trainer.nasbert.search import load_searched
    from gearshift.trainer.nasbert.teacher import load_teacher
    from gearshift.trainer.nasbert.train import train_net

    searched = load_searched(options.nas)
    facts = searched.run.facts
    same = {name: facts["settings"][name] for name in ("block_layers", "max_length", "tokens", "dev_tokens")}
    settings = NetSettings(**{**same, **given(options, NetSettings)})
    subnet, picked = _pick(options, searched, settings)
    teacher = load_teacher(find_model(options.model or facts["teacher"]))
    texts = options.text or [Path(path) for path in facts["texts"]]
    run = train_net(subnet, teacher, texts, settings, options.output, states=options.states)
    shape = run.checkpoint.model.shape
    counts = subnet.parameters(shape), subnet.macs(shape, searched.tables.macs_tokens)
    lines = [
        *([f"best of {len(picked)} by measured loss"] if picked else []),
        f"{options.output}: {subnet.name}, {millions(counts[0])} parameters, {millions(counts[1])} MACs, "
        f"held-out loss {run.facts['dev_loss']:.3f}",
    ]
    result = {
        "net": str(options.output),
        "name": subnet.name,
        "parameters": counts[0],
        "macs": counts[1],
        "dev_loss": run.facts["dev_loss"],
        "rescored": [{"name": one.subnet.name, "summed": one.loss, "measured": loss} for one, loss in picked],
    }
    show(options, result, lines)
    return 0


def _pick(
    options: argparse.Namespace, searched: Searched, settings: NetSettings
) -> tuple[Subnet[Block], list[tuple[Estimate[Block], float]]]:
    """Return the net to train, with the measurements made to find it."""
    from gearshift.runtime.space.blocks import parse_subnet
    from gearshift.runtime.tables.limits import COSTS, Limits

    limits = Limits(
        parameters=options.parameters,
        macs=options.macs,
        bytes=options.bytes,
        latency_ms=options.latency_ms,
        length=options.length,
        precision=options.precision,
    )
    limited = any(getattr(limits, name) is not None for name in COSTS)
    if limited == (options.net is not None):
        raise InputError("nas-train: expected either limits, such as --parameters 5e6, or a net by name with --net")
    if options.net is not None:
        return parse_subnet(options.net), []
    from gearshift.trainer.model.elastic import POOLED
    from gearshift.trainer.nasbert.rescore import pick

    latency = device_of(options)
    if limits.latency_ms is not None and latency is None:
        raise InputError(
            "--latency-ms: expected --profile and --operations beside it, which say how long operations take on the "
            "device; `gearshift nas-operations` makes the bundle that is timed there"
        )
    ranked = pick(
        searched,
        limits,
        embedding=settings.embedding,
        top=options.top,
        latency=latency,
        first_only=options.task in POOLED,
        texts=options.text,
        whole_text=not options.any_net,
    )
    return ranked[0][0].subnet, ranked
