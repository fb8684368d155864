"""Settings of the training of a net of convolutions: those of a supernet that mean something for images."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from gearshift.errors import InputError
from gearshift.runtime.images.preparation import Preparation
from gearshift.settings import same_as, setting, settings_of
from gearshift.trainer.dynabert.settings import Settings
from gearshift.trainer.dynabert.training_stages import KERNEL

TEXT_ONLY = (
    "max_length",
    "head_weights",
    "width_hidden_weight",
    "depth_hidden_weight",
    "same_width_teacher",
    "freeze_embeddings",
    "teacher_cache_gb",
    "distil_dropout",
    "mixed_widths",
    "start",
    "importance_rows",
    "matryoshka_dims",
    "augment",
    "masked_lm",
    "sparsity",
    "prune_stage",
    "prune_scope",
    "prune_embeddings",
    "prune_ramp",
)
"""Settings of a supernet that a net of convolutions does not take."""

CUT_FROM = 128
"""Pixels from which the centre of an image is cut out, which most nets for photographs have learnt with."""

EPOCHS = {
    "quick": {"teacher_epochs": 2.0, "width_epochs": 0.0, "depth_epochs": 2.0},
    "normal": {"teacher_epochs": 15.0, "width_epochs": 0.0, "depth_epochs": 15.0},
    "long": {"teacher_epochs": 60.0, "width_epochs": 0.0, "depth_epochs": 60.0},
}
"""Effort -> epochs of the stages where they are not set: a net of random weights begins further away than a pretrained
encoder."""


@dataclass(frozen=True, kw_only=True)
class ImagesOnly:
    """Settings that a supernet of texts does not have."""

    image_size: int = setting(
        32, "images: pixels of the height and width that the net reads; images are resized to it", unit="PIXELS"
    )
    kernels: tuple[int, ...] = setting(
        (7, 5, 3),
        "images: sizes of the depthwise filters of subnets; larger ones are cut to them, smaller ones stay as they are",
        unit="N,N",
    )
    kernel_epochs: float = setting(
        0,
        "images: epochs of a stage before those of widths and depths: every kernel size, at full width and depth "
        "(progressive shrinking of Once-for-All)",
        unit="EPOCHS",
    )
    statistics_images: int = setting(
        2048, "images: training images on which the statistics of each subnet's norms are taken", unit="IMAGES"
    )


@dataclass(frozen=True, kw_only=True)
class ImageSettings(ImagesOnly, Settings):
    """Settings of the stages; the defaults suit small images and random weights."""

    depths: tuple[float, ...] = same_as(Settings, "depths", (1.0, 0.5, 0.0))
    batch_size: int = same_as(Settings, "batch_size", 128)
    teacher_lr: float = same_as(Settings, "teacher_lr", 4e-3)
    head_lr_factor: float = same_as(Settings, "head_lr_factor", 1.0)
    width_lr: float = same_as(Settings, "width_lr", 2e-3)
    depth_lr: float = same_as(Settings, "depth_lr", 2e-3)
    weight_decay: float = same_as(Settings, "weight_decay", 0.05)
    width_hidden_weight: float = same_as(Settings, "width_hidden_weight", 0.0)
    depth_hidden_weight: float = same_as(Settings, "depth_hidden_weight", 0.0)
    distil_dropout: bool = same_as(Settings, "distil_dropout", True)  # norms learn by batches, as dropout does
    teacher_cache_gb: float = same_as(Settings, "teacher_cache_gb", 0.0)
    augment: int | None = same_as(Settings, "augment", 0)

    def __post_init__(self) -> None:
        defaults = {field.name: field.default for field in settings_of(ImageSettings)}
        strange = [name for name in TEXT_ONLY if getattr(self, name) != defaults[name]]
        if strange:
            raise InputError(f"settings: {strange[0]} is for texts; leave it out for images")
        if self.image_size < 8 or self.statistics_images < 1:
            raise InputError(
                f"settings: expected an image_size of 8 pixels or more and statistics_images of 1 or more, got "
                f"{self.image_size} and {self.statistics_images}"
            )
        if not self.kernels or any(size < 1 or size % 2 == 0 for size in self.kernels):
            raise InputError(f"settings: kernels: expected odd sizes of filters, got {list(self.kernels)}")
        super().__post_init__()

    def epochs(self, stage: str) -> float:
        """Return the epochs of a stage, by its name, as for texts, and of the stage of kernels."""
        return self.kernel_epochs if stage == KERNEL.name else super().epochs(stage)

    @property
    def dimensions(self) -> tuple[Any, ...]:
        """Multipliers of widths and of depths, and kernel sizes."""
        return *super().dimensions, tuple(sorted(set(self.kernels), reverse=True))

    @property
    def preparation(self) -> Preparation:
        """Preparation of images of this size: of large ones the centre, as ImageNet's are cut; small ones whole."""
        size = self.image_size
        return Preparation(size, size, round(size * 256 / 224) if size >= CUT_FROM else 0)

    @property
    def pair_preparation(self) -> Preparation:
        """Preparation of the images of a generator, whose colours are from -1 to 1, as its last tanh gives them."""
        return Preparation(self.image_size, self.image_size, mean=(0.5,) * 3, deviation=(0.5,) * 3)

    def with_epochs(self) -> ImageSettings:
        """Return the settings with epochs by their effort where they are not set."""
        unset: dict[str, Any] = {
            name: epochs for name, epochs in EPOCHS[self.effort].items() if getattr(self, name) is None
        }
        return dataclasses.replace(self, **unset)
