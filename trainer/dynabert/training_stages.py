"""Stages of a training in their order: the subnets that learn, and whether weights may become zeros meanwhile.

The order is DynaBERT's progressive shrinking, with two stages from Once-for-All that DynaBERT lacks: `kernel` and
`depth-only`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gearshift.runtime.space.subnet import SKIPPED, Subnet

Floats = tuple[float, ...]


@dataclass(frozen=True)
class Stage:
    """A stage, and the subnets that learn in it."""

    name: str
    widths: bool
    """Whether subnets of every width learn; if not, those of full width."""
    depths: bool
    """Whether subnets of every depth learn; if not, those of full depth."""
    prunes: bool = False
    """Whether pruning may begin with this stage (`Settings.prune_stage`)."""

    def multipliers(self, widths: Floats, depths: Floats, *others: Any) -> tuple[Any, ...]:
        """Return the width and depth multipliers of a uniform grid that learn in this stage, and all `others`."""
        return widths if self.widths else (1.0,), depths if self.depths else (1.0,), *others

    def trains(self, subnet: Subnet, full: Subnet) -> bool:
        """Return whether a subnet of the full net learns in this stage."""
        return (self.depths or SKIPPED not in subnet.layers) and (self.widths or subnet.as_wide_as(full))


TEACHER = Stage("teacher", widths=False, depths=False, prunes=True)
"""Fine-tuning of the full net, on labels."""
KERNEL = Stage("kernel", widths=False, depths=False)
"""Distillation of every size of depthwise filters at full width and depth: of nets of convolutions alone."""
WIDTH = Stage("width", widths=True, depths=False, prunes=True)
"""Distillation of every width at full depth, on the teacher's answers."""
DEPTH_ONLY = Stage("depth-only", widths=False, depths=True)
"""Distillation of every depth at full width, on the teacher's answers."""
DEPTH = Stage("depth", widths=True, depths=True, prunes=True)
"""Distillation of every width at every depth, on the teacher's answers."""
FINAL = Stage("final", widths=True, depths=True)
"""Fine-tuning of every width at every depth, on labels."""

STAGES = (TEACHER, KERNEL, WIDTH, DEPTH_ONLY, DEPTH, FINAL)

DISTILLED = (WIDTH, DEPTH_ONLY, DEPTH)
"""Stages in which subnets of any net learn from the teacher."""

PRUNING = tuple(stage.name for stage in STAGES if stage.prunes)
"""Names of the stages with which pruning may begin; in later ones zeros stay zeros."""


def comes_before(stage: str, other: str) -> bool:
    """Return whether a stage is earlier than another one, both by name."""
    names = [each.name for each in STAGES]
    return names.index(stage) < names.index(other)
