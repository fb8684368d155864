"""Storage of results: measurements as JSON, and a table of them as Markdown, under one name."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from gearshift.runtime.profiles.store import this_device

RESULTS = Path(__file__).parent / "results"


def save(name: str, facts: Mapping[str, object], lines: Sequence[str], *, folder: Path | None = None) -> None:
    """Write both, with date and device, to a folder, RESULTS unless given, and print the table."""
    folder = folder or RESULTS
    folder.mkdir(exist_ok=True)
    report = {"date": datetime.date.today().isoformat(), "device": this_device().to_dict(), **facts}
    (folder / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (folder / f"{name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(["", *lines]))


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    return ["| " + " | ".join(cells) + " |" for cells in [header, ["---"] * len(header), *rows]]
