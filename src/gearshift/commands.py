"""What each command does: call the libraries, and show what came out. Nothing is decided here."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gearshift.runtime import Bundle, Engine, GearshiftError, InputError, open_bundle
from gearshift.runtime.answers import (
    Answer,
    Classification,
    Embedding,
    MultiLabelClassification,
    QuestionAnswering,
    Regression,
    TokenClassification,
)
from gearshift.runtime.block_latency import BlockLatency
from gearshift.runtime.compressed import open_compressed, unpacked_entries
from gearshift.runtime.compressed import unpack as write_unpacked
from gearshift.runtime.decision_log import read_log
from gearshift.runtime.engine import checked_deadline
from gearshift.runtime.executors import check_dan
from gearshift.runtime.live import LiveView
from gearshift.runtime.manifest import CPU_PRECISIONS
from gearshift.runtime.profiles import block_latencies, tables_for
from gearshift.runtime.providers import CPU
from gearshift.runtime.session import ElasticSession, check_self_test
from gearshift.show import millions as _millions
from gearshift.show import percent as _percent
from gearshift.show import show as _print
from gearshift.show import table as _table
from gearshift.task_data import read_task_data as _read_data

if TYPE_CHECKING:
    from gearshift.export.vocabulary import VocabularyReport
    from gearshift.runtime.dan import Text
    from gearshift.trainer.checkpoint import Run
    from gearshift.trainer.data import DataSet
    from gearshift.trainer.nasbert.run import AnyRun

LISTED_SUBNETS = 16
"""Largest pool that one stage lists whole unless asked to: its graph loads in a time that grows with the pool."""

SHOWN_TOKENS = 128
"""Length of text for which `train` counts multiply-accumulates; a bundle says its own."""


def train(options: argparse.Namespace) -> int:
    """Train a supernet and show its subnets."""
    from gearshift.trainer.acceleration import is_main_process
    from gearshift.trainer.configuration import read_settings
    from gearshift.trainer.dynabert import train_supernet
    from gearshift.trainer.pretrained import find_model
    from gearshift.trainer.settings import Settings
    from gearshift.trainer.tasks import OBJECTIVES

    given = {field.name: getattr(options, field.name) for field in fields(Settings)}
    given = {name: value for name, value in given.items() if value is not None}
    settings = Settings(**given) if options.config is None else read_settings(options.config, given)
    data = _read_data(options, options.data, options.task)
    run = train_supernet(find_model(options.model), data, settings, options.output, data_path=options.data)
    if not is_main_process():
        return 0
    shape = run.checkpoint.model.shape
    rows = [
        (name, subnet.parameters(shape), subnet.macs(shape, SHOWN_TOKENS), run.accuracies[name])
        for name, subnet in run.subnets.items()
    ]
    metric, dropped, metrics = OBJECTIVES[data.task].metric, run.facts["dropped_rows"], run.facts["metrics"]
    result = {
        "run": str(run.path),
        "task": data.task,
        "metric": metric,
        "rows": run.facts["rows"],
        "dropped_rows": run.facts["dropped_rows"],
        "truncated_rows": run.facts["truncated_rows"],
        "notes": list(data.notes),
        "subnets": [
            {**dict(zip(("name", "parameters", "macs", "accuracy"), row, strict=True)), "metrics": metrics[row[0]]}
            for row in rows
        ],
    }
    others = list(OBJECTIVES[data.task].others)
    header = ("subnet", "parameters", f"MACs ({SHOWN_TOKENS} tokens)", metric, *others)
    lines = [
        *data.notes,
        *([f"{dropped} training rows left out: their answers are cut off; raise --max-length"] if dropped else []),
        *_cut_rows(run),
        f"{run.path}: {len(rows)} subnets, {metric} on {run.facts['rows']['test']} test rows",
        *_table(
            header,
            [
                (n, _millions(p), _millions(m), _percent(a), *(_percent(metrics[n][other]) for other in others))
                for n, p, m, a in rows
            ],
        ),
    ]
    _print(options, result, lines)
    return 0


def _cut_rows(run: Run) -> list[str]:
    """How many rows are longer than what is read of a text, if any."""
    cut = {split: count for split, count in run.facts["truncated_rows"].items() if count}
    counts = ", ".join(f"{count} of {run.facts['rows'][split]} {split} rows" for split, count in cut.items())
    return [f"cut at {run.facts['max_length']} tokens: {counts}; --max-length sets it"] if cut else []


def train_dan(options: argparse.Namespace) -> int:
    """Distil a classifier into a DAN and show what it is."""
    from gearshift.trainer.dan import train_dan
    from gearshift.trainer.dan_settings import DanSettings
    from gearshift.trainer.unlabelled import read_unlabelled

    given = {field.name: getattr(options, field.name) for field in fields(DanSettings)}
    settings = DanSettings(**{name: value for name, value in given.items() if value is not None})
    data = _read_data(options, options.data, "classification")
    unlabelled: tuple[Text, ...] = ()
    if options.unlabelled:
        columns = {"text_column": options.text_column, "pair_column": options.pair_column}
        unlabelled = read_unlabelled(options.unlabelled, paired=data.paired, **columns)
    characters = sum(len("".join(text)) for text in unlabelled) + sum(
        len(row.text) + len(row.pair or "") for row in data.splits["train"]
    )
    needed = settings.memory_bytes(characters)
    print(f"training needs about {needed / 1e9:.1f} GB of memory at most", file=sys.stderr)
    run = train_dan(options.teacher, data, settings, options.output, unlabelled=unlabelled, logits=options.logits)
    result = {"run": str(run.path), "ngrams": len(run.ngrams), "width": run.table.shape[1], **run.facts}
    measured = run.facts["held_out"]["test"]
    lines = [
        *data.notes,
        f"{run.path}: a DAN of {len(run.ngrams)} n-grams, {_millions(run.table.size)} numbers",
        f"accuracy on {measured['rows']} test rows: {_percent(measured['accuracy'])}, "
        f"{_percent(measured['accuracy'] / max(measured['teacher'], 1e-9))} of the teacher's "
        f"{_percent(measured['teacher'])}; the same answer on {_percent(measured['agreement'])}",
    ]
    _print(options, {**result, "notes": list(data.notes)}, lines)
    return 0


def prune(options: argparse.Namespace) -> int:
    """Prune a supernet and show its subnets."""
    from gearshift.trainer.checkpoint import load_run
    from gearshift.trainer.prune import Recovery, prune_run
    from gearshift.trainer.sparsity import Pruning
    from gearshift.trainer.tasks import OBJECTIVES

    pruning = Pruning(options.sparsity, options.scope, options.embeddings, options.ramp)
    given = {field.name: getattr(options, field.name) for field in fields(Recovery)}
    recovery = Recovery(**{name: value for name, value in given.items() if value is not None})
    run = load_run(options.run)
    data = _read_data(options, _data_path(options, run), run.checkpoint.task)
    pruned = prune_run(run, data, pruning, recovery, options.output)
    metric, zeros = OBJECTIVES[data.task].metric, pruned.facts["sparsity"]
    result = {
        "run": str(pruned.path),
        "sparsity": zeros,
        "metric": metric,
        "notes": list(data.notes),
        "subnets": [{"name": name, "accuracy": pruned.accuracies[name]} for name in pruned.subnets],
    }
    rows = [(name, _percent(run.accuracies[name]), _percent(pruned.accuracies[name])) for name in pruned.subnets]
    lines = [
        *data.notes,
        f"{pruned.path}: {_percent(zeros)} of the weights are zeros; {metric} on {len(data.splits['test'])} test rows",
        *_table(("subnet", "before", "pruned"), rows),
    ]
    _print(options, result, lines)
    return 0


def search(options: argparse.Namespace) -> int:
    """Write the block tables and the pool of a supernet, and show the pool."""
    from gearshift.trainer.checkpoint import load_run
    from gearshift.trainer.search import search_run

    if options.plot is not None:  # a name that cannot be written is found before the long work
        from gearshift.plot_search import check_format, plot_search

        check_format(options.plot)
    run = load_run(options.run)
    data = _read_data(options, _data_path(options, run), run.checkpoint.task)
    report = search_run(
        run,
        data,
        widths=options.widths,
        layers_per_stage=1 if options.stages == "layer" else options.block_layers,
        separate=options.separate,
        pool=options.pool,
        rescored=options.rescored,
        devices=_devices(options),
    )
    if options.plot is not None:
        plot_search(report, options.plot)
    header = ("subnet", "parameters", f"MACs ({report.tables.macs_tokens} tokens)", "loss", "summed", report.metric)
    rows = [
        (
            m.name,
            _millions(m.parameters),
            _millions(m.macs),
            f"{m.loss:.4f}",
            "" if m.summed_loss is None else f"{m.summed_loss:.4f}",
            _percent(m.accuracy),
        )
        for m in report.pool
    ]
    notes = [*data.notes, *report.notes]
    lines = [
        *notes,
        f"{run.path}: {len(report.pool)} subnets chosen on {report.tables.loss_rows} dev rows, "
        f"{report.metric} on {report.test_rows} test rows",
        f"{report.evaluations} losses measured; summed against measured loss: Spearman {report.spearman:.3f} "
        f"over {report.compared} subnets",
        *_table(header, rows),
    ]
    _print(options, {"run": str(run.path), "notes": notes, **report.to_dict()}, lines)
    return 0


def export(options: argparse.Namespace) -> int:
    """Write a bundle and show what was measured on the way."""
    from gearshift.export.pipeline import export_bundle
    from gearshift.export.progress import progress_bar
    from gearshift.trainer.checkpoint import Run
    from gearshift.trainer.nasbert.run import load_any_run

    if options.checkpoint is not None:
        return _extract(options)
    run = load_any_run(options.run)
    data = _read_data(options, _data_path(options, run), run.checkpoint.task)
    names, portable = _portable(options, run)
    precisions = options.precision or (CPU_PRECISIONS if options.operators == "fast" else ("fp32",))
    with progress_bar() as progress:
        report = export_bundle(
            run,
            options.output,
            data.splits["test"],
            precisions=precisions,
            operators=options.operators,
            int8_tolerance=options.int8_tolerance,
            wider=options.wider,
            layers_per_stage=_layers_per_stage(options, run),
            vocabulary=_vocabulary(options.vocabulary, data),
            licence=options.licence,
            progress=progress,
        )
        static: dict[str, float] = {}
        if names and isinstance(run, Run):
            from gearshift.export.portable import export_portable

            static = export_portable(run, portable, data.splits["test"], names, progress=progress)
    if options.dan is not None:
        from gearshift.export.dan import add_dan
        from gearshift.trainer.dan_run import load_dan_run

        with_dan = add_dan(
            report.bundle,
            load_dan_run(options.dan),
            data.splits["test"],
            max_mb=options.dan_mb,
            held_out=data.splits["dev"],
        )
        report = dataclasses.replace(report, bundle=with_dan)
    spelling = report.vocabulary
    if options.compress:
        report = dataclasses.replace(report, bundle=_compressed(report.bundle))
    parity = report.parity
    lines = [
        *data.notes,
        f"{options.output}: written and verified, {_megabytes(report.bundle)}",
        *([] if parity is None else [f"fp32 logits within {parity:.1e} of torch over all subnets"]),
        *(f"{precision}: all {count} large weights packed" for precision, count in report.packed_weights.items()),
        *([] if spelling is None else [_spelling_line(spelling)]),
        *(f"int8: layer {layer} is computed in fp32" for layer in report.wide_layers),
        *(f"int8 {name} loses {100 * loss:.1f} points against fp32" for name, loss in report.losses.items()),
        *([f"{portable}: {len(static)} static models, within {max(static.values()):.1e} of torch"] if static else []),
        *_pool_table(report.bundle),
    ]
    measured: dict[str, Any] = {
        "parity": parity,
        "int8_losses": report.losses,
        "wide_layers": list(report.wide_layers),
        "notes": list(data.notes),
    }
    if spelling is not None:
        measured["vocabulary"] = asdict(spelling)
    if static:
        measured["portable"] = {"path": str(portable), "parity": static}
    _print(options, {**_description(report.bundle), **measured}, lines)
    return 0


def _vocabulary(asked: Sequence[str] | None, data: DataSet) -> list[str] | None:
    """The texts whose pieces are to stay: those of the training rows for `train`, or the lines of files."""
    if asked is None:
        return None
    from gearshift.export.vocabulary import texts_of
    from gearshift.trainer.formats import read_texts

    return [
        text
        for name in asked
        for text in (texts_of(data.splits["train"]) if name == "train" else read_texts(Path(name)))
    ]


def _spelling_line(spelling: VocabularyReport) -> str:
    return (
        f"vocabulary: {spelling.kept} of {spelling.of} pieces; {spelling.respelt} of {spelling.texts} held-out texts "
        "are spelt otherwise"
    )


def _data_path(options: argparse.Namespace, run: AnyRun) -> Path:
    """The data that was named, or else what a run was trained on."""
    path: Path | None = options.data or run.data_path
    if path is None:
        raise InputError(
            f"{options.run}: does not say what it was trained on; pass its data or held-out rows with --data"
        )
    return path


def _extract(options: argparse.Namespace) -> int:
    """Write one subnet as a Hugging Face model."""
    from gearshift.export.extract import PRUNED_NOTE, extract_subnet, named_subnet
    from gearshift.trainer.checkpoint import load_run

    run, name = load_run(options.run), options.checkpoint
    made = extract_subnet(run, name, named_subnet(run, name), options.output)
    checked = "not loaded here" if made.parity is None else f"within {made.parity:.1e} of the supernet"
    lines = [
        f"{made.path}: {name} as a Hugging Face model of {_millions(made.parameters)} parameters, {checked}",
        *([PRUNED_NOTE] if made.prunes_heads else []),
    ]
    result = {"checkpoint": str(made.path), "subnet": name, **dataclasses.asdict(made), "path": str(made.path)}
    _print(options, result, lines)
    return 0


def _devices(options: argparse.Namespace) -> dict[str, BlockLatency] | None:
    """The device that a pool is for, where one was measured."""
    if options.profile is None and options.measured is None:
        return None
    if options.profile is None or options.measured is None:
        raise InputError("search: expected both --profile and --measured, the bundle that it was measured with")
    return block_latencies(options.profile, open_bundle(options.measured))


def _layers_per_stage(options: argparse.Namespace, run: AnyRun) -> int:
    """How many layers are switched together; blocks of mixed operations are stages already."""
    from gearshift.trainer.checkpoint import Run

    if not isinstance(run, Run):
        return 1
    granularity = options.granularity or ("pool" if len(run.subnets) <= LISTED_SUBNETS else "layer")
    return {"layer": 1, "block": int(options.block_layers), "pool": run.checkpoint.model.shape.layers}[granularity]


def _portable(options: argparse.Namespace, run: AnyRun) -> tuple[tuple[str, ...], Path]:
    """The subnets to write as static models, none by default, and where; a refusal comes before the long work."""
    target = options.output.with_name(f"{options.output.name}.portable")
    if options.portable is None:
        return (), target
    from gearshift.trainer.checkpoint import Run

    if not isinstance(run, Run):
        raise InputError(
            f"{run.path}: transformers has no form for mixed operations; leave --portable, or take --operators standard"
        )
    from gearshift.export.portable import checked_names, require_free

    names = checked_names(run, None if options.portable == ("all",) else options.portable)
    require_free(target)
    return names, target


def trim(options: argparse.Namespace) -> int:
    """Write a smaller bundle and show what it holds."""
    from gearshift.export.trim import trim_bundle

    bundle = open_bundle(options.bundle)
    smaller = trim_bundle(
        bundle, options.output, keep=options.keep, max_mb=options.max_mb, precisions=options.precision
    )
    smaller = _compressed(smaller) if options.compress else smaller
    lines = [
        f"{options.output}: written and verified, {_megabytes(smaller)} of {_megabytes(bundle)}",
        *_pool_table(smaller),
    ]
    _print(options, _description(smaller), lines)
    return 0


def unpack(options: argparse.Namespace) -> int:
    """Write the dense bundle of a compressed one to a directory."""
    compressed = open_compressed(options.bundle)
    write_unpacked(compressed, options.output)
    bundle = open_bundle(options.output)
    lines = [f"{options.output}: written and verified, {_megabytes(bundle)} out of {compressed.bytes / 1e6:.1f} MB"]
    _print(options, _description(bundle), lines)
    return 0


def inspect(options: argparse.Namespace) -> int:
    """Show what a bundle holds."""
    bundle = open_bundle(options.bundle)
    manifest = bundle.manifest
    counted = f"{len(manifest.labels)} labels, " if manifest.labels else ""
    lines = [
        f"{bundle.origin}: {manifest.task}, {counted}{_megabytes(bundle)}, {bundle.hash[:12]}",
        *([f"labels: {', '.join(manifest.labels)}"] if manifest.labels else []),
        f"texts up to {manifest.max_length} tokens; licence {manifest.licence}; made by {manifest.made_by}",
        f"{manifest.metric} on {manifest.accuracy_rows} held-out rows",
        *_pool_table(bundle),
    ]
    _print(options, _description(bundle), lines)
    return 0


def verify(options: argparse.Namespace) -> int:
    """Check every file, and the numbers of every subnet at every precision on this CPU."""
    bundle = open_bundle(options.bundle)
    for precision in bundle.precisions:
        with contextlib.closing(ElasticSession(bundle, precision, threads=1)) as session:
            check_self_test(session, bundle)
    check_dan(bundle)
    checked = ", ".join(
        f"{len(bundle.pool(precision))} subnets right at {precision}" for precision in bundle.precisions
    )
    dan = "" if bundle.dan is None else f", {bundle.dan.name} right"
    lines = [f"{bundle.origin}: {len(bundle.manifest.files)} files as they must be, {checked}{dan}"]
    result = {
        "bundle": str(bundle.origin),
        "hash": bundle.hash,
        "verified": True,
        "precisions": list(bundle.precisions),
    }
    _print(options, result, lines)
    return 0


def run(options: argparse.Namespace) -> int:
    """Answer texts, each one as soon as it is read."""
    answers: list[dict[str, Any]] = []
    checked_deadline(options.deadline_ms)
    with Engine.load(
        options.bundle,
        threads=options.threads,
        precision=options.precision,
        profile=options.profile,
        target=options.target,
        min_accuracy=options.min_accuracy,
        max_cpu_share=options.max_cpu_share,
        log=options.log,
        cache=options.cache,
        cascade=options.cascade,
    ) as engine:
        engine.pin(options.subnet)
        if options.save_profile is not None:
            engine.save_profile(options.save_profile)
        view = LiveView(sys.stderr) if options.live else None
        # On a terminal the view stands where the answers would; into a file or a pipe they go as ever.
        hidden = view is not None and view.shown and sys.stdout.isatty()
        try:
            for text in _paired(options.texts) if options.pair else _texts(options.texts):
                answer = engine.run(text, deadline_ms=options.deadline_ms)
                if view is not None:
                    view.add(answer, engine.slow_down)
                if options.json:
                    answers.append({"text": text, **_plain(answer)})
                elif not hidden:
                    print(_answer_line(answer), flush=True)
        finally:  # a text that is refused takes no earlier answer with it
            if view is not None:
                view.finish(engine.slow_down)
            if options.json:
                print(json.dumps({"precision": engine.precision, "threads": engine.threads, "answers": answers}))
    return 0


def plot(options: argparse.Namespace) -> int:
    """Draw a decision log."""
    from gearshift.plot import plot_log

    requests = plot_log(read_log(options.log), options.output)
    _print(options, {"plot": str(options.output), "requests": requests}, [f"{options.output}: {requests} requests"])
    return 0


def simulate(options: argparse.Namespace) -> int:
    """Run traces, or a decision log, through policies on this device's latency table; nothing runs really."""
    from gearshift.runtime.rivals import POLICIES
    from gearshift.runtime.simulator import Ladder, Machine
    from gearshift.runtime.simulator import simulate as play
    from gearshift.runtime.traces import Scale, make_trace, read_log

    unknown = [name for name in options.policy if name not in POLICIES]
    if unknown:
        raise InputError(f"--policy: expected some of {', '.join(POLICIES)}, got {', '.join(unknown)}")
    bundle = open_bundle(options.bundle)
    table = tables_for(
        options.profile,
        bundle,
        precisions=bundle.precisions if options.precision is None else options.precision,
        threads=options.threads,
        provider=CPU[0],
    )[0]
    ladder = Ladder.of({name: entry.accuracy for name, entry in bundle.gears(table.precision).items()}, table)
    if Path(options.trace).exists():
        trace = read_log(Path(options.trace))
    else:
        trace = make_trace(options.trace, Scale(table, ladder.names[0], options.seed, options.seconds))
    machines = {name: Machine(trace, ladder) for name in ("static-small", *options.policy)}
    outcomes = {name: play(POLICIES[name](machine), machine) for name, machine in machines.items()}
    smallest = outcomes["static-small"]
    found = {
        name: {
            "deadlines_met": sum(outcomes[name].met) / len(trace.arrivals),
            "met_where_smallest_does": outcomes[name].met_where(smallest),
            "goodput_accuracy": outcomes[name].goodput_accuracy,
            "switches_per_minute": outcomes[name].switches_per_minute,
        }
        for name in options.policy
    }
    result = {
        "bundle": str(bundle.origin),
        "precision": table.precision,
        "trace": trace.name,
        "seed": options.seed,
        "requests": len(trace.arrivals),
        "ladder": list(ladder.names),
        "policies": found,
    }
    header = ("policy", "deadlines met", "where smallest does", "goodput-accuracy", "switches a minute")
    rows = [
        (name, *(_percent(value) for value in list(measures.values())[:3]), f"{measures['switches_per_minute']:.0f}")
        for name, measures in found.items()
    ]
    lines = [f"{trace.name}: {len(trace.arrivals)} requests, {table.precision}, {len(ladder.names)} subnets"]
    _print(options, result, [*lines, *_table(header, rows)])
    return 0


def doctor(options: argparse.Namespace) -> int:
    """Show what this device has; its exit code is by the worst of what was found."""
    from gearshift.runtime.doctor import examine, exit_code
    from gearshift.runtime.packed import PackedCache

    if options.clear_cache:
        cache = PackedCache()
        unpacked = unpacked_entries()
        for directory, freed in ((cache.directory, cache.clear()), (unpacked.directory, unpacked.clear())):
            print(f"gearshift: {directory}: {freed / 1e6:.0f} MB freed", file=sys.stderr)
    report = examine()
    _print(options, report.to_dict(), report.lines())
    if report.problem is not None:
        raise GearshiftError(report.problem)
    return exit_code(report)


def _texts(given: Sequence[str]) -> Iterator[str]:
    """The texts given; `-`, or none at all, stands for the lines of standard input that are not blank."""
    for text in given or ("-",):
        if text == "-":
            yield from _lines_of_standard_input()
        else:
            yield text


def _paired(given: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Two texts at a time, or of each line of standard input the two that a tab divides."""
    if given and "-" not in given:
        if len(given) % 2:
            raise InputError(f"--pair: expected texts two by two, got {len(given)}")
        yield from zip(given[::2], given[1::2], strict=True)
        return
    for line in _lines_of_standard_input():
        first, tab, second = line.partition("\t")
        if not tab:
            raise InputError(f"--pair: expected two texts with a tab between them, got {line[:40]!r}")
        yield first, second


def _lines_of_standard_input() -> Iterator[str]:
    if sys.stdin.isatty():
        print("gearshift: type one text a line, and end with Ctrl-D", file=sys.stderr)
    try:
        yield from (line.strip() for line in sys.stdin if line.strip())
    except UnicodeDecodeError as error:
        raise InputError(f"standard input: expected {error.encoding} text, found {error.reason}; convert it") from error


def _plain(answer: Answer) -> dict[str, Any]:
    """The answer as JSON can take it."""
    fields = asdict(answer)
    return {name: value.tolist() if hasattr(value, "tolist") else value for name, value in fields.items()}


def _shown(answer: Answer) -> str:
    """The task's part of an answer on one line."""
    match answer:
        case Classification():
            return f"{answer.label}  {answer.score:.2f}"
        case MultiLabelClassification():
            return ", ".join(f"{label}  {answer.scores[label]:.2f}" for label in answer.labels) or "no label"
        case Regression():
            return f"{answer.value:.4g}"
        case TokenClassification():
            return ", ".join(f"{entity.text} ({entity.label})" for entity in answer.entities) or "no entity"
        case QuestionAnswering():
            return f"{answer.answer or 'no answer'}  {answer.score:.2f}"
        case Embedding():
            return f"[{', '.join(f'{number:.3f}' for number in answer.vector[:4])}, ...] of {len(answer.vector)}"


def _answer_line(answer: Answer) -> str:
    late = "" if answer.deadline_met in (None, True) else "  late"
    cut = "  truncated" if answer.truncated else ""
    return f"{_shown(answer)}  {answer.subnet}  {answer.latency_ms:.1f} ms  {answer.reason}{late}{cut}"


def _compressed(bundle: Bundle) -> Bundle:
    """The bundle, written again for the download in place of what stood there."""
    from gearshift.export.compress import compress_bundle

    return dataclasses.replace(bundle, compressed=compress_bundle(bundle, bundle.path))


def _description(bundle: Bundle) -> dict[str, Any]:
    download = {} if bundle.compressed is None else {"compressed_bytes": bundle.compressed.bytes}
    return {"bundle": str(bundle.origin), "hash": bundle.hash, **download, **bundle.manifest.to_dict()}


def _pool_table(bundle: Bundle) -> list[str]:
    manifest = bundle.manifest
    pools = {precision: bundle.gears(precision) for precision in bundle.precisions}
    entries = {name: entry for pool in pools.values() for name, entry in pool.items()}
    header = (
        "subnet",
        "parameters",
        f"MACs ({manifest.macs_tokens} tokens)",
        *(f"{manifest.metric} {p}" for p in pools),
    )
    rows = [
        (
            name,
            _millions(entry.parameters),
            _millions(entry.macs),
            *(_percent(pool[name].accuracy) if name in pool else "" for pool in pools.values()),
        )
        for name, entry in entries.items()
    ]
    return _table(header, rows)


def _megabytes(bundle: Bundle) -> str:
    dense = f"{sum(file.bytes for file in bundle.manifest.files.values()) / 1e6:.1f} MB"
    return (
        dense if bundle.compressed is None else f"{bundle.compressed.bytes / 1e6:.1f} MB compressed, {dense} unpacked"
    )
