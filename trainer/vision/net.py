"""Net of convolutions as a list of steps, which a traced module becomes and a run directory keeps as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gearshift.errors import ModelError
from gearshift.trainer.vision.generator_steps import (
    GENERATOR_KINDS,
    INSTANCE_NORM,
    PADS,
    TRANSPOSED,
    generator_module,
    generator_shape,
    padded,
)

ACTIVATIONS: Mapping[str, Callable[..., Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "silu": F.silu,
    "sigmoid": F.sigmoid,
    "tanh": torch.tanh,
}
"""Kind of step -> function of one value, number by number."""

POOLS = ("max_pool", "average_pool")
JOINS = ("add", "multiply")
KINDS = (
    *("convolution", "norm", "linear", "global_pool", "flatten", "dropout"),
    *(*GENERATOR_KINDS, *POOLS, *JOINS, *ACTIVATIONS),
)

FILTERED = ("convolution", TRANSPOSED)
"""Kinds of steps that are convolutions."""

WEIGHTED = (*FILTERED, "norm", INSTANCE_NORM, "linear")
"""Kinds of steps with weights."""

INPUT = "pixels"
"""Name of the value that a net reads, (batch, channels, height, width)."""


@dataclass(frozen=True)
class Step:
    """One operation, and the value that it gives."""

    name: str
    """Name of the value, and of the weights of the operation."""
    kind: str
    inputs: tuple[str, ...]
    sizes: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the operation: of the torch module for one with weights, of the function for a pool."""
    place: str = ""
    """Place in the module that was traced, for messages."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ModelError(f"{self.place or self.name}: expected a step out of {', '.join(KINDS)}, got {self.kind}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON."""
        return {**vars(self), "inputs": list(self.inputs), "sizes": dict(self.sizes)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Step:
        """Read the step that `to_dict` wrote."""
        return cls(**{**raw, "inputs": tuple(raw["inputs"])})

    def module(self) -> nn.Module | None:
        """Make the torch module of a step with weights; None for one without."""
        if self.kind == "convolution":
            return nn.Conv2d(**self.sizes)
        if self.kind == "norm":
            return nn.BatchNorm2d(**self.sizes)
        if self.kind == "linear":
            return nn.Linear(**self.sizes)
        return generator_module(self.kind, self.sizes)

    def applied(self, values: Sequence[Tensor], *, training: bool) -> Tensor:
        """Return the value of a step without weights."""
        if self.kind in ACTIVATIONS:
            activated: Tensor = ACTIVATIONS[self.kind](values[0])
            return activated
        if self.kind in PADS:
            return padded(self.kind, values[0], self.sizes)
        match self.kind:
            case "add":
                return values[0] + values[1]
            case "multiply":
                return values[0] * values[1]
            case "flatten":
                return values[0].flatten(1)
            case "global_pool":
                return F.adaptive_avg_pool2d(values[0], (1, 1))
            case "dropout":
                return F.dropout(values[0], self.sizes["p"], training)
            case "max_pool":
                pooled: Tensor = F.max_pool2d(values[0], **self.sizes)
                return pooled
            case "average_pool":
                return F.avg_pool2d(values[0], **self.sizes)
        raise AssertionError(f"a step of kind {self.kind} has weights")


@dataclass(frozen=True)
class Net:
    """Steps in the order in which they run; the value of the last is the answer: (batch, labels), or images."""

    steps: tuple[Step, ...]
    channels: int = 3
    """Channels of the image."""
    height: int = 224
    width: int = 224

    @cached_property
    def by_name(self) -> Mapping[str, Step]:
        """Step by the name of its value."""
        return {step.name: step for step in self.steps}

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Step, ...]]:
        """Steps that read a value, by its name."""
        names = [INPUT, *self.by_name]
        return {name: tuple(step for step in self.steps if name in step.inputs) for name in names}

    @cached_property
    def places(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each value without the batch: (channels, height, width), or (numbers,)."""
        found: dict[str, tuple[int, ...]] = {INPUT: (self.channels, self.height, self.width)}
        for step in self.steps:
            found[step.name] = _shape(step, [found[name] for name in step.inputs])
        return found

    @property
    def makes_images(self) -> bool:
        """Whether the answer is an image of the size that the net reads, (batch, 3, height, width)."""
        return len(self.places[self.steps[-1].name]) == 3

    @property
    def labels(self) -> int:
        """Numbers of an answer; of an image its colours."""
        return self.places[self.steps[-1].name][0]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON."""
        image = {"channels": self.channels, "height": self.height, "width": self.width}
        return {"steps": [step.to_dict() for step in self.steps], **image}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Net:
        """Read the net that `to_dict` wrote."""
        steps = tuple(Step.from_dict(step) for step in raw["steps"])
        return cls(steps, int(raw["channels"]), int(raw["height"]), int(raw["width"]))


def of_kernel(step: Step, size: int) -> Step:
    """Return a convolution with square filters of another size, whose value has the same places."""
    return replace(step, sizes={**step.sizes, "kernel_size": [size, size], "padding": [size // 2, size // 2]})


def pair(value: Any) -> tuple[int, int]:
    """Return a size as torch takes it, one number or two, as (height, width)."""
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _shape(step: Step, given: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the shape of a step's value; raise ModelError if its inputs do not fit."""
    first, sizes = given[0], step.sizes
    if step.kind in GENERATOR_KINDS:
        made = generator_shape(step.kind, sizes, first)
        _require(made is not None, step, first)
        return made or ()
    match step.kind:
        case "convolution":
            _require(len(first) == 3 and first[0] == sizes["in_channels"], step, first)
            return (sizes["out_channels"], *_windows(step, first, pair(sizes["dilation"])))
        case "max_pool" | "average_pool":
            _require(len(first) == 3, step, first)
            return (first[0], *_windows(step, first, (1, 1)))
        case "norm":
            _require(len(first) == 3 and first[0] == sizes["num_features"], step, first)
        case "linear":
            _require(first == (sizes["in_features"],), step, first)
            return (sizes["out_features"],)
        case "global_pool":
            return (first[0], 1, 1)
        case "flatten":
            _require(first[1:] in ((), (1, 1)), step, first)
            return first[:1]
        case "add":
            _require(given[0] == given[1], step, given)
        case "multiply":
            _require(given[0][0] == given[1][0], step, given)
            return max(given)
    return first


def _windows(step: Step, shape: tuple[int, ...], dilation: tuple[int, int]) -> tuple[int, int]:
    kernel, stride, padding = (pair(step.sizes[name]) for name in ("kernel_size", "stride", "padding"))
    height, width = (
        (size + 2 * pad - gap * (taps - 1) - 1) // jump + 1
        for size, pad, gap, taps, jump in zip(shape[1:], padding, dilation, kernel, stride, strict=True)
    )
    _require(min(height, width) > 0, step, shape)
    return height, width


def _require(fits: bool, step: Step, found: object) -> None:
    if not fits:
        raise ModelError(f"{step.place or step.name}: {step.kind} does not fit its input of shape {found}")
