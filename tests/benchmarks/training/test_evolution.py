"""Evolution against the exact look-up, over the same table."""

from __future__ import annotations

import pytest

from benchmarks.training.evolution import Evolution, evolve
from gearshift.errors import InputError
from gearshift.runtime.space.space import Choice
from gearshift.runtime.tables.limits import Limits
from tests.runtime.tables.test_tables import tables_of

TABLES = tables_of()
FEW = Evolution(population=40, generations=40, mutation=0.3)


def allowed(choice: Choice, limit: float) -> bool:
    """Within so many parameters, and something runs."""
    return any(option != 3 for option in choice) and TABLES.estimate(choice).parameters <= limit


def loss(choice: Choice) -> float:
    return TABLES.estimate(choice).loss


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_it_never_beats_the_look_up_and_comes_near(share: float) -> None:
    limit = share * TABLES.estimate((0,) * 4).parameters
    exact = TABLES.best(Limits(parameters=limit))[0].loss
    found = evolve(TABLES.space, loss, lambda choice: allowed(choice, limit), FEW)
    assert exact - 1e-9 <= found[0][0] <= exact + 0.1
    assert all(allowed(choice, limit) for _, choice in found)
    assert [value for value, _ in found] == sorted(value for value, _ in found)


def test_it_measures_as_often_as_it_may() -> None:
    asked: list[Choice] = []

    def counted(choice: Choice) -> float:
        asked.append(choice)
        return loss(choice)

    evolve(TABLES.space, counted, lambda choice: allowed(choice, 10**9), Evolution(population=20, evaluations=33))
    assert len(asked) == len(set(asked)) == 33


def test_nothing_is_found_where_nothing_fits() -> None:
    assert evolve(TABLES.space, loss, lambda choice: False, FEW) == []


def test_shares_that_leave_no_room_are_refused() -> None:
    with pytest.raises(InputError, match="room for children"):
        Evolution(parents=0.6)
