"""Effort of a training: the rows that each stage sees, from which epochs and copies follow where they are not set.

Epochs of a small data set are few steps, and its small subnets stay poor; those of a large one take a day. So an effort
is a number of rows, and their steps take about as long on any data set of short texts.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from gearshift.errors import InputError
from gearshift.trainer.dynabert.settings import EFFORTS, Settings

_PASSES = 2.4
"""Number of times that each copy of a row is distilled."""

_MOST_COPIES = 12

_MOST_EPOCHS = 100
"""Most epochs of distillation, in rows of the data: on a few dozen rows an hour would be spent for nothing."""

_UNCHANGED = ("question-answering", "embedding")
"""Tasks whose rows get no copies: words of an answer must stay, and plain text is not scarce."""


@dataclass(frozen=True)
class Budget:
    """Rows that stages see."""

    teacher: int
    distilled: int
    teacher_epochs: float
    """Most epochs of the teacher stage."""


BUDGETS = dict(
    zip(
        EFFORTS,
        (Budget(8_000, 9_600, 3), Budget(24_000, 73_600, 6), Budget(48_000, 320_000, 8)),
        strict=True,
    )
)
"""Budget by name of the effort."""


def with_effort(settings: Settings, *, rows: int, task: str) -> Settings:
    """Return the settings with epochs and copies by their effort, for a number of training rows, where they were not
    set.

    Raises InputError if a masked language model is to propose words of no copies.
    """
    budget = BUDGETS[settings.effort]
    distilled = min(budget.distilled, _MOST_EPOCHS * rows)
    augment = settings.augment
    if augment is None:
        by_rows = max(0, min(_MOST_COPIES, round(distilled / (_PASSES * rows)) - 1))
        # Who sets the epochs counts in rows of the data.
        counted = settings.width_epochs is not None or settings.depth_epochs is not None
        augment = 0 if counted or task in _UNCHANGED else by_rows
    if settings.masked_lm and not augment:
        raise InputError("settings: masked_lm proposes words of changed copies; set augment to 1 copy or more")
    epochs = distilled / (rows * (1 + augment))
    chosen = {
        "teacher_epochs": min(budget.teacher_epochs, budget.teacher / rows),
        "width_epochs": 0.0,  # all subnets from the first step on give more than widths first, in as many steps
        "depth_epochs": epochs,
    }
    unset: dict[str, Any] = {name: value for name, value in chosen.items() if getattr(settings, name) is None}
    return dataclasses.replace(settings, augment=augment, **unset)
