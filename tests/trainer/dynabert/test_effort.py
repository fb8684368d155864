"""Tests of the epochs and copies that an effort stands for."""

from typing import Any

import pytest

from gearshift.errors import InputError
from gearshift.trainer.dynabert.effort import BUDGETS, with_effort
from gearshift.trainer.dynabert.settings import EFFORTS, Settings

ROWS = (3_200, 5_000, 70_000, 200_000_000)


def distilled(settings: Settings, rows: int) -> float:
    return rows * (1 + (settings.augment or 0)) * (settings.epochs("width") + settings.epochs("depth"))


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("task", ["classification", "token-classification", "question-answering", "embedding"])
def test_subnets_see_as_many_rows_whatever_the_size_of_the_data(effort: str, rows: int, task: str) -> None:
    made = with_effort(Settings(effort=effort), rows=rows, task=task)
    assert distilled(made, rows) == pytest.approx(BUDGETS[effort].distilled, rel=1e-6)
    assert made.epochs("width") == 0
    taught = min(BUDGETS[effort].teacher, BUDGETS[effort].teacher_epochs * rows)
    assert rows * made.epochs("teacher") == pytest.approx(taught)


def test_a_few_dozen_rows_are_seen_a_hundred_times_at_most() -> None:
    for rows in (1, 40, 500):
        made = with_effort(Settings(), rows=rows, task="classification")
        assert made.augment == 12
        assert distilled(made, rows) == pytest.approx(100 * rows, rel=1e-6)
    assert distilled(with_effort(Settings(effort="quick"), rows=96, task="classification"), 96) == pytest.approx(
        9_600, rel=0.02
    )


@pytest.mark.parametrize("rows", ROWS)
def test_more_effort_is_more_of_every_stage(rows: int) -> None:
    made = [with_effort(Settings(effort=effort), rows=rows, task="classification") for effort in EFFORTS]
    seen = [distilled(one, rows) for one in made]
    assert seen == sorted(set(seen))
    assert [one.epochs("teacher") for one in made] == sorted(one.epochs("teacher") for one in made)


def test_few_rows_get_more_copies_and_questions_and_plain_text_none() -> None:
    copies = [with_effort(Settings(), rows=rows, task="classification").augment for rows in ROWS]
    assert copies == [9, 5, 0, 0]
    for task in ("question-answering", "embedding"):
        assert {with_effort(Settings(), rows=rows, task=task).augment for rows in ROWS} == {0}


def test_settings_that_were_given_stay() -> None:
    given: dict[str, Any] = {"teacher_epochs": 0.0, "width_epochs": 7.0, "depth_epochs": 0.0, "augment": 3}
    for name, value in given.items():
        for effort in EFFORTS:
            made = with_effort(Settings(effort=effort, **{name: value}), rows=500, task="classification")
            assert getattr(made, name) == value
            assert None not in made.to_dict().values() or made.importance_rows is None
    assert with_effort(Settings(**given), rows=500, task="classification") == Settings(**given)


@pytest.mark.parametrize("stage", ["width", "depth"])
def test_who_counts_in_epochs_gets_no_copies_unasked(stage: str) -> None:
    given: dict[str, Any] = {f"{stage}_epochs": 2.0}
    made = with_effort(Settings(**given), rows=500, task="classification")
    assert made.augment == 0


def test_a_choice_is_final() -> None:
    once = with_effort(Settings(), rows=500, task="classification")
    assert with_effort(once, rows=9_999, task="classification") == once


def test_words_for_no_copies_are_refused() -> None:
    with pytest.raises(InputError, match="set augment to 1 copy or more"):
        with_effort(Settings(masked_lm="bert", augment=0), rows=500, task="classification")
    with pytest.raises(InputError, match="effort"):
        with_effort(Settings(effort="huge"), rows=500, task="classification")
