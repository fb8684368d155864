"""Settings that several trainings share: batches, AdamW, saved states, and pruning."""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass
from typing import Any

from gearshift.errors import InputError
from gearshift.settings import setting, settings_of

SCOPES = ("matrix", "global")

ABOVE_ZERO = ("batch_size", "max_length", "width", "hidden")
"""Names of settings that are whole numbers, and make no sense as 0."""


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Settings of any training."""

    batch_size: int = setting(32, "rows of a training step", unit="ROWS")
    save_every_s: float = setting(60, "time between two saved states, the most that an interruption loses", unit="S")
    seed: int = setting(0, "seed of all random numbers")

    def __post_init__(self) -> None:
        """Raise InputError for a number that is below 0, or 0 where that makes no sense, or none at all."""
        for field in settings_of(type(self)):
            value, least = getattr(self, field.name), int(field.name in ABOVE_ZERO)
            if field.type in ("int", "int | None") and value is not None and value < least:
                raise InputError(f"settings: {field.name} must be at least {least}, got {value}")
            own = field.name == "sparsity" or field.name.startswith("prune_")  # checked by Pruning
            is_number = field.type in ("float", "float | None") and value is not None
            if is_number and not own and not (math.isfinite(value) and value >= 0):
                raise InputError(f"settings: {field.name} must be 0 or more, got {value}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON."""
        return {field.name: getattr(self, field.name) for field in settings_of(type(self))}


@dataclass(frozen=True, kw_only=True)
class LoopSettings(TrainingSettings):
    """Settings of a training by `loop.run_stage`."""

    warmup: float = setting(
        0.1, "share of the steps of a stage in which the learning rate rises; then it falls to 0", unit="SHARE"
    )
    weight_decay: float = setting(0.01, "weight decay of AdamW, which biases and norms do not have")
    clip: float = setting(1.0, "largest norm of a step's gradient")


@dataclass(frozen=True)
class Pruning:
    """Share of the weights that become zeros, and the schedule."""

    sparsity: float = setting(MISSING, "share of the weights that become zeros; .3 to .4 costs little", unit="SHARE")
    # Gordon et al. (2020) prune the same share of every matrix.
    scope: str = setting(
        "matrix", "matrix: that share of every matrix; global: the smallest weights of all together", choices=SCOPES
    )
    embeddings: bool = setting(False, "prune the word table too")
    ramp: float = setting(
        0.5, "share of the steps in which zeros become more; 0: all at once, after the first step", unit="SHARE"
    )

    def __post_init__(self) -> None:
        if not 0 <= self.sparsity < 1:
            raise InputError(f"sparsity: expected a share from 0 to below 1, such as 0.4, got {self.sparsity:g}")
        if self.scope not in SCOPES:
            raise InputError(f"pruning scope: expected {' or '.join(SCOPES)}, got {self.scope!r}")
        if not 0 <= self.ramp <= 1:
            raise InputError(f"pruning ramp: expected a share of the steps from 0 to 1, got {self.ramp:g}")

    def sparsity_after(self, progress: float) -> float:
        """Return the share of zeros after a part of the ramp: s (1 - (1 - progress)^3) (Zhu and Gupta, eq. 1)."""
        return self.sparsity * (1 - (1 - min(1.0, progress)) ** 3)
