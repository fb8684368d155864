"""Elastic net of convolutions: a traced net that runs any of its subnets (Once-for-All, ICLR 2020, section 3).

The channels of a group are sorted by importance, so that a subnet is a prefix of every filter. A smaller depthwise
filter is the centre of the larger one times a small matrix that is learnt. The subnet is an argument of `forward`, as
for encoders. Its norms have statistics of their own: while it learns those of the batch, afterwards those that
`statistics.calibrate` took on training images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gearshift.errors import ModelError
from gearshift.runtime.space.convolutions import ConvolutionShape, ConvolutionSubnet
from gearshift.runtime.space.uniform import DEPTHS, WIDTHS, convolution_grid
from gearshift.trainer.data.images import ImageBatch
from gearshift.trainer.model.elastic import Head, Output
from gearshift.trainer.vision.generator_steps import INSTANCE_NORM, TRANSPOSED, instance_normed, transposed
from gearshift.trainer.vision.groups import Elastic, find_elastic, is_depthwise
from gearshift.trainer.vision.net import INPUT, Net, Step, of_kernel
from gearshift.trainer.vision.trace import trace

Moments = tuple[Tensor, Tensor]
"""Mean and variance of each channel."""

Statistics = Mapping[str, Moments]
"""Norm, by the name of its step -> moments of its kept channels."""


class ConvolutionalNet(nn.Module):
    """A net of convolutions with elastic channels, kernel sizes and depth."""

    def __init__(self, elastic: Elastic) -> None:
        super().__init__()
        self.elastic, self.net = elastic, elastic.net
        self.shape: ConvolutionShape = elastic.shape
        self.head = Head("image-to-image" if self.net.makes_images else "image-classification")
        made = {step.name: step.module() for step in self.net.steps}
        self.layers = nn.ModuleDict({name: module for name, module in made.items() if module is not None})
        self.transforms = nn.ParameterDict(
            {
                transform_name(step, size): nn.Parameter(torch.eye(size * size))
                for step in self.net.steps
                for size in elastic.smaller_kernels(step)
            }
        )
        """Matrix by which the centre of a depthwise filter becomes one of this size (Once-for-All, section 3.3)."""
        self.statistics: dict[ConvolutionSubnet, Statistics] = {}
        """Statistics of the norms of subnets, besides those of the full net, which its own norms have."""

    @classmethod
    def convert(cls, module: nn.Module, height: int, width: int) -> ConvolutionalNet:
        """Return the elastic form of a torch module for images of this size; its weights are copied.

        Raises ModelError for a module that cannot be traced, or has nothing to make elastic.
        """
        net, state = trace(module, height, width)
        made = cls(find_elastic(net, type(module).__name__))
        made.load_state_dict(
            {**{name: each for name, each in made.state_dict().items() if name.startswith("transforms.")}, **state}
        )
        return made

    @property
    def full(self) -> ConvolutionSubnet:
        """The full net."""
        return self.shape.full

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load weights; the statistics of subnets are forgotten, as they are those of other weights."""
        self.statistics.clear()
        return super().load_state_dict(state_dict, strict, assign)

    def grid(
        self, widths: tuple[float, ...] = WIDTHS, depths: tuple[float, ...] = DEPTHS, kernels: tuple[int, ...] = ()
    ) -> dict[str, ConvolutionSubnet]:
        """Return name -> subnet for every width x depth x kernel size, largest first; without `kernels`, of whole
        filters."""
        return convolution_grid(self.shape, widths, depths, kernels)

    def forward(
        self, batch: ImageBatch | Tensor, subnet: ConvolutionSubnet | None = None, *, watched: Sequence[str] = ()
    ) -> Output:
        """Return the logits, or images, of a subnet, by default of the full net; raise ModelError if its norms have no
        statistics.

        `watched`: names of steps whose values are returned as hidden states.
        """
        pixels = batch if isinstance(batch, Tensor) else batch.pixels
        run = _Run(self, subnet or self.full, None)
        answer = run.answer(pixels)
        return Output(answer, tuple(run.values[name] for name in watched))

    @torch.no_grad()
    def observe(self, pixels: Tensor, subnet: ConvolutionSubnet) -> dict[str, Moments]:
        """Return the moments of each norm's input in a batch, which is normalised by them on the way."""
        run = _Run(self, subnet, {})
        run.answer(pixels)
        assert run.seen is not None
        return run.seen

    def moments(self, subnet: ConvolutionSubnet) -> Statistics:
        """Return the statistics of a subnet's norms; raise ModelError if they were not taken."""
        if subnet in self.statistics:
            return self.statistics[subnet]
        norms: dict[str, Any] = {step.name: self.layers[step.name] for step in self.net.steps if step.kind == "norm"}
        if norms and subnet != self.full:
            raise ModelError(
                f"subnet {subnet.name}: its norms have no statistics; take them on training images with "
                "vision.statistics.calibrate"
            )
        return {name: (norm.running_mean, norm.running_var) for name, norm in norms.items()}

    def kept(self, subnet: ConvolutionSubnet, group: int, of: int) -> int:
        """Return the channels that a subnet keeps of a group; all, `of`, for the trunk (-1)."""
        return of if group < 0 else subnet.layers[group][0]

    def filters(self, step: Step, subnet: ConvolutionSubnet) -> tuple[Step, Tensor]:
        """Return a convolution as a subnet runs it, and its filters for all channels: each size is made of the centre
        of the next larger one."""
        filters: Tensor = self.layers[step.name].weight  # type: ignore[assignment]
        smaller = self.elastic.smaller_kernels(step)
        if not smaller:
            return step, filters
        kernel = subnet.layers[self.elastic.target(step)][1]
        for size in smaller:
            if size < kernel:
                break
            centre = filters[:, :, 1:-1, 1:-1].flatten(1)
            filters = F.linear(centre, self.transforms[transform_name(step, size)]).view(-1, 1, size, size)
        return (step if kernel == smaller[0] + 2 else of_kernel(step, kernel)), filters


@dataclasses.dataclass
class _Run:
    """One pass of a subnet."""

    model: ConvolutionalNet
    subnet: ConvolutionSubnet
    seen: dict[str, Moments] | None
    """Moments of the norms' inputs, if they are to be taken."""
    values: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    """Value of each step that ran."""

    def answer(self, pixels: Tensor) -> Tensor:
        """Return the logits (batch, labels), or images."""
        elastic = self.model.elastic
        skipped = self.model.shape.skipped(self.subnet.layers)
        ends = {elastic.blocks[number].sum: elastic.blocks[number].kept for number in skipped if number >= 0}
        # A third faster on CPUs than channels first.
        values = self.values
        values[INPUT] = pixels.contiguous(memory_format=torch.channels_last)
        for step in self.model.net.steps:
            if step.name in ends:
                values[step.name] = values[ends[step.name]]
            elif elastic.block_of.get(step.name, -1) not in skipped:
                values[step.name] = self._value(step, [values[name] for name in step.inputs])
        return values[self.model.net.steps[-1].name]

    def _value(self, step: Step, given: list[Tensor]) -> Tensor:
        if step.kind == "norm":
            return self._normed(step, given[0])
        if step.kind in ("convolution", "linear"):
            return self._product(step, given[0])
        if step.kind == TRANSPOSED:
            layer: Any = self.model.layers[step.name]
            outputs = self.model.kept(self.subnet, self.model.elastic.target(step), layer.out_channels)
            return transposed(layer, given[0], given[0].shape[1], outputs)
        if step.kind == INSTANCE_NORM:
            return instance_normed(self.model.layers[step.name], given[0])
        return step.applied(given, training=self.model.training)

    def _product(self, step: Step, value: Tensor) -> Tensor:
        """Return the value of a convolution or a linear layer, of the kept channels of its weights."""
        layer: Any = self.model.layers[step.name]
        elastic, depthwise = self.model.elastic, is_depthwise(step)
        outputs = self.model.kept(self.subnet, elastic.target(step), layer.weight.shape[0])
        step, filters = self.model.filters(step, self.subnet)
        weight = filters[:outputs]
        if not depthwise and elastic.source(step) >= 0:
            weight = weight[:, : self.subnet.layers[elastic.source(step)][0]]
        bias = None if layer.bias is None else layer.bias[:outputs]
        if step.kind == "linear":
            return F.linear(value, weight, bias)
        groups = outputs if depthwise else layer.groups
        return F.conv2d(value, weight, bias, layer.stride, step.sizes["padding"], layer.dilation, groups)

    def _normed(self, step: Step, value: Tensor) -> Tensor:
        norm: Any = self.model.layers[step.name]
        kept = value.shape[1]
        weight, bias = norm.weight[:kept], norm.bias[:kept]
        if self.seen is not None:
            spread, middle = torch.var_mean(value.float(), dim=(0, 2, 3))
            self.seen[step.name] = middle, spread
            return F.batch_norm(value, None, None, weight, bias, training=True, eps=norm.eps)
        if self.model.training:
            own = self.subnet == self.model.full
            mean: Tensor | None
            variance: Tensor | None
            mean, variance = (norm.running_mean, norm.running_var) if own else (None, None)
            return F.batch_norm(value, mean, variance, weight, bias, True, norm.momentum, norm.eps)
        mean, variance = self.model.moments(self.subnet)[step.name]
        return F.batch_norm(value, mean, variance, weight, bias, training=False, eps=norm.eps)


def transform_name(step: Step, size: int) -> str:
    """Return the name of the matrix that makes a step's filters of this size."""
    return f"{step.name}_{size}"


def net_of(raw: Mapping[str, Any]) -> ConvolutionalNet:
    """Make the net that a run directory describes, with random weights."""
    return ConvolutionalNet(find_elastic(Net.from_dict(raw)))
