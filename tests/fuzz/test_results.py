"""Counts of outcomes: as a table, in a file over several runs, and as a bar on a terminal alone."""

from __future__ import annotations

import io
import json
from pathlib import Path

from tests.fuzz.outcome import Outcome
from tests.fuzz.results import Counts, Progress, add_run, table


def counts() -> Counts:
    found = Counts()
    found.add("graph", Outcome.REFUSED, 1200, seconds=60.0)
    found.add("graph", Outcome.UNCHANGED, 3, seconds=0.0)
    found.add("bytes", Outcome.WRONG, seconds=1.0)
    return found


def test_a_table_has_a_line_for_each_kind_and_one_for_all() -> None:
    head, first, second, last, speed = [line.split() for line in table(counts(), 61.0)]
    assert head == ["kind", "cases", "unchanged", "other", "values", "refused", "failed", "a", "second"]
    assert first == ["bytes", "1", "0", "0", "0", "1", "1.0"]
    assert second == ["graph", "1,203", "3", "0", "1,200", "0", "20.1"]
    assert last == ["all", "1,204", "3", "0", "1,200", "1", "19.7"]
    assert speed == ["61", "s,", "19.7", "cases", "a", "second"]


def test_runs_are_added_up_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "results" / "fuzz.json"
    for seed in (5, 6):
        add_run(path, command="python -m tests.fuzz", seed=seed, seconds=61.0, counts=counts())
    found = json.loads(path.read_bytes())
    assert (found["cases"], found["failed"]) == (2408, 2)
    assert [run["seed"] for run in found["runs"]] == [5, 6]
    assert found["runs"][0]["counts"] == {"bytes": {"wrong": 1}, "graph": {"refused": 1200, "unchanged": 3}}
    told = path.with_suffix(".md").read_text().splitlines()
    assert told[0] == "### 2,408 cases of 2 seeds in 122 seconds: 2 failed"
    assert "| graph | 2,406 | 6 | 0 | 2,400 | 0 |" in told
    assert "| all | 2,408 | 6 | 0 | 2,400 | 2 |" in told
    assert told[-1] == "| `python -m tests.fuzz` | 1,204 | 61 |"
    assert Counts.of_runs(found["runs"]).by_kind["graph"][Outcome.REFUSED] == 2400


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_is_shown_on_a_terminal_alone_and_not_for_every_case() -> None:
    shown, piped = Terminal(), io.StringIO()
    for stream in (shown, piped):
        progress = Progress(stream, 100.0, 10_000)
        for moment in (50.0, 50.01, 50.5):
            progress.show(counts(), moment)
        progress.clear()
    assert piped.getvalue() == ""
    assert shown.getvalue().count("[###############               ] 1,204 cases, 24 a second, 1 failed") == 2
    assert shown.getvalue().endswith("\r\x1b[K")
