"""Settings that cannot be used are refused before anything is done."""

import json
import math
from dataclasses import fields
from typing import Any

import pytest

from gearshift.runtime.errors import InputError
from gearshift.trainer.settings import Settings

LEAST = {field.name: 0 for field in fields(Settings) if field.type == "int"}
LEAST |= {"max_length": 1, "batch_size": 1, "importance_rows": 1}
RATES = sorted(field.name for field in fields(Settings) if field.type == "float")


def test_the_kinds_of_settings_are_known_here() -> None:
    assert {field.type for field in fields(Settings)} == {"int", "float", "bool", "str", "tuple[float, ...]"}


def make(**values: Any) -> Settings:
    return Settings(**values)


@pytest.mark.parametrize(("name", "least"), LEAST.items())
def test_a_count_has_a_least_value(name: str, least: int) -> None:
    assert getattr(make(**{name: least}), name) == least
    with pytest.raises(InputError, match=rf"^settings: {name} must be at least {least}, got {least - 1}$"):
        make(**{name: least - 1})


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_a_rate_is_a_number_of_zero_or_more(name: str, value: float) -> None:
    assert getattr(make(**{name: 0.0}), name) == 0
    with pytest.raises(InputError, match=rf"^settings: {name} must be 0 or more, got {value}$"):
        make(**{name: value})


@pytest.mark.parametrize("name", ["widths", "depths"])
def test_multipliers_cannot_be_left_out(name: str) -> None:
    with pytest.raises(InputError, match="widths and depths must each name one multiplier"):
        make(**{name: ()})


def test_all_settings_can_be_written_as_json_and_read_again() -> None:
    settings = Settings(widths=(1.0, 0.5), seed=3)
    raw = json.loads(json.dumps(settings.to_dict()))
    assert set(raw) == {field.name for field in fields(Settings)}
    assert Settings(**{**raw, "widths": tuple(raw["widths"]), "depths": tuple(raw["depths"])}) == settings
