"""Find what of a net can be elastic: the inner groups of its channels, and the blocks that can be skipped.

1. Values that an operation joins channel by channel have the same channels: both sides of a norm, an activation, a
   pool, a depthwise convolution, a sum or a product. A dense convolution separates its input from its output.
2. A set of channels is an inner group if dense convolutions make them and dense convolutions or the linear layer behind
   the pooling take them, and no residual connection adds to them: those are the trunk.
3. The depthwise filters of a group can be smaller (7, 5, 3) if their padding keeps the places.
4. A block lies between a value and the sum of that value with what the block makes of it. It can be skipped: the sum is
   then the value itself. Blocks one behind another form a stage, of which the first ones are kept (Once-for-All).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gearshift.errors import ModelError
from gearshift.runtime.space.convolutions import Convolution, ConvolutionShape, Group
from gearshift.trainer.vision.generator_steps import TRANSPOSED
from gearshift.trainer.vision.net import FILTERED, INPUT, Net, Step, pair

SMALLEST_KERNEL = 3
"""Size of the smallest depthwise filters that are cut out of larger ones, as in Once-for-All."""


@dataclass(frozen=True)
class Block:
    """Steps that are skipped together."""

    sum: str
    """Value that is then `kept` itself."""
    kept: str
    steps: frozenset[str]
    stage: int


@dataclass(frozen=True)
class Elastic:
    """Elastic parts of a net."""

    net: Net
    group_of: Mapping[str, int]
    """Inner group of the channels of a value, by its name; values of the trunk are missing."""
    blocks: tuple[Block, ...]
    fixed: Mapping[str, str]
    """Convolution whose outputs stay as they are -> reason."""

    @cached_property
    def shape(self) -> ConvolutionShape:
        """Shape for the spaces of its subnets."""
        groups = {self.group_of[step.name]: step for step in reversed(self.net.steps) if step.name in self.group_of}
        made = tuple(self._group(number, groups[number]) for number in sorted(groups))
        return ConvolutionShape(made, tuple(self._convolutions()))

    @cached_property
    def block_of(self) -> Mapping[str, int]:
        """Block that a step is in, by its name."""
        return {name: number for number, block in enumerate(self.blocks) for name in block.steps}

    def source(self, step: Step) -> int:
        """Return the group of a step's input channels; -1 for the trunk."""
        return self.group_of.get(step.inputs[0], -1)

    def target(self, step: Step) -> int:
        """Return the group of a step's output channels; -1 for the trunk."""
        return self.group_of.get(step.name, -1)

    def _group(self, number: int, first: Step) -> Group:
        inside = [step for step in self.net.steps if self.target(step) == number and is_depthwise(step)]
        kernel = max((max(pair(step.sizes["kernel_size"])) for step in inside), default=1)
        block = self.block_of.get(first.name, -1)
        stage = self.blocks[block].stage if block >= 0 else -1
        smallest = SMALLEST_KERNEL if inside and all(_can_shrink(step, kernel) for step in inside) else 0
        return Group(self.net.places[first.name][0], kernel, block, stage, smallest)

    def smaller_kernels(self, step: Step) -> tuple[int, ...]:
        """Return the sizes to which a step's filters can be cut, largest first; none for a dense convolution."""
        group = self.target(step)
        return self.shape.groups[group].kernels[1:] if group >= 0 and is_depthwise(step) else ()

    def _convolutions(self) -> Iterator[Convolution]:
        pixels = self.net.height * self.net.width
        for step in self.net.steps:
            ends: dict[str, Any] = {
                "source": self.source(step),
                "target": self.target(step),
                "block": self.block_of.get(step.name, -1),
            }
            if step.kind == "linear":
                sizes = step.sizes["in_features"], step.sizes["out_features"]
                yield Convolution(*sizes, pixels=pixels, **ends)
            if step.kind == TRANSPOSED:  # filters go over the places that are read
                _, height, width = self.net.places[step.inputs[0]]
                sizes = step.sizes["in_channels"], step.sizes["out_channels"]
                taps = pair(step.sizes["kernel_size"])
                yield Convolution(*sizes, taps[0] * taps[1], max(1, round(pixels / (height * width))), **ends)
            if step.kind == "convolution":
                _, height, width = self.net.places[step.name]
                taps = pair(step.sizes["kernel_size"])
                depthwise, groups = is_depthwise(step), step.sizes["groups"]
                yield Convolution(
                    step.sizes["in_channels"] // (1 if depthwise else groups),
                    step.sizes["out_channels"],
                    taps[0] * taps[1],
                    max(1, round(pixels / (height * width))),
                    depthwise,
                    **ends,
                )


def _can_shrink(step: Step, kernel: int) -> bool:
    """Return whether smaller filters give a value with the same places: square ones, padded by half of their size."""
    sizes = {name: pair(step.sizes[name]) for name in ("kernel_size", "padding", "dilation")}
    wanted = {"kernel_size": (kernel,) * 2, "padding": (kernel // 2,) * 2, "dilation": (1, 1)}
    return kernel > SMALLEST_KERNEL and kernel % 2 == 1 and sizes == wanted


def is_depthwise(step: Step) -> bool:
    """Return whether a step filters every channel by itself."""
    sizes = step.sizes
    return step.kind == "convolution" and sizes["groups"] == sizes["in_channels"] == sizes["out_channels"] > 1


def is_dense(step: Step) -> bool:
    """Return whether every output of a step takes all inputs."""
    return step.kind in ("linear", TRANSPOSED) or (step.kind == "convolution" and step.sizes["groups"] == 1)


def find_elastic(net: Net, name: str = "model") -> Elastic:
    """Find the elastic parts of a net; raise ModelError if there are none, with the reasons."""
    owner = channel_sets(net)
    reasons = {value: _reason(net, owner, value) for value in set(owner.values())}
    order = dict.fromkeys(owner[step.name] for step in net.steps if not reasons[owner[step.name]])
    numbers = {value: number for number, value in enumerate(order)}
    group_of = {value: numbers[of] for value, of in owner.items() if of in numbers}
    fixed = {
        step.place: reasons[owner[step.name]]
        for step in net.steps
        if step.kind in FILTERED and reasons[owner[step.name]]
    }
    if not group_of:
        told = "; ".join(f"{place}: {reason}" for place, reason in list(fixed.items())[:3])
        raise ModelError(f"{name}: expected channels inside of blocks to make elastic, found none ({told})")
    return Elastic(net, group_of, tuple(_blocks(net, group_of)), fixed)


def channel_sets(net: Net) -> dict[str, str]:
    """Return value -> a value that stands for all values of the same channels (rule 1)."""
    parent = {name: name for name in (INPUT, *net.by_name)}

    def top(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for step in net.steps:
        if is_dense(step):
            continue
        for given in step.inputs:
            parent[top(given)] = top(step.name)
    return {name: top(name) for name in parent}


def _reason(net: Net, owner: Mapping[str, str], of: str) -> str:
    """Return why a set of channels is no inner group; empty if it is one (rule 2)."""
    values = {name for name, other in owner.items() if other == of}
    steps = [step for step in net.steps if step.name in values]
    if INPUT in values:
        return "they are those of the image"
    if net.steps[-1].name in values:
        return "they are the colours of the answer" if net.makes_images else "they are the labels"
    if any(step.kind == "add" for step in steps):
        return "a residual connection adds to them"
    grouped = [step for step in steps if step.kind == "convolution" and not (is_dense(step) or is_depthwise(step))]
    takers = [each for step in steps for each in net.consumers[step.name] if each.name not in values]
    grouped += [step for step in takers if not is_dense(step)]
    if grouped:
        return f"{grouped[0].place} has groups of channels"
    if all(net.places[name][1:] in ((), (1, 1)) for name in values):
        return "they have one place each, of which little can be saved"
    return ""


def _blocks(net: Net, group_of: Mapping[str, int]) -> Iterator[Block]:
    """Yield the blocks that can be skipped, those with inner groups alone (rule 4)."""
    stage, before = -1, ""
    for step in net.steps:
        if step.kind != "add":
            continue
        for kept, made in (step.inputs, step.inputs[::-1]):
            inside = _between(net, kept, made)
            if inside and any(name in group_of for name in inside):
                stage += _start(net, before) != _start(net, kept)
                yield Block(step.name, kept, frozenset(inside), stage)
                before = step.name
                break


def _start(net: Net, value: str) -> str:
    """Return the value that the activations in front of a value read."""
    step = net.by_name.get(value)
    while step is not None and step.kind in ("relu", "relu6", "dropout"):
        value = step.inputs[0]
        step = net.by_name.get(value)
    return value


def _between(net: Net, start: str, end: str) -> set[str]:
    """Return the steps from a value to another that is made of it alone; nothing if something else enters or leaves."""
    found: set[str] = set()
    todo = [end]
    while todo:
        name = todo.pop()
        if name == start or name in found:
            continue
        if name == INPUT:
            return set()
        found.add(name)
        todo += net.by_name[name].inputs
    inner = found - {end}
    leaves = any(user.name not in found for name in inner for user in net.consumers[name])
    alone = len(net.consumers[end]) == 1
    return found if alone and not leaves else set()
