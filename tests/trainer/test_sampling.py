"""The sandwich rule."""

import pytest

from gearshift.runtime.space import Subnet, uniform_grid
from gearshift.trainer.sampling import sandwich
from tests.trainer.tiny import SHAPE

SUBNETS = list(uniform_grid(SHAPE).values())


@pytest.mark.parametrize("count", range(4))
def test_the_ends_are_always_there_with_as_many_others_as_asked_for(count: int) -> None:
    for step in range(50):
        drawn = sandwich(SUBNETS, count=count, seed=0, step=step)
        assert (drawn[0], drawn[-1]) == (SUBNETS[0], SUBNETS[-1])
        assert len(set(drawn)) == len(drawn) == count + 2
        assert set(drawn) <= set(SUBNETS)


def test_a_draw_depends_on_seed_and_step_alone() -> None:
    def draws(seed: int) -> list[list[Subnet]]:
        return [sandwich(SUBNETS, count=2, seed=seed, step=step) for step in range(20)]

    assert draws(0) == draws(0)
    assert draws(0)[7] == sandwich(SUBNETS, count=2, seed=0, step=7)
    assert draws(0) != draws(1)
    assert len({tuple(drawn) for drawn in draws(0)}) > 5


def test_every_subnet_is_drawn_about_as_often_as_the_others() -> None:
    steps = 1000
    counts = dict.fromkeys(SUBNETS[1:-1], 0)
    for step in range(steps):
        (_, drawn, _) = sandwich(SUBNETS, count=1, seed=3, step=step)
        counts[drawn] += 1
    # Ten subnets: 100 each are expected, with a standard deviation of 9.5.
    assert min(counts.values()) > 60
    assert max(counts.values()) < 140


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_space_of_few_subnets_is_drawn_whole(size: int) -> None:
    assert sandwich(SUBNETS[:size], count=5, seed=0, step=0) == SUBNETS[:size]
