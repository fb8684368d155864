"""Tests of what subnets cost beside their table, and of what a first call costs."""

from __future__ import annotations

import math

import pytest

from gearshift.runtime.policy.latency_model import LARGEST_BIAS, Biases


def test_at_first_the_table_is_believed() -> None:
    assert Biases(3).factors == [1.0, 1.0, 1.0]


def test_a_subnet_that_is_slower_than_its_table_after_others_gets_a_factor() -> None:
    biases = Biases(2)
    for number in range(200):
        rung = number % 2
        felt = math.log(1.2) if rung else 0.0
        biases.learn(rung, felt - math.log(biases.factors[rung]), 0.01)
    assert biases.factors[0] == pytest.approx(1.0, abs=0.01)
    assert 1.1 < biases.factors[1] < 1.2  # shrunk towards none


def test_what_the_only_subnet_in_use_feels_is_left_to_the_slow_down() -> None:
    biases = Biases(2)
    for _ in range(50):
        biases.learn(0, 0.3, 0.01)
    assert biases.factors == [1.0, 1.0]


def test_what_a_call_after_a_pause_costs_is_learnt_and_is_no_bias() -> None:
    biases = Biases(2)
    assert biases.idle_factor(0.5) == 1.0
    for _ in range(50):
        biases.learn(0, math.log(1.3) - math.log(biases.idle_factor(5.0)), 5.0)
    assert biases.idle_factor(5.0) == biases.idle_factor(math.inf) == pytest.approx(1.3, rel=0.01)
    assert biases.factors == [1.0, 1.0]


@pytest.mark.parametrize("residual", [-100.0, 100.0])
def test_no_residual_drives_it_out_of_bounds(residual: float) -> None:
    biases = Biases(2)
    for number in range(300):
        biases.learn(number % 2, residual, 0.01)
        biases.learn(number % 2, residual, 5.0)
    assert all(abs(math.log(factor)) <= LARGEST_BIAS + 1e-9 for factor in biases.factors)
    assert 1.0 <= biases.idle_factor(5.0) <= math.exp(LARGEST_BIAS) + 1e-9
