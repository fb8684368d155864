"""Questions without an answer among rows, and what is odd about them in a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from gearshift.errors import DataError
from gearshift.trainer.data.rows import Row


def has_unanswerable(rows: Sequence[Row]) -> bool:
    """Return whether a question of these rows has no answer."""
    return any(row.label == () for row in rows)


def odd_questions(path: Path, task: str, splits: Mapping[str, Sequence[Row]]) -> list[str]:
    """Return notes on the questions without an answer of a data set; raise DataError if no train row has an answer."""
    if task != "question-answering":
        return []
    count, total = sum(row.label == () for row in splits["train"]), len(splits["train"])
    kinds = {split: {row.label != () for row in rows} for split, rows in splits.items()}
    if True not in kinds["train"]:
        raise DataError(f"{path}: none of {total} train questions has an answer; expected some in 'answers'")
    if False not in kinds["train"]:
        return [
            f"{split} rows have questions without an answer, train rows have none: every question gets an answer, and "
            "these count as wrong"
            for split in ("dev", "test")
            if False in kinds[split]
        ]
    notes = [f"{count} of {total} train questions have no answer; a training on them learns to give none"]
    if len(kinds["dev"]) < 2:
        kind = "without an answer" if True in kinds["dev"] else "with an answer"
        notes.append(f"no dev row is a question {kind}: the threshold of no answer cannot be chosen, and stays at 0")
    return notes
