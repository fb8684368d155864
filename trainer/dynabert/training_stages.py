"""Stages of a training in their order: the subnets that learn, and whether weights may become zeros meanwhile.

The order is DynaBERT's progressive shrinking, with a `depth-only` stage from Once-for-All that DynaBERT lacks.
"""

from __future__ import annotations

from dataclasses import dataclass

from gearshift.runtime.space.subnet import Subnet

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

    def multipliers(self, widths: Floats, depths: Floats) -> tuple[Floats, Floats]:
        """Return the width and depth multipliers of a uniform grid that learn in this stage."""
        return widths if self.widths else (1.0,), depths if self.depths else (1.0,)

    def trains(self, subnet: Subnet, full: Subnet) -> bool:
        """Return whether a subnet of the full net learns in this stage."""
        skipped = (0, 0)
        pairs = zip(subnet.layers, full.layers, strict=True)
        return (self.depths or skipped not in subnet.layers) and (
            self.widths or all(layer in (whole, skipped) for layer, whole in pairs)
        )


TEACHER = Stage("teacher", widths=False, depths=False, prunes=True)
"""Fine-tuning of the full net, on labels."""
WIDTH = Stage("width", widths=True, depths=False, prunes=True)
"""Distillation of every width at full depth, on the teacher's answers."""
DEPTH_ONLY = Stage("depth-only", widths=False, depths=True)
"""Distillation of every depth at full width, on the teacher's answers."""
DEPTH = Stage("depth", widths=True, depths=True, prunes=True)
"""Distillation of every width at every depth, on the teacher's answers."""
FINAL = Stage("final", widths=True, depths=True)
"""Fine-tuning of every width at every depth, on labels."""

STAGES = (TEACHER, WIDTH, DEPTH_ONLY, DEPTH, FINAL)

DISTILLED = (WIDTH, DEPTH_ONLY, DEPTH)
"""Stages in which subnets learn from the teacher."""

PRUNING = tuple(stage.name for stage in STAGES if stage.prunes)
"""Names of the stages with which pruning may begin; in later ones zeros stay zeros."""


def comes_before(stage: str, other: str) -> bool:
    """Return whether a stage is earlier than another one, both by name."""
    names = [each.name for each in STAGES]
    return names.index(stage) < names.index(other)
