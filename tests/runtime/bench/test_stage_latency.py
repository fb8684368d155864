"""Sums of stages: what was put in is found again, from few calls and from calls that others disturbed."""

from __future__ import annotations

import random

import pytest

from gearshift.errors import ProfileError
from gearshift.runtime.bench.choices import Switches, designed_choices, random_choices
from gearshift.runtime.bench.stage_latency import StageLatency, fit_stage_latency
from gearshift.runtime.space.blocks import BlockShape, parse_subnet
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import Choice, block_space, cut_space
from gearshift.runtime.space.uniform import uniform_grid

SHAPE = EncoderShape(layers=6, hidden=64, heads=4, neurons=64, vocabulary=100, positions=64, types=2)
ELASTIC = cut_space(SHAPE, list(uniform_grid(SHAPE).values()), 1)
SPACE = Switches.of(ELASTIC)
POOL = [ELASTIC.choice(subnet) for subnet in uniform_grid(SHAPE).values()]
LENGTHS = (16, 64)


def true_ms(choice: Choice, length: int) -> float:
    """A call that takes what its stages take: wider ones more, the last one half."""
    total = 0.3 + 0.002 * length
    for place, (stage, option) in enumerate(zip(ELASTIC.stages, choice, strict=True)):
        heads, neurons = stage.options[option].layers[0]
        own = 1 + 0.02 * place  # a stage is not quite as the next one
        total += length * (0.004 * heads + 0.0002 * neurons) * own * (0.5 if place == 5 else 1.0)
    return total


def calls(count: int, *, noise: float = 0.0, seed: int = 0) -> list[tuple[Choice, int, float]]:
    draw, design = random.Random(seed), designed_choices(SPACE, POOL, seed)
    found = []
    for _ in range(count):
        choice = next(design)
        found += [(choice, length, true_ms(choice, length) * (1 + noise * draw.gauss(0, 1))) for length in LENGTHS]
    return found


def errors(fitted: StageLatency) -> list[float]:
    unseen = random_choices(SPACE, 50, 99, POOL)
    return sorted(abs(fitted.predict(c, n) / true_ms(c, n) - 1) for c in unseen for n in LENGTHS)


def test_calls_that_add_up_are_predicted_within_a_hundredth() -> None:
    assert errors(fit_stage_latency(SPACE, calls(200)))[-1] < 0.01


def test_a_few_noisy_calls_are_enough_because_stages_are_alike() -> None:
    found = errors(fit_stage_latency(SPACE, calls(24, noise=0.03)))
    assert found[len(found) // 2] < 0.04


@pytest.mark.parametrize(("factor", "every"), [(10.0, 10), (1.5, 3)])
def test_calls_that_others_slowed_down_change_nothing(factor: float, every: int) -> None:
    clean = calls(200, noise=0.02)
    disturbed = [(c, n, ms * (factor if place % every == 0 else 1)) for place, (c, n, ms) in enumerate(clean)]
    found = errors(fit_stage_latency(SPACE, disturbed))
    assert found[len(found) // 2] < 0.03


def test_between_the_lengths_lie_straight_lines() -> None:
    fitted = fit_stage_latency(SPACE, calls(100))
    choice = POOL[0]
    at = {length: fitted.predict(choice, length) for length in (8, 16, 40, 64, 128)}
    assert at[40] == pytest.approx((at[16] + at[64]) / 2)
    assert at[8] == at[16]
    assert at[128] == pytest.approx(at[64] + 64 * (at[64] - at[16]) / 48)


def test_tails_are_those_of_the_scatter() -> None:
    fitted = fit_stage_latency(SPACE, calls(400, noise=0.05))
    for length in LENGTHS:
        assert 1.03 < fitted.tail(90, length) < fitted.tail(95, length) < fitted.tail(99, length) < 1.2
    assert fitted.tail(95, 40) <= max(fitted.tail(95, length) for length in LENGTHS)


def test_a_single_stage_is_a_table_of_its_options() -> None:
    space = Switches.of(cut_space(SHAPE, list(uniform_grid(SHAPE).values()), 6))
    seen = [((option,), 16, 1.0 + option) for option in range(12) for _ in range(5)]
    fitted = fit_stage_latency(space, seen)
    expected = [1.0 + option for option in range(12)]
    assert [fitted.predict((option,), 16) for option in range(12)] == pytest.approx(expected, rel=0.02)


def test_without_calls_there_is_no_fit() -> None:
    with pytest.raises(ProfileError, match="expected timed calls"):
        fit_stage_latency(SPACE, [])


def test_a_choice_of_another_space_is_refused() -> None:
    with pytest.raises(ProfileError, match="latencies: expected a choice of 6 options, one a stage, got 2"):
        fit_stage_latency(SPACE, calls(20)).predict((0, 0), 16)


@pytest.mark.parametrize("layers", [1, 2, 3, 6])
def test_the_design_has_every_option_about_equally_often_and_never_nothing(layers: int) -> None:
    space = cut_space(SHAPE, list(uniform_grid(SHAPE).values()), layers)
    pool = [space.choice(subnet) for subnet in uniform_grid(SHAPE).values()]
    design = designed_choices(Switches.of(space), pool, 3)
    chosen = [next(design) for _ in range(400)]
    assert {choice for choice in chosen if choice in set(pool)} == set(pool)
    for place, stage in enumerate(space.stages):
        counts = [sum(choice[place] == option for choice in chosen) for option in range(len(stage.options))]
        assert min(counts) > 0.4 * len(chosen) / len(stage.options)
    assert all(any(heads for heads, _ in space.subnet(choice).layers) for choice in chosen)


def test_unseen_choices_are_different_and_none_of_the_pool() -> None:
    found = random_choices(SPACE, 30, 1, POOL)
    assert len(set(found)) == 30
    assert not set(found) & set(POOL)


def test_there_are_no_more_unseen_choices_than_there_are() -> None:
    small = cut_space(SHAPE, list(uniform_grid(SHAPE).values()), 6)
    pool = [small.choice(subnet) for subnet in uniform_grid(SHAPE).values()]
    assert random_choices(Switches.of(small), 5, 1, pool) == []


def test_a_space_of_mixed_operations_is_designed_and_fitted_alike() -> None:
    shape = BlockShape(vocabulary=100, positions=32, types=2, embedding=32, head_size=16)
    nets = [parse_subnet(name) for name in ("32MF-32S3F", "32FF-32MF", "32M-32S5")]
    space = block_space(shape, nets)
    switches, pool = Switches.of(space), [space.choice(net) for net in nets]
    design = designed_choices(switches, pool, 0)
    blocks = [block for stage in range(space.length) for block in space.options_of(stage)]
    cost = {block: 1.0 + place for place, block in enumerate(blocks)}
    seen = []
    for _ in range(60):
        choice = next(design)
        seen.append((choice, 16, 0.5 + sum(cost[block] for block in space.subnet(choice).layers)))
    fitted = fit_stage_latency(switches, seen)
    for choice in random_choices(switches, 6, 1, pool):
        expected = 0.5 + sum(cost[block] for block in space.subnet(choice).layers)
        assert fitted.predict(choice, 16) == pytest.approx(expected, rel=0.03)
