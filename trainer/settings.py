"""How a supernet is trained: every number that a run can be told."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from gearshift.runtime.errors import InputError
from gearshift.runtime.space import DEPTHS, WIDTHS


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

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
        return asdict(self)
