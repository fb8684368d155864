"""Numbers of all settings: none is below zero, infinite or NaN, wherever it comes from."""

from __future__ import annotations

import math
from typing import Any

import pytest

from gearshift.errors import InputError
from gearshift.settings import settings_of
from gearshift.trainer.dan.settings import DanSettings
from gearshift.trainer.dynabert.settings import Recovery, Settings
from gearshift.trainer.learning.settings import Pruning
from gearshift.trainer.nasbert.settings import NetSettings, SearchSettings, TuneSettings

ALL: tuple[type[Any], ...] = (Settings, Recovery, DanSettings, SearchSettings, NetSettings, TuneSettings)

WHOLE, REAL = ("int", "int | None"), ("float",)

CASES = [
    (kind, field.name, value)
    for kind in ALL
    for field in settings_of(kind)
    for value in ((-1,) if field.type in WHOLE else (-1.0, math.nan, math.inf) if field.type in REAL else ())
]


def test_the_settings_have_numbers_to_test() -> None:
    assert {kind for kind, *_ in CASES} == set(ALL) and len(CASES) > 100


@pytest.mark.parametrize(("kind", "name", "value"), CASES, ids=lambda each: getattr(each, "__name__", str(each)))
def test_a_number_that_makes_no_sense_is_refused_by_name(kind: type[Any], name: str, value: float) -> None:
    with pytest.raises(InputError, match=rf"{name.removeprefix('prune_')}.*{value:g}") as raised:
        assert kind(**{name: value}).pruning  # of a training that prunes
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", ALL)
def test_the_defaults_are_accepted(kind: type[Any]) -> None:
    kind()


@pytest.mark.parametrize("value", [-0.1, 1.0, math.nan, math.inf])
def test_all_weights_cannot_become_zeros(value: float) -> None:
    with pytest.raises(InputError, match="sparsity: expected a share from 0 to below 1"):
        Pruning(value)
