"""Settings of the training of a supernet, and of pruning it afterwards."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from gearshift.errors import InputError
from gearshift.runtime.space.uniform import DEPTHS, WIDTHS
from gearshift.settings import same_as, setting
from gearshift.trainer.dynabert.training_stages import KERNEL, PRUNING
from gearshift.trainer.learning.sampling import SCHEMES, check_sampling
from gearshift.trainer.learning.settings import LoopSettings, Pruning, TrainingSettings

EFFORTS = ("quick", "normal", "long")
"""Names of the efforts, from least to most."""

TUNED, BROUGHT = STARTS = ("tuned", "brought")
"""Names of the weights from which distillation starts."""

IMPORTANCE_ROWS = 1024
"""Training rows on which heads and neurons are ranked, unless set or left in their order."""


@dataclass(frozen=True, kw_only=True)
class Settings(LoopSettings):
    """Settings of the stages; the defaults suit a few thousand short rows on two CPU cores."""

    effort: str = setting(
        "normal",
        "rows that the stages see, where their epochs are not set: quick (minutes, for a first look), normal (an hour "
        "or less on two cores, for short texts and a model of six layers), long (several times that)",
        unit="NAME",
        choices=EFFORTS,
    )
    widths: tuple[float, ...] = setting(WIDTHS, "width multipliers: shares of the heads and neurons", unit="M,M")
    depths: tuple[float, ...] = setting(DEPTHS, "depth multipliers: shares of the layers", unit="M,M")
    max_length: int = setting(64, "tokens of a text, special ones included; longer texts are cut", unit="TOKENS")
    batch_size: int = same_as(LoopSettings, "batch_size", text="rows of a training step, of each process")
    micro_batch: int = setting(0, "rows computed at once, if memory is short; 0: all of a step", unit="ROWS")
    teacher_epochs: float | None = setting(
        None,
        "epochs of the teacher stage: the full encoder learns the task; 0 keeps the classifier of the checkpoint; "
        "embedding has no such stage",
        unit="EPOCHS",
        unset="by --effort",
    )
    width_epochs: float | None = setting(
        None,
        "epochs of the width stage: every width, at full depth, learns from the teacher (DynaBERT, stage 1)",
        unit="EPOCHS",
        unset="none",
    )
    depth_only_epochs: float = setting(
        0,
        "epochs of a stage in between: every depth, at full width (progressive shrinking of Once-for-All)",
        unit="EPOCHS",
    )
    depth_epochs: float | None = setting(
        None,
        "epochs of the depth stage: every width x depth learns from the teacher (DynaBERT, stage 2)",
        unit="EPOCHS",
        unset="by --effort",
    )
    final_epochs: float = setting(
        0,
        "epochs of a last stage: every width x depth learns from the labels, without augmented rows (DynaBERT, stage "
        "3)",
        unit="EPOCHS",
    )
    # DynaBERT's 2e-5 suits BERT-base; the small MiniLM needs more, and its small subnets most of all.
    teacher_lr: float = setting(1e-4, "peak learning rate of the teacher stage")
    head_lr_factor: float = setting(
        20, "learning rate of the (new) task head as a multiple of the encoder's, in the teacher stage"
    )
    width_lr: float = setting(3e-4, "peak learning rate of the width stage")
    depth_lr: float = setting(3e-4, "peak learning rate of both stages with depths")
    final_lr: float = setting(2e-5, "peak learning rate of the last stage")
    logit_weight: float = setting(1.0, "weight of the loss on the teacher's answers")
    label_weight: float = setting(
        0.0, "weight of the loss on labels beside that on the teacher's answers, in the stages that distil"
    )
    head_weights: tuple[float, ...] = setting(
        (), "weights of the losses of several heads, in their order", unit="W,W", unset="1 each"
    )
    width_hidden_weight: float = setting(0.1, "weight of the loss on hidden states, in the width stage")
    depth_hidden_weight: float = setting(1.0, "weight of the loss on hidden states, in the depth stage")
    in_place: bool = setting(
        False,
        "in-place distillation: subnets learn from the full net at that step, and only the full net from the teacher; "
        "one more pass a step",
    )
    # The full net takes one pass of the teacher for all widths of a step.
    same_width_teacher: bool = setting(
        False,
        "subnets learn from the full-depth net of their own width (text of the DynaBERT paper), rather than from the "
        "full net (its code)",
    )
    distil_dropout: bool = setting(
        False,
        "dropout in the subnets during distillation, as in DynaBERT; without it they follow the teacher more closely, "
        "and a step takes a fifth less time",
    )
    # Half of a small model's weights are word embeddings: without them a step of MiniLM takes .58 in place of .63 s of
    # CPU, and a step of three subnets .92 in place of 1.16 s (32 rows of 14 tokens, x86-64).
    freeze_embeddings: bool = setting(False, "leave the embeddings as they were pretrained, which takes less time")
    teacher_cache_gb: float = setting(
        8,
        "most disk space, beside the run, for the teacher's answers and states of all rows, kept through a stage that "
        "sees rows more than once (one process, on a CPU); 0: a pass of the teacher at every step",
        unit="GB",
    )
    sampling: str = setting(
        "sandwich",
        "subnets of a step: sandwich (largest, smallest, random ones), all, random, or anchored (random ones, and "
        "every fourth step the largest in place of one of them)",
        choices=SCHEMES,
    )
    random_subnets: int = setting(1, "random subnets of a step, for all schemes but `all`", unit="SUBNETS")
    mixed_widths: bool = setting(
        False, "give every layer of a random subnet a width of its own, which helps `gearshift search`"
    )
    start: str | None = setting(
        None,
        "encoder that distillation starts from: tuned by the teacher stage, or as it was brought, while the tuned one "
        "only teaches; with the head of the teacher stage either way",
        unit="NAME",
        choices=STARTS,
        unset=f"{TUNED}; {BROUGHT} for a model that is a supernet already",
    )
    importance_rows: int | None = setting(
        None,
        "training rows on which heads and neurons are ranked; 0 leaves them in their order",
        unit="ROWS",
        unset=f"{IMPORTANCE_ROWS}; 0 for a model that is a supernet already, whose small subnets need their order",
    )
    matryoshka_dims: tuple[int, ...] = setting(
        (),
        "embedding: counts of numbers that vectors may be cut to; the full net first learns, in the teacher stage, to "
        "keep the similarities of the model that was brought at each of them (Matryoshka)",
        unit="N,N",
        unset="none",
    )
    augment: int | None = setting(
        None,
        "changed copies of each training row, added for distillation; its epochs are over all of them "
        "(DynaBERT: 10 to 30)",
        unit="COPIES",
        unset="by --effort, more for fewer rows; 0 if epochs of a stage are set, for questions and for embeddings",
    )
    masked_lm: str = setting(
        "",
        "masked language model, a directory or hub name, that proposes the words of these copies",
        unit="NAME",
        unset="neighbours in the encoder's word table",
    )
    evaluate_every: float = setting(
        0,
        "epochs between two evaluations on the dev rows, after which a stage ends with its best weights; 0: never",
        unit="EPOCHS",
    )
    patience: int = setting(0, "evaluations without gain after which a stage ends early; 0: never", unit="TIMES")
    mixed_precision: str = setting(
        "",
        "no, bf16, fp16, or auto: bf16 if the device computes in it, which takes a half to a third of the time",
        unit="NAME",
        unset="as set by `accelerate launch`, else auto",
    )
    tensorboard: bool = setting(False, "write losses and scores for TensorBoard into RUN.tensorboard")
    sparsity: float = same_as(
        Pruning, "sparsity", 0, "share of the weights that become zeros, for `export --compress`; .3 to .4 costs little"
    )
    prune_stage: str = setting(
        "depth", "stage in which weights become zeros; they stay zeros in later ones", unit="NAME", choices=PRUNING
    )
    prune_scope: str = same_as(Pruning, "scope")
    prune_embeddings: bool = same_as(Pruning, "embeddings")
    prune_ramp: float = same_as(Pruning, "ramp")

    def __post_init__(self) -> None:
        if not (self.widths and self.depths):
            raise InputError("settings: widths and depths must each name one multiplier at least")
        super().__post_init__()
        check_sampling(self.sampling, self.random_subnets)
        dims = list(self.matryoshka_dims)
        if dims != sorted(set(dims)) or any(each < 1 for each in dims):
            raise InputError(f"settings: matryoshka_dims: expected rising numbers from 1 on, got {dims}")
        if not all(math.isfinite(weight) and weight > 0 for weight in self.head_weights):
            raise InputError(f"settings: head_weights: expected numbers above 0, got {list(self.head_weights)}")
        if self.warmup > 1:
            raise InputError(f"settings: warmup: expected a share of a stage's steps from 0 to 1, got {self.warmup:g}")
        if self.patience and not self.evaluate_every:
            raise InputError("settings: patience counts evaluations, and there are none; set evaluate_every above 0")
        if self.effort not in EFFORTS:
            raise InputError(f"settings: effort: expected one of {', '.join(EFFORTS)}, got {self.effort!r}")
        if self.prune_stage not in PRUNING:
            raise InputError(f"settings: prune_stage: expected one of {', '.join(PRUNING)}, got {self.prune_stage!r}")
        if self.pruning is not None and getattr(self, f"{self.prune_stage}_epochs") == 0:
            raise InputError(f"settings: expected {self.prune_stage}_epochs above 0, as its stage is to prune, got 0")

    def epochs(self, stage: str) -> float:
        """Return the epochs of a stage, by its name; those that were not set must have been chosen (`with_effort`).

        The stage of kernels has none but in settings for images.
        """
        epochs = 0 if stage == KERNEL.name else getattr(self, f"{stage.replace('-', '_')}_epochs")
        assert epochs is not None
        return float(epochs)

    @property
    def dimensions(self) -> tuple[Any, ...]:
        """Multipliers of widths and of depths, as `grid` of a model takes them."""
        return self.widths, self.depths

    @property
    def pruning(self) -> Pruning | None:
        """Pruning that the settings ask for, if any; raises InputError if it is impossible."""
        pruning = Pruning(self.sparsity, self.prune_scope, self.prune_embeddings, self.prune_ramp)
        return pruning if pruning.sparsity else None


@dataclass(frozen=True, kw_only=True)
class Recovery(TrainingSettings):
    """Settings of the training in which a finished supernet is pruned."""

    epochs: float = setting(
        1, "epochs in which weights become zeros and every subnet learns from the unpruned full net", unit="EPOCHS"
    )
    lr: float = setting(1e-4, "peak learning rate")
    random_subnets: int = same_as(
        Settings, "random_subnets", text="random subnets of a step, besides the largest and the smallest"
    )
    hidden_weight: float = setting(1.0, "weight of the loss on hidden states beside that on answers")
    mixed_precision: str = same_as(Settings, "mixed_precision")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.epochs > 0:
            raise InputError(f"prune: expected epochs above 0, in which weights become zeros, got {self.epochs:g}")

    def settings(self, max_length: int) -> Settings:
        """Return the settings of the single stage; raise InputError for values that it does not accept."""
        return Settings(
            max_length=max_length,
            batch_size=self.batch_size,
            depth_epochs=self.epochs,
            depth_lr=self.lr,
            depth_hidden_weight=self.hidden_weight,
            random_subnets=self.random_subnets,
            mixed_precision=self.mixed_precision,
            save_every_s=self.save_every_s,
            seed=self.seed,
        )
