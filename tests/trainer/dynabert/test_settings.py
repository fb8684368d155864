"""Settings that cannot be used are refused before anything is done."""

import json
import math
import re
from dataclasses import fields
from typing import Any

import pytest

from gearshift.errors import InputError
from gearshift.trainer.dynabert.settings import Settings
from gearshift.trainer.learning.settings import Pruning

LEAST = {field.name: 0 for field in fields(Settings) if field.type == "int"}


LEAST |= {"max_length": 1, "batch_size": 1, "importance_rows": 0}


RATES = sorted({field.name for field in fields(Settings) if field.type == "float"} - {"sparsity", "prune_ramp"})


def test_the_kinds_of_settings_are_known_here() -> None:
    kinds = {str(field.type).removesuffix(" | None") for field in fields(Settings)}
    assert kinds == {"int", "float", "bool", "str", "tuple[float, ...]", "tuple[int, ...]"}


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


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sparsity": 1.0}, "sparsity: expected a share from 0 to below 1, such as 0.4, got 1"),
        ({"sparsity": math.nan}, "sparsity: expected a share from 0 to below 1, such as 0.4, got nan"),
        ({"prune_scope": "row"}, "pruning scope: expected matrix or global, got 'row'"),
        ({"prune_ramp": 1.5}, "pruning ramp: expected a share of the steps from 0 to 1, got 1.5"),
        ({"prune_stage": "end"}, "settings: prune_stage: expected one of teacher, width, depth, got 'end'"),
        (
            {"sparsity": 0.4, "prune_stage": "depth", "depth_epochs": 0},
            "settings: expected depth_epochs above 0, as its stage is to prune, got 0",
        ),
    ],
)
def test_pruning_that_cannot_be_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        make(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sampling": "best"}, "sampling: expected one of sandwich, all, random, anchored, got 'best'"),
        ({"sampling": "random", "random_subnets": 0}, "sampling: random draws no subnet at all; set random_subnets"),
    ],
)
def test_sampling_that_cannot_be_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        make(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"warmup": 1.5}, "settings: warmup: expected a share of a stage's steps from 0 to 1, got 1.5"),
        ({"patience": 3}, "settings: patience counts evaluations, and there are none; set evaluate_every above 0"),
    ],
)
def test_what_would_do_nothing_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        make(**values)
    make(warmup=1.0, patience=3, evaluate_every=1.0, masked_lm="bert", augment=1)


def test_nothing_is_pruned_unless_asked_for() -> None:
    assert make().pruning is None
    assert make(sparsity=0.3, prune_ramp=0).pruning == Pruning(0.3, "matrix", embeddings=False, ramp=0)


def test_all_settings_can_be_written_as_json_and_read_again() -> None:
    settings = Settings(widths=(1.0, 0.5), seed=3)
    raw = json.loads(json.dumps(settings.to_dict()))
    assert set(raw) == {field.name for field in fields(Settings)}
    tuples = {name: tuple(raw[name]) for name in ("widths", "depths", "matryoshka_dims", "head_weights")}
    assert Settings(**{**raw, **tuples}) == settings
