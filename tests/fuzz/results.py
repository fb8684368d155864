"""Counts of outcomes: on a terminal while cases run, as a table, and in a file over several runs."""

from __future__ import annotations

import collections
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from tests.fuzz.outcome import FAILURES, Outcome

COLUMNS = ("cases", "unchanged", "other values", "refused", "failed", "a second")


@dataclass
class Counts:
    """Number of cases by kind and outcome."""

    by_kind: dict[str, collections.Counter[Outcome]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    """Time by kind."""
    total: int = 0
    failed: int = 0

    def add(self, kind: str, outcome: Outcome, count: int = 1, *, seconds: float = 0.0) -> None:
        self.seconds[kind] = self.seconds.get(kind, 0.0) + seconds
        self.by_kind.setdefault(kind, collections.Counter())[outcome] += count
        self.total += count
        self.failed += count if outcome in FAILURES else 0

    def to_dict(self) -> dict[str, dict[str, int]]:
        """Return kind -> name of the outcome -> cases."""
        return {
            kind: {outcome.name.lower(): count for outcome, count in sorted(of.items(), key=lambda one: one[0].name)}
            for kind, of in sorted(self.by_kind.items())
        }

    @classmethod
    def of_runs(cls, runs: list[Mapping[str, Any]]) -> Counts:
        """Add up the counts of runs, as `to_dict` gives them."""
        counts = cls()
        for run in runs:
            for kind, of in run["counts"].items():
                for outcome, count in of.items():
                    counts.add(kind, Outcome[outcome.upper()], count)
        return counts


def rows(counts: Counts) -> list[tuple[str, ...]]:
    """Return a row for each kind and one for all: name, and the figures of COLUMNS."""
    found = []
    for kind, of in [*sorted(counts.by_kind.items()), ("all", sum(counts.by_kind.values(), collections.Counter()))]:
        failed = sum(of[outcome] for outcome in FAILURES)
        seconds = counts.seconds.get(kind, 0.0) if kind in counts.by_kind else sum(counts.seconds.values())
        speed = f"{of.total() / max(seconds, 1e-9):.1f}" if seconds else ""
        figures = (of.total(), of[Outcome.UNCHANGED], of[Outcome.OTHER], of[Outcome.REFUSED], failed)
        found.append((kind, *(f"{figure:,}" for figure in figures), speed))
    return found


def table(counts: Counts, seconds: float) -> list[str]:
    """Return the lines of a table for a terminal."""
    lines = [("kind", *COLUMNS), *rows(counts)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(COLUMNS) + 1)]
    shown = [
        "  ".join(text.ljust(width) if place == 0 else text.rjust(width) for place, (text, width) in cells)
        for cells in (list(enumerate(zip(line, widths, strict=True))) for line in lines)
    ]
    return [*shown, f"{seconds:.0f} s, {counts.total / max(seconds, 1e-9):.1f} cases a second"]


def add_run(path: Path, *, command: str, seed: int, seconds: float, counts: Counts) -> None:
    """Add a run to a file of results, and write the table of all its runs beside it."""
    found = json.loads(path.read_bytes()) if path.is_file() else {"runs": []}
    run = {"command": command, "seed": seed, "seconds": round(seconds, 1), "cases": counts.total}
    found["runs"].append({**run, "counts": counts.to_dict()})
    found["cases"] = sum(run["cases"] for run in found["runs"])
    found["failed"] = Counts.of_runs(found["runs"]).failed
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text("\n".join(page(found)) + "\n", encoding="utf-8")


def page(found: Mapping[str, Any]) -> list[str]:
    """Return the lines of Markdown of a file of results."""
    runs = found["runs"]
    seconds = sum(run["seconds"] for run in runs)
    lines = [("kind", *COLUMNS[:-1]), ("---",) * len(COLUMNS), *(row[:-1] for row in rows(Counts.of_runs(runs)))]
    return [
        f"### {found['cases']:,} cases of {len(runs)} seeds in {seconds:,.0f} seconds: {found['failed']} failed",
        "",
        *(f"| {' | '.join(line)} |" for line in lines),
        "",
        "| command | cases | seconds |",
        "| --- | --- | --- |",
        *(f"| `{run['command']}` | {run['cases']:,} | {run['seconds']:,.0f} |" for run in runs),
    ]


class Progress:
    """Bar on a terminal; nothing elsewhere."""

    WIDTH = 30

    def __init__(self, stream: TextIO, seconds: float, cases: int) -> None:
        self._stream, self._seconds, self._cases = stream, seconds, cases
        self._shown = stream.isatty()
        self._next = 0.0

    def show(self, counts: Counts, seconds: float) -> None:
        """Show how far the run has come, a few times a second."""
        if not self._shown or seconds < self._next:
            return
        self._next = seconds + 0.2
        share = min(1.0, max(seconds / self._seconds, counts.total / self._cases))
        bar = "#" * int(share * self.WIDTH)
        told = f"{counts.total:,} cases, {counts.total / max(seconds, 1e-9):.0f} a second, {counts.failed} failed"
        self._stream.write(f"\r\x1b[K[{bar:<{self.WIDTH}}] {told}")
        self._stream.flush()

    def clear(self) -> None:
        """Remove the bar, for a line of text."""
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
