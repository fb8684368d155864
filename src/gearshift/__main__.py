"""The command line: parse, call, print. Everything it does can be done from Python as well."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gearshift
from gearshift.runtime import Classification, Engine, GearshiftError, InputError, open_bundle
from gearshift.runtime.bundle import PRECISIONS, Bundle
from gearshift.runtime.session import ElasticSession, check_self_test

if TYPE_CHECKING:
    from gearshift.trainer.data import DataSet


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code: 0, 1 with one line on standard error, 2 for wrong usage."""
    options = _parser().parse_args(arguments)
    if options.verbose:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    try:
        return int(options.command(options))
    except GearshiftError as error:
        print(f"gearshift: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("gearshift: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gearshift", description=gearshift.__doc__)
    parser.add_argument("--version", action="version", version=f"gearshift {gearshift.__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log what is done to standard error")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = _command(commands, "train", _train, "train a supernet on your data")
    train.add_argument("--data", type=Path, required=True, metavar="DATA", help="folder or file of TSV, CSV or JSONL")
    train.add_argument("--model", help="directory or hub name of a BERT-class model (default: all-MiniLM-L6-v2)")
    train.add_argument("--task", choices=["classification"], default="classification")
    train.add_argument("-o", "--output", type=Path, required=True, metavar="RUN", help="run directory to write")
    _add_columns(train)
    _add_settings(train)

    export = _command(commands, "export", _export, "write a trained supernet as a bundle")
    export.add_argument("run", type=Path, metavar="RUN", help="run directory of `gearshift train`")
    export.add_argument("-o", "--output", type=Path, required=True, metavar="BUNDLE", help="bundle directory to write")
    export.add_argument("--data", type=Path, metavar="DATA", help="held-out rows (default: the data it was trained on)")
    export.add_argument("--precision", default=",".join(PRECISIONS), help="comma-separated (default: %(default)s)")
    export.add_argument("--licence", default="unspecified", help="licence of the model, for its manifest")
    _add_columns(export)

    inspect = _command(commands, "inspect", _inspect, "show what a bundle holds")
    inspect.add_argument("bundle", type=Path, metavar="BUNDLE")
    verify = _command(commands, "verify", _verify, "check every file and the numbers of every subnet on this CPU")
    verify.add_argument("bundle", type=Path, metavar="BUNDLE")

    run = _command(commands, "run", _run, "answer texts with a bundle")
    run.add_argument("bundle", type=Path, metavar="BUNDLE")
    run.add_argument("texts", nargs="*", metavar="TEXT", help="texts, or - for one a line from standard input")
    run.add_argument("--deadline-ms", type=float, metavar="MS", help="time that an answer may take")
    run.add_argument("--subnet", metavar="ID", help="use this subnet whatever the deadline")
    run.add_argument("--precision", choices=["auto", *PRECISIONS], default="auto")
    run.add_argument("--threads", type=int, help="threads of one call (default: half of the CPUs)")
    run.add_argument("--profile", type=Path, metavar="FILE", help="latency table to use instead of measuring one")
    run.add_argument("--save-profile", type=Path, metavar="FILE", help="keep the latency table for --profile")
    run.add_argument("--log", type=Path, metavar="FILE", help="append one line of JSON for each request")

    _command(commands, "doctor", _doctor, "show what this device has, and what to change")
    return parser


def _command(
    commands: Any, name: str, function: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(command=function)
    return parser


def _add_columns(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--text-column", default="sentence")
    parser.add_argument("--pair-column", default="sentence2")
    parser.add_argument("--label-column", default="label")


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """One flag for every number of `trainer.settings.Settings`; its default stays there."""
    for name, kind in (
        ("max-length", int),
        ("batch-size", int),
        ("teacher-epochs", float),
        ("width-epochs", float),
        ("depth-epochs", float),
        ("teacher-lr", float),
        ("width-lr", float),
        ("depth-lr", float),
        ("random-subnets", int),
        ("importance-rows", int),
        ("save-every-s", float),
        ("seed", int),
    ):
        parser.add_argument(f"--{name}", type=kind, metavar="N")
    for name in ("widths", "depths"):
        parser.add_argument(f"--{name}", type=_multipliers, metavar="M,M", help="multipliers, largest first")


def _multipliers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _train(options: argparse.Namespace) -> int:
    from gearshift.trainer.dynabert import train_supernet
    from gearshift.trainer.pretrained import find_model
    from gearshift.trainer.settings import Settings

    given = {field.name: getattr(options, field.name, None) for field in fields(Settings)}
    settings = Settings(**{name: value for name, value in given.items() if value is not None})
    data = _read_data(options, options.data)
    run = train_supernet(find_model(options.model), data, settings, options.output, data_path=options.data)
    shape = run.checkpoint.model.shape
    rows = [
        (name, subnet.parameters(shape), subnet.macs(shape, 128), run.accuracies[name])
        for name, subnet in run.subnets.items()
    ]
    result = {
        "run": str(run.path),
        "rows": run.facts["rows"],
        "subnets": [dict(zip(("name", "parameters", "macs", "accuracy"), row, strict=True)) for row in rows],
    }
    header = ("subnet", "parameters", "MACs (128 tokens)", "accuracy")
    _print(
        options,
        result,
        [
            f"{run.path}: {len(rows)} subnets, accuracy on {run.facts['rows']['test']} test rows",
            *_table(header, [(n, _millions(p), _millions(m), f"{100 * a:.1f} %") for n, p, m, a in rows]),
        ],
    )
    return 0


def _read_data(options: argparse.Namespace, path: Path) -> DataSet:
    from gearshift.trainer.data import read_data

    return read_data(
        path,
        text_column=options.text_column,
        pair_column=options.pair_column,
        label_column=options.label_column,
    )


def _export(options: argparse.Namespace) -> int:
    from gearshift.export.pipeline import export_bundle
    from gearshift.export.progress import progress_bar
    from gearshift.trainer.checkpoint import load_run

    run = load_run(options.run)
    path = options.data or run.data_path
    if path is None:
        raise InputError(f"{options.run}: does not say what it was trained on; pass held-out rows with --data")
    rows = _read_data(options, path).splits["test"]
    with progress_bar() as progress:
        report = export_bundle(
            run,
            options.output,
            rows,
            precisions=options.precision.split(","),
            licence=options.licence,
            progress=progress,
        )
    lines = [
        f"{options.output}: written and verified, {_megabytes(report.bundle)}",
        f"fp32 logits within {report.parity:.1e} of torch over all subnets",
        *(f"{precision}: all {count} large weights packed" for precision, count in report.packed_weights.items()),
        *(f"int8 {name} loses {100 * loss:.1f} points against fp32" for name, loss in report.losses.items()),
    ]
    result = {**_description(report.bundle), "parity": report.parity, "int8_losses": report.losses}
    _print(options, result, [*lines, *_pool_table(report.bundle)])
    return 0


def _inspect(options: argparse.Namespace) -> int:
    bundle = open_bundle(options.bundle)
    manifest = bundle.manifest
    lines = [
        f"{bundle.path}: {manifest.task}, {len(manifest.labels)} labels, {_megabytes(bundle)}, {bundle.hash[:12]}",
        f"labels: {', '.join(manifest.labels)}",
        f"texts up to {manifest.max_length} tokens; licence {manifest.licence}; made by {manifest.made_by}",
        *_pool_table(bundle),
    ]
    _print(options, _description(bundle), lines)
    return 0


def _verify(options: argparse.Namespace) -> int:
    bundle = open_bundle(options.bundle)
    for precision in bundle.precisions:
        session = ElasticSession(bundle, precision, threads=1)
        check_self_test(session, bundle)
        session.close()
    subnets = len(bundle.pool(bundle.precisions[0]))
    checked = f"{len(bundle.manifest.files)} files as they must be, {subnets} subnets right"
    text = f"{bundle.path}: {checked} at {', '.join(bundle.precisions)}"
    _print(options, {"bundle": str(bundle.path), "verified": True, "precisions": list(bundle.precisions)}, [text])
    return 0


def _run(options: argparse.Namespace) -> int:
    texts = _texts(options.texts)
    with Engine.load(
        options.bundle,
        threads=options.threads,
        precision=options.precision,
        profile=options.profile,
        log=options.log,
    ) as engine:
        if options.subnet is not None:
            engine.pin(options.subnet)
        if options.save_profile is not None:
            engine.save_profile(options.save_profile)
        answers = []
        for text in texts:
            answer = engine.run(text, deadline_ms=options.deadline_ms)
            answers.append({"text": text, **asdict(answer)})
            if not options.json:
                print(_answer_line(answer), flush=True)
        if options.json:
            print(json.dumps({"precision": engine.precision, "threads": engine.threads, "answers": answers}))
    return 0


def _texts(given: Sequence[str]) -> Sequence[str]:
    if list(given) in ([], ["-"]):
        return [line for line in (raw.strip() for raw in sys.stdin) if line]
    return given


def _answer_line(answer: Classification) -> str:
    late = "" if answer.deadline_met in (None, True) else "  late"
    return f"{answer.label}  {answer.score:.2f}  {answer.subnet}  {answer.latency_ms:.1f} ms  {answer.reason}{late}"


def _doctor(options: argparse.Namespace) -> int:
    from gearshift.runtime.doctor import examine

    report = examine()
    _print(options, report.to_dict(), list(report.lines()))
    if report.problem is not None:
        raise GearshiftError(report.problem)
    return 0


def _description(bundle: Bundle) -> dict[str, Any]:
    return {"bundle": str(bundle.path), "hash": bundle.hash, **bundle.manifest.to_dict()}


def _megabytes(bundle: Bundle) -> str:
    return f"{sum(file.bytes for file in bundle.manifest.files.values()) / 1e6:.1f} MB"


def _millions(number: int) -> str:
    return f"{number / 1e6:.1f} M"


def _pool_table(bundle: Bundle) -> list[str]:
    manifest = bundle.manifest
    accuracies = {precision: bundle.pool(precision) for precision in bundle.precisions}
    header = ("subnet", "parameters", f"MACs ({manifest.macs_tokens} tokens)", *(f"accuracy {p}" for p in accuracies))
    rows = []
    for name, entry in accuracies[bundle.precisions[0]].items():
        shares = (f"{100 * pool[name].accuracy:.1f} %" if name in pool else "" for pool in accuracies.values())
        rows.append((name, _millions(entry.parameters), _millions(entry.macs), *shares))
    return _table(header, rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, the first column to the left and the others to the right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (header, *rows)
    ]


def _print(options: argparse.Namespace, result: dict[str, Any], lines: Sequence[str]) -> None:
    print(json.dumps(result, ensure_ascii=False) if options.json else "\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
