"""The commands that search and train nets of mixed operations: call the libraries, and show what came out."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gearshift.commands.output import millions, percent, show, table
from gearshift.commands.task_data import columns_for, columns_of, read_task_data
from gearshift.errors import InputError
from gearshift.runtime.bundle.bundle import open_bundle
from gearshift.runtime.space.blocks import Block, parse_subnet
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.tables.from_profile import latency_at
from gearshift.runtime.tables.latency import LatencyPredictor
from gearshift.runtime.tables.limits import COSTS, Limits
from gearshift.runtime.tables.tables import Estimate

if TYPE_CHECKING:
    from gearshift.trainer.nasbert.search import Searched
    from gearshift.trainer.nasbert.settings import NetSettings, SearchSettings


def search(options: argparse.Namespace) -> int:
    """Search blocks and show how many are left, and the best nets of some sizes."""
    from gearshift.trainer.model.pretrained import find_model
    from gearshift.trainer.nasbert.search import search_blocks
    from gearshift.trainer.nasbert.settings import SearchSettings
    from gearshift.trainer.nasbert.teacher import load_teacher

    if options.plot is not None:  # a name that cannot be written is found before the long work
        from gearshift.drawing.search import check_format, plot_blocks

        check_format(options.plot)
    teacher = load_teacher(find_model(options.model))
    settings = SearchSettings(**_given(options, SearchSettings))
    latency = _device(options)
    searched = search_blocks(teacher, options.text, settings, options.output, states=options.states, latency=latency)
    if options.plot is not None:
        plot_blocks(searched.tables, searched.history, options.plot, latency)
    tables, facts = searched.tables, searched.run.facts
    left, notes = [len(rows) for rows in tables.rows], _notes(searched, settings)
    lines = [
        f"{options.output}: {' + '.join(map(str, left))} blocks left of "
        f"{' + '.join(str(history[0]['blocks']) for history in searched.history)}, "
        f"learnt from {facts['tokens']['train']} tokens",
        *notes,
        *table(
            ("best block", "loss", "parameters"),
            [
                (block.name, f"{row.loss:.3f}", millions(row.parameters))
                for number, rows in enumerate(tables.rows)
                for block, row in [
                    min(zip(tables.space.options_of(number), rows, strict=True), key=lambda p: p[1].loss)
                ]
            ],
        ),
    ]
    show(
        options,
        {"nas": str(options.output), "blocks": left, "history": searched.history, "facts": facts, "notes": notes},
        lines,
    )
    return 0


def _notes(searched: Searched, settings: SearchSettings) -> list[str]:
    """Where the deletions were too few for what was asked, or left nothing of some sizes."""
    buckets = [
        (before, left)
        for history in searched.history
        for before, left in zip(history[0]["buckets"], history[-1]["buckets"], strict=True)
    ]
    if gone := sum(before > 0 == left for before, left in buckets):
        return [
            f"{gone} of {len(buckets)} buckets are empty now: deleting {settings.shrink} left no blocks of their sizes"
        ]
    most = max(max(history[-1]["buckets"]) for history in searched.history)
    if settings.shrink != "architectures" or most <= settings.kept:
        return []
    return [
        f"{most} blocks are left in a bucket, more than --kept {settings.kept}: --max-rounds {settings.max_rounds} "
        "deletions were too few"
    ]


def operations(options: argparse.Namespace) -> int:
    """Write the bundle of a search's operations."""
    from gearshift.export.probes.operations import export_operations
    from gearshift.trainer.nasbert.search import load_searched

    searched = load_searched(options.nas)
    known = {
        block.hidden for stage in range(len(searched.tables.rows)) for block in searched.tables.space.options_of(stage)
    }
    bundle = export_operations(searched.run.checkpoint, options.sizes or sorted(known), options.output)
    count = len(bundle.pool(bundle.precisions[0]))
    show(
        options,
        {"bundle": str(options.output), "hash": bundle.hash, "subnets": count},
        [
            f"{options.output}: {count} subnets to be timed; "
            f"`gearshift run {options.output} --precision fp32 --save-profile FILE TEXT`"
        ],
    )
    return 0


def train(options: argparse.Namespace) -> int:
    """Pick a net, or take the one that is named, train it on text and show it."""
    from gearshift.trainer.model.pretrained import find_model
    from gearshift.trainer.nasbert.search import load_searched
    from gearshift.trainer.nasbert.settings import NetSettings
    from gearshift.trainer.nasbert.teacher import load_teacher
    from gearshift.trainer.nasbert.train import train_net

    searched = load_searched(options.nas)
    facts = searched.run.facts
    same = {name: facts["settings"][name] for name in ("block_layers", "max_length", "tokens", "dev_tokens")}
    settings = NetSettings(**{**same, **_given(options, NetSettings)})
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
    """The net to train, and what was measured to find it."""
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

    latency = _device(options)
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


def _device(options: argparse.Namespace) -> LatencyPredictor[Block] | None:
    """The times of a device's operations, where one was measured."""
    if options.profile is None and options.operations is None:
        return None
    if options.profile is None or options.operations is None:
        raise InputError("expected both --profile and --operations, the bundle that it was measured with")
    return latency_at(options.profile, open_bundle(options.operations), options.precision)


def pool(options: argparse.Namespace) -> int:
    """Choose nets that share the weights of a search, and show them."""
    from gearshift.trainer.data.splits import read_data
    from gearshift.trainer.learning.objectives import OBJECTIVES
    from gearshift.trainer.model.checkpoint import load_run
    from gearshift.trainer.nasbert.search import load_searched
    from gearshift.trainer.nasbert.shared import choose_shared
    from gearshift.trainer.nasbert.teacher import load_teacher

    searched = load_searched(options.nas)
    source = Path(searched.run.facts["teacher"])
    teacher = load_teacher(source)
    trained = None if options.data is not None else load_run(source)
    path: Path | None = trained.data_path if trained is not None else options.data
    if path is None:
        raise InputError(f"{source}: does not say what it was trained on; pass its data with --data")
    columns = columns_for(options, trained)
    data = read_data(path, task=searched.run.checkpoint.task, **columns)
    run, scored = choose_shared(searched, teacher, data, pool=options.pool, data_path=path, columns=columns)
    known = {one.subnet: one for one in scored}
    rows = [
        (
            name,
            millions(known[net].macs),
            f"{known[net].summed:.3f}",
            f"{known[net].loss:.4f}",
            percent(run.accuracies[name]),
        )
        for name, net in run.subnets.items()
    ]
    metric = OBJECTIVES[data.task].metric
    header = ("net", f"MACs ({searched.tables.macs_tokens} tokens)", "summed", "loss", metric)
    result = {
        "nas": str(options.nas),
        "metric": metric,
        "candidates": [
            {"name": one.subnet.name, "macs": one.macs, "summed": one.summed, "loss": one.loss} for one in scored
        ],
        "pool": run.accuracies,
    }
    show(options, result, [*data.notes, f"{len(run.subnets)} of {len(scored)} nets", *table(header, rows)])
    return 0


def tune(options: argparse.Namespace) -> int:
    """Tune a net and show its accuracy."""
    from gearshift.trainer.learning.objectives import OBJECTIVES
    from gearshift.trainer.model.checkpoint import load_run
    from gearshift.trainer.nasbert.run import load_mixed_run
    from gearshift.trainer.nasbert.settings import TuneSettings
    from gearshift.trainer.nasbert.tune import tune_net

    data = read_task_data(options, options.data, options.task)
    teacher = None if options.teacher is None else load_run(options.teacher)
    settings = TuneSettings(**_given(options, TuneSettings))
    net, columns = load_mixed_run(options.net), columns_of(options)
    run = tune_net(net, teacher, data, settings, options.output, data_path=options.data, columns=columns)
    (name, accuracy), *_ = run.accuracies.items()
    metric = OBJECTIVES[data.task].metric
    shape = run.checkpoint.model.shape
    lines = [
        *data.notes,
        f"{options.output}: {name}, {millions(run.subnets[name].parameters(shape))} parameters, "
        f"{metric} {percent(accuracy)} on {run.facts['rows']['test']} test rows",
    ]
    result = {
        "run": str(options.output),
        "name": name,
        "metric": metric,
        "test": accuracy,
        "dev": run.facts["dev"],
        "parameters": run.subnets[name].parameters(shape),
        "notes": list(data.notes),
    }
    show(options, result, lines)
    return 0


def _given(options: argparse.Namespace, settings: type) -> dict[str, Any]:
    """The settings that were typed."""
    named = {field.name: getattr(options, field.name, None) for field in fields(settings)}
    return {name: value for name, value in named.items() if value is not None}
