"""How a supernet is trained: every number that a run can be told."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from gearshift.runtime.errors import InputError
from gearshift.runtime.space import DEPTHS, WIDTHS
from gearshift.trainer.sparsity import Pruning

STAGES = ("teacher", "width", "depth")
"""Of a training, in order."""


@dataclass(frozen=True)
class Settings:
    """Settings of the three stages; the defaults fit a few thousand short rows on two CPU cores."""

    widths: tuple[float, ...] = WIDTHS
    depths: tuple[float, ...] = DEPTHS
    max_length: int = 64
    """Tokens of a text, the special ones included; longer texts are cut."""
    batch_size: int = 32
    teacher_epochs: float = 3
    """Fine-tuning of the full encoder on labels; 0 takes the classifier that the checkpoint brings."""
    width_epochs: float = 1
    depth_epochs: float = 2
    teacher_lr: float = 1e-4
    """Peak of the linear warm-up and decay. DynaBERT's 2e-5 suits BERT-base; the small MiniLM wants more."""
    head_lr_factor: float = 20
    """Learning rate of the task head / that of the encoder while the teacher is fine-tuned: the head is new."""
    width_lr: float = 1e-4
    depth_lr: float = 1e-4
    warmup: float = 0.1
    """Share of the steps of a stage in which the learning rate rises."""
    weight_decay: float = 0.01
    clip: float = 1.0
    """Largest norm of the gradient that is summed over the subnets of a step."""
    width_hidden_weight: float = 0.1
    """Weight of the hidden-state loss beside the logit loss (DynaBERT, stage 1)."""
    depth_hidden_weight: float = 1.0
    """The same in stage 2."""
    freeze_embeddings: bool = False
    """Leave the embeddings as they were pretrained. Half of a small model's weights are word embeddings: without
    them a step of MiniLM takes .58 in place of .63 s of CPU, and a step of three subnets .92 in place of 1.16 s
    (32 rows of 14 tokens, x86-64)."""
    random_subnets: int = 1
    """Sandwich rule: each step trains the largest, the smallest and this many random subnets."""
    importance_rows: int = 1024
    """Training rows on which heads and neurons are ranked."""
    sparsity: float = 0
    """Share of the weights that become zeros, for a smaller download: 0.3 to 0.4 costs little (Gordon et al.)."""
    prune_stage: str = "width"
    """The stage in which they do: one of STAGES. In later ones they stay zeros."""
    prune_scope: str = "matrix"
    """`Pruning.scope`"""
    prune_embeddings: bool = False
    """`Pruning.embeddings`"""
    prune_ramp: float = 0.5
    """`Pruning.ramp`"""
    save_every_s: float = 60
    """Seconds between two states on disk: what an interruption loses at most."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.widths and self.depths):
            raise InputError("settings: widths and depths must each name one multiplier at least")
        for name in ("max_length", "batch_size", "importance_rows", "random_subnets", "seed"):
            low = 0 if name in ("random_subnets", "seed") else 1
            if getattr(self, name) < low:
                raise InputError(f"settings: {name} must be at least {low}, got {getattr(self, name)}")
        for name in (
            "teacher_epochs",
            "width_epochs",
            "depth_epochs",
            "teacher_lr",
            "width_lr",
            "depth_lr",
            "head_lr_factor",
            "warmup",
            "weight_decay",
            "clip",
            "width_hidden_weight",
            "depth_hidden_weight",
            "save_every_s",
        ):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"settings: {name} must be 0 or more, got {value}")

        if self.prune_stage not in STAGES:
            raise InputError(f"settings: prune_stage: expected one of {', '.join(STAGES)}, got {self.prune_stage!r}")
        if self.pruning is not None and getattr(self, f"{self.prune_stage}_epochs") == 0:
            raise InputError(f"settings: expected {self.prune_stage}_epochs above 0, as its stage is to prune, got 0")

    @property
    def pruning(self) -> Pruning | None:
        """What is pruned, if anything; raises InputError for what cannot be."""
        pruning = Pruning(self.sparsity, self.prune_scope, self.prune_embeddings, self.prune_ramp)
        return pruning if pruning.sparsity else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
        return asdict(self)
