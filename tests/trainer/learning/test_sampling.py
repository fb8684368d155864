"""Tests of which subnets a step runs."""

from typing import Any

import pytest

from gearshift.errors import InputError
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.space.uniform import kept_layers, uniform_grid
from gearshift.trainer.learning.sampling import ANCHOR_EVERY, SCHEMES, Sampler, same_width
from tests.trainer.tiny import SHAPE

GRID = uniform_grid(SHAPE)
SUBNETS = tuple(GRID.values())


def sampler(subnets: tuple[Subnet, ...] = SUBNETS, **values: Any) -> Sampler:
    return Sampler(subnets, **values)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("count", range(4))
def test_a_sandwich_has_its_ends_with_as_many_others_as_asked_for(count: int, mixed: bool) -> None:
    for step in range(50):
        drawn = sampler(count=count, mixed=mixed).draw(step)
        assert (drawn[0], drawn[-1]) == (SUBNETS[0], SUBNETS[-1])
        assert len(set(drawn)) == len(drawn)
        assert len(drawn) == count + 2 or (mixed and len(drawn) < count + 2)  # a mix may be one of the ends
        assert mixed or set(drawn) <= set(SUBNETS)


def test_all_are_all_the_largest_first() -> None:
    assert [sampler(scheme="all").draw(step) for step in range(3)] == [list(SUBNETS)] * 3


@pytest.mark.parametrize("count", [1, 3, 12, 20])
def test_random_are_as_many_as_asked_for_and_any_of_them(count: int) -> None:
    seen = set()
    for step in range(200):
        drawn = sampler(scheme="random", count=count).draw(step)
        assert len(set(drawn)) == len(drawn) == min(count, 12)
        seen |= set(drawn)
    assert seen == set(SUBNETS)


@pytest.mark.parametrize("count", [1, 2, 3, 20])
@pytest.mark.parametrize("mixed", [False, True])
def test_anchored_steps_leave_the_largest_out_but_for_every_fourth(count: int, mixed: bool) -> None:
    seen = set()
    for step in range(400):
        drawn = sampler(scheme="anchored", count=count, mixed=mixed).draw(step)
        assert len(set(drawn)) == len(drawn) <= count
        assert mixed or len(drawn) == min(count, 12 if step % ANCHOR_EVERY == 0 else 11)
        assert drawn[0] == SUBNETS[0] or step % ANCHOR_EVERY
        assert mixed or (SUBNETS[0] in drawn) == (step % ANCHOR_EVERY == 0)  # a mix may be the largest
        seen |= set(drawn)
    assert mixed or seen == set(SUBNETS)


def test_the_only_subnet_is_drawn_whatever_the_scheme() -> None:
    for scheme in SCHEMES:
        assert [sampler(SUBNETS[:1], scheme=scheme).draw(step) for step in range(5)] == [[SUBNETS[0]]] * 5


@pytest.mark.parametrize("scheme", ["sandwich", "random", "all", "anchored"])
@pytest.mark.parametrize("mixed", [False, True])
def test_a_draw_depends_on_seed_and_step_alone(scheme: str, mixed: bool) -> None:
    def draws(seed: int) -> list[list[Subnet]]:
        one = sampler(scheme=scheme, count=2, mixed=mixed, seed=seed)
        return [one.draw(step) for step in range(20)]

    assert draws(0) == draws(0)
    assert draws(0)[7] == sampler(scheme=scheme, count=2, mixed=mixed).draw(7)
    if mixed or scheme != "all":
        assert draws(0) != draws(1)
        assert len({tuple(drawn) for drawn in draws(0)}) > 5


def test_every_subnet_is_drawn_about_as_often_as_the_others() -> None:
    counts = dict.fromkeys(SUBNETS[1:-1], 0)
    for step in range(1000):
        (_, drawn, _) = sampler(seed=3).draw(step)
        counts[drawn] += 1
    # Ten subnets: 100 each are expected, with a standard deviation of 9.5.
    assert min(counts.values()) > 60
    assert max(counts.values()) < 140


def test_mixed_widths_give_layers_widths_of_their_own_at_a_depth_of_the_grid() -> None:
    depths = {kept_layers(SHAPE.layers, depth) for depth in (1.0, 0.75, 0.5)}
    sizes = {size for subnet in SUBNETS for size in subnet.layers} - {(0, 0)}
    uneven, seen = 0, set()
    for step in range(300):
        (drawn,) = sampler(scheme="random", mixed=True).draw(step)
        kept = drawn.kept()
        assert tuple(layer.layer for layer in kept) in depths
        assert {(layer.heads, layer.neurons) for layer in kept} <= sizes
        uneven += len({(layer.heads, layer.neurons) for layer in kept}) > 1
        seen |= {(layer.layer, layer.heads) for layer in kept}
    assert uneven > 200
    assert len(seen) == SHAPE.layers * len(sizes)  # every layer at every width


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_space_of_few_subnets_is_drawn_whole(size: int) -> None:
    assert sampler(SUBNETS[:size], count=5).draw(0) == list(SUBNETS[:size])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scheme": "sandwhich"}, "sampling: expected one of sandwich, all, random, anchored, got 'sandwhich'"),
        ({"scheme": "random", "count": 0}, "random draws no subnet at all"),
    ],
)
def test_a_scheme_that_cannot_be_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sampler(**values)


def test_the_same_width_teacher_has_all_layers_of_the_subnets_own_width() -> None:
    for name, subnet in GRID.items():
        assert same_width(subnet) == GRID[f"{name[:4]}-d100"]
    assert same_width(Subnet(((0, 0), (2, 3), (0, 0), (1, 2)))) == Subnet(((2, 3), (2, 3), (2, 3), (1, 2)))
