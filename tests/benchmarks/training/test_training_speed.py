"""The cost of a step of a mix of subnets, from the costs of its parts."""

import pytest

from benchmarks.training.training_speed import GRID, StepParts
from gearshift.trainer.learning.sampling import Sampler

SUBNETS = GRID[:3]
PARTS = StepParts(teacher=10.0, kept=1.0, update=2.0, subnets=dict(zip(SUBNETS, (100.0, 60.0, 20.0), strict=True)))


@pytest.mark.parametrize(
    ("sampler", "passes", "subnets"),
    [
        (Sampler(SUBNETS, "sandwich", 1), 180.0, 3.0),
        (Sampler(SUBNETS, "all"), 180.0, 3.0),
        (Sampler(SUBNETS, "anchored", 2), 60 + 20 + (100 - 40) / 4, 2.0),  # in place of either in a quarter of steps
        (Sampler(SUBNETS[:1], "random", 1), 100.0, 1.0),
    ],
)
def test_a_step_costs_what_its_parts_cost_on_average(sampler: Sampler, passes: float, subnets: float) -> None:
    for kept, teacher in ((False, 10.0), (True, 1.0)):
        seconds, count = PARTS.step(sampler, kept=kept)
        assert seconds == pytest.approx(teacher + passes + 2.0, rel=0.02)
        assert count == pytest.approx(subnets)
