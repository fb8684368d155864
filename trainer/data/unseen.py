"""Labels of held-out rows that the model does not have, as published data sets have them (ATIS).

A model can answer none of them. Such rows stay, every metric counts them as wrong, and one line tells their number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gearshift.trainer.data.formats import listed
from gearshift.trainer.data.rows import Row, labels_of


@dataclass(frozen=True)
class UnseenLabels:
    """Labels of some rows that are not among those of the model."""

    rows: int = 0
    """Number of rows that have such a label."""
    rows_of: Mapping[str, int] = field(default_factory=dict)
    """Label -> number of its rows, most frequent first."""
    alone: bool = False
    """Whether no row has any other label: the rows are then for another model, or from another column."""

    def line(self, count: int, *, of: str = "train") -> str:
        """Return the number of rows and the labels, for a message; `count`: number of all rows, `of`: what lacks the
        labels."""
        labels = listed([f"{label} ({rows})" for label, rows in self.rows_of.items()])
        return f"{self.rows} of {count} rows have labels that {of} lacks, and count as wrong: {labels}"


def unseen_labels(rows: Sequence[Row], labels: Sequence[str]) -> UnseenLabels:
    """Return the labels of rows that are not among `labels`."""
    known = set(labels)
    rows_of: dict[str, int] = {}
    count, alone = 0, True
    for row in rows:
        found = set(labels_of(row))
        alone = alone and not found & known
        count += bool(found - known)
        for label in found - known:
            rows_of[label] = rows_of.get(label, 0) + 1
    ordered = dict(sorted(rows_of.items(), key=lambda one: (-one[1], one[0])))
    return UnseenLabels(count, ordered, alone=alone and count > 0)


def classes_of(rows: Sequence[Row], labels: Sequence[str]) -> list[int]:
    """Return the class of each row by its label; -1 for a label that is not among `labels`."""
    places = {label: place for place, label in enumerate(labels)}
    return [places.get(str(row.label), -1) for row in rows]
