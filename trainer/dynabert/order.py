"""The stages of a training in their order: which subnets learn, and whether weights may become zeros meanwhile.

Progressive shrinking as in DynaBERT, which has no `depth-only` stage (Once-for-All has one).
"""

from __future__ import annotations

from dataclasses import dataclass

from gearshift.runtime.space.elastic import Subnet

Floats = tuple[float, ...]


@dataclass(frozen=True)
class Stage:
    """One stage, and the subnets that learn in it."""

    name: str
    widths: bool
    """Whether subnets of every width learn; if not, those of full width."""
    depths: bool
    """Whether subnets of every depth learn; if not, those of full depth."""
    prunes: bool = False
    """Whether pruning may begin with it (`Settings.prune_stage`)."""

    def multipliers(self, widths: Floats, depths: Floats) -> tuple[Floats, Floats]:
        """Widths and depths of a uniform grid that learn in it."""
        return widths if self.widths else (1.0,), depths if self.depths else (1.0,)

    def trains(self, subnet: Subnet, full: Subnet) -> bool:
        """Whether a subnet of the full net learns in it."""
        whole, skipped = full.layers[0], (0, 0)
        return (self.depths or skipped not in subnet.layers) and (
            self.widths or all(layer in (whole, skipped) for layer in subnet.layers)
        )


TEACHER = Stage("teacher", widths=False, depths=False, prunes=True)
"""The full net, on labels."""
WIDTH = Stage("width", widths=True, depths=False, prunes=True)
"""Every width at full depth, on the teacher's answers."""
DEPTH_ONLY = Stage("depth-only", widths=False, depths=True)
"""Every depth at full width, on the teacher's answers."""
DEPTH = Stage("depth", widths=True, depths=True, prunes=True)
"""Every width at every depth, on the teacher's answers."""
FINAL = Stage("final", widths=True, depths=True)
"""Every width at every depth, on labels."""

STAGES = (TEACHER, WIDTH, DEPTH_ONLY, DEPTH, FINAL)

DISTILLED = (WIDTH, DEPTH_ONLY, DEPTH)
"""Stages in which subnets learn from the teacher."""

PRUNING = tuple(stage.name for stage in STAGES if stage.prunes)
"""Names of the stages with which pruning may begin; in later ones zeros stay zeros."""


def comes_before(stage: str, other: str) -> bool:
    """Whether a stage is earlier than another one, both by name."""
    names = [each.name for each in STAGES]
    return names.index(stage) < names.index(other)
