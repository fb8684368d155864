"""How a supernet is trained: every number that a run can be told."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from gearshift.errors import InputError
from gearshift.runtime.space.uniform import DEPTHS, WIDTHS
from gearshift.trainer.learning.sampling import check_sampling
from gearshift.trainer.learning.sparsity import Pruning

STAGES = ("teacher", "width", "depth")
"""In which weights may be pruned."""


_LEAST = {"max_length": 1, "batch_size": 1, "importance_rows": 1}
"""Whole numbers that 0 makes no sense for."""


@dataclass(frozen=True)
class Settings:
    """Settings of the stages; the defaults fit a few thousand short rows on two CPU cores."""

    widths: tuple[float, ...] = WIDTHS
    depths: tuple[float, ...] = DEPTHS
    max_length: int = 64
    """Tokens of a text, the special ones included; longer texts are cut."""
    batch_size: int = 32
    """Rows of a step, of each process."""
    micro_batch: int = 0
    """Rows that are computed at once, where memory has no room for all of a step; 0: all."""
    teacher_epochs: float = 3
    """Fine-tuning of the full encoder on labels; 0 takes the classifier that the checkpoint brings."""
    width_epochs: float = 1
    """Every width, at full depth (DynaBERT's first stage)."""
    depth_only_epochs: float = 0
    """Every depth, at full width: the stage between in Once-for-All's progressive shrinking; DynaBERT has none."""
    depth_epochs: float = 2
    """Every width x depth (DynaBERT's second stage)."""
    final_epochs: float = 0
    """The same subnets on labels, without augmented rows (DynaBERT's third stage, which is optional)."""
    teacher_lr: float = 1e-4
    """Peak of the linear warm-up and decay. DynaBERT's 2e-5 suits BERT-base; the small MiniLM wants more."""
    head_lr_factor: float = 20
    """Learning rate of the task head / that of the encoder while the teacher is fine-tuned: the head is new."""
    width_lr: float = 1e-4
    depth_lr: float = 1e-4
    """Of both stages with depths."""
    final_lr: float = 2e-5
    warmup: float = 0.1
    """Share of the steps of a stage in which the learning rate rises."""
    weight_decay: float = 0.01
    clip: float = 1.0
    """Largest norm of the gradient that is summed over the subnets of a step."""
    logit_weight: float = 1.0
    """Weight of the loss on the teacher's answers (DynaBERT, both stages)."""
    width_hidden_weight: float = 0.1
    """Weight of the hidden-state loss beside it (DynaBERT, stage 1)."""
    depth_hidden_weight: float = 1.0
    """The same in stage 2."""
    same_width_teacher: bool = False
    """Whether a subnet learns from the full-depth net of its own width (the paper's text) or from the full net (its
    code). The first takes a forward pass of the teacher for each width of a step, the second one in all."""
    in_place: bool = False
    """Whether subnets learn from the full net as it is at that step, and it alone from the teacher (in-place
    distillation of universally slimmable networks); one pass more a step."""
    distil_dropout: bool = True
    """Whether subnets have dropout while they are distilled, as in DynaBERT. Without it they follow their teacher more
    closely, and a step takes a fifth less time."""
    freeze_embeddings: bool = False
    """Leave the embeddings as they were pretrained. Half of a small model's weights are word embeddings: without
    them a step of MiniLM takes .58 in place of .63 s of CPU, and a step of three subnets .92 in place of 1.16 s
    (32 rows of 14 tokens, x86-64)."""
    sampling: str = "sandwich"
    """Which subnets a step trains, as in `sampling.Sampler`: `sandwich`, `all` or `random`."""
    random_subnets: int = 1
    """How many of them are random, of `sandwich` and `random`."""
    mixed_widths: bool = False
    """Whether every layer of a random subnet has a width of its own, which `gearshift search` profits from."""
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
    augment: int = 0
    """Copies of each training row, with words replaced, that distillation has beside the row itself (DynaBERT: 10 to
    30). Epochs of the stages that distil are over all of them."""
    masked_lm: str = ""
    """Directory or hub name of the masked language model that proposes the words; "": neighbours in the encoder's own
    word table."""
    evaluate_every: float = 0
    """Epochs between two evaluations on the dev rows, after which a stage ends with its best weights; 0: never, and
    a stage ends with its last."""
    patience: int = 0
    """Evaluations without gain after which a stage ends early; 0: never."""
    mixed_precision: str = ""
    """`no`, `bf16`, `fp16`, `auto` (bf16 where the device computes in it); "": what `accelerate launch` was told."""
    tensorboard: bool = False
    """Whether losses and scores are written for TensorBoard, into `RUN.tensorboard`."""
    save_every_s: float = 60
    """Seconds between two states on disk: what an interruption loses at most."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.widths and self.depths):
            raise InputError("settings: widths and depths must each name one multiplier at least")
        for field in fields(self):
            value, least = getattr(self, field.name), _LEAST.get(field.name, 0)
            if field.type == "int" and value < least:
                raise InputError(f"settings: {field.name} must be at least {least}, got {value}")
            own = field.name == "sparsity" or field.name.startswith("prune_")  # Pruning says what they must be
            if field.type == "float" and not own and not (math.isfinite(value) and value >= 0):
                raise InputError(f"settings: {field.name} must be 0 or more, got {value}")
        check_sampling(self.sampling, self.random_subnets)
        if self.warmup > 1:
            raise InputError(f"settings: warmup: expected a share of a stage's steps from 0 to 1, got {self.warmup:g}")
        if self.patience and not self.evaluate_every:
            raise InputError("settings: patience counts evaluations, and there are none; set evaluate_every above 0")
        if self.masked_lm and not self.augment:
            raise InputError("settings: masked_lm proposes words of changed copies; set augment to 1 copy or more")
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
