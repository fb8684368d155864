"""`gearshift rank`: texts by their relevance to a query, within a deadline."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from gearshift.commands.run import texts_of
from gearshift.runtime import Ranking
from gearshift.runtime.serving.request import checked_deadline
from gearshift.terminal import streams
from gearshift.terminal.engine_options import add_deadline, add_engine_options, load_engine
from gearshift.terminal.options import command


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    command(parser, rank)
    parser.add_argument(
        "bundle", type=Path, metavar="BUNDLE", help="bundle directory, of a cross-encoder or an embedding"
    )
    parser.add_argument("query", metavar="QUERY", help="query that the texts are compared with")
    parser.add_argument(
        "texts", nargs="*", default=[], metavar="TEXT", help="texts; - (or none) reads one a line from standard input"
    )
    add_deadline(parser)
    add_engine_options(parser)


def rank(options: argparse.Namespace) -> int:
    """Rank the texts of one query, and print them, the most relevant first."""
    checked_deadline(options.deadline_ms)
    with load_engine(options, options.save_profile) as engine:
        ranking = engine.rank(options.query, list(texts_of(options.texts)), deadline_ms=options.deadline_ms)
        if options.json:
            shown = {"precision": engine.precision, "threads": engine.threads, "query": options.query}
            streams.result(json.dumps({**shown, **asdict(ranking)}))
        else:
            for one in ranking.results:
                cut = "  truncated" if one.truncated else ""
                streams.result(f"{one.score:.4g}  {one.text}  {one.subnet}{cut}")
            streams.result(_facts(ranking))
    return 0


def _facts(ranking: Ranking) -> str:
    """Format how the texts were read on one line."""
    again = f", the best {ranking.closely} again by {ranking.close_subnet}" if ranking.closely else ""
    late = "" if ranking.deadline_met in (None, True) else "  late"
    count = len(ranking.results)
    return f"{count} by {ranking.subnet}{again}  {ranking.latency_ms:.1f} ms  {ranking.reason}{late}"
