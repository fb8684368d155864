"""Trace a torch module with `torch.fx`, so that it need not be rewritten: its modules and calls become steps."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from gearshift.errors import ModelError, first_line
from gearshift.trainer.vision.generator_steps import GENERATOR_MODULES, GENERATOR_SIZES
from gearshift.trainer.vision.net import ACTIVATIONS, INPUT, KINDS, WEIGHTED, Net, Step, pair

MODULES: Mapping[type[nn.Module], str] = {
    nn.Conv2d: "convolution",
    nn.BatchNorm2d: "norm",
    nn.Linear: "linear",
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    nn.Hardswish: "hardswish",
    nn.Hardsigmoid: "hardsigmoid",
    nn.SiLU: "silu",
    nn.Sigmoid: "sigmoid",
    nn.MaxPool2d: "max_pool",
    nn.AvgPool2d: "average_pool",
    nn.AdaptiveAvgPool2d: "global_pool",
    nn.Flatten: "flatten",
    nn.Dropout: "dropout",
    **GENERATOR_MODULES,
}
"""Class of a module -> kind of step; a class derived from one of these may do something else, and is refused."""

CALLS: Mapping[Any, str] = {
    operator.add: "add",
    operator.iadd: "add",
    torch.add: "add",
    operator.mul: "multiply",
    operator.imul: "multiply",
    torch.mul: "multiply",
    torch.flatten: "flatten",
    torch.relu: "relu",
    torch.sigmoid: "sigmoid",
    F.adaptive_avg_pool2d: "global_pool",
    F.dropout: "dropout",
    **{function: kind for kind, function in ACTIVATIONS.items()},
    "add": "add",
    "mul": "multiply",
    "flatten": "flatten",
    "mean": "global_pool",
    "relu": "relu",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
}
"""Function, or name of a method of a tensor -> kind of step."""

SKIPPED = (nn.Identity,)
"""Modules that change nothing."""

DROPPED = ("stochastic_depth",)
"""Functions that leave out blocks at random while a net learns, and change nothing afterwards: an elastic net learns
without, as its subnets leave out blocks."""


def trace(module: nn.Module, height: int, width: int) -> tuple[Net, dict[str, Tensor]]:
    """Return the steps of a module for images of this size, and its weights by `layers.NAME.weight`.

    Raises ModelError, which names the part of the module that is no step of `net.KINDS`.
    """
    name = type(module).__name__
    try:
        graph = fx.symbolic_trace(module).graph
    except Exception as error:  # whatever the code of the module raises on a value without a size
        raise ModelError(
            f"{name}: torch.fx cannot trace it ({first_line(error)}); expected a net without conditions on its values"
        ) from error
    reader = _Reader(module)
    for node in graph.nodes:
        reader.read(node)
    if len(reader.inputs) != 1 or not reader.steps:
        raise ModelError(f"{name}: expected one input, images, got {len(reader.inputs)}")
    first = next(step for step in reader.steps if INPUT in step.inputs)
    channels = int(first.sizes.get("in_channels", 3))
    net = Net(_used(reader.steps, reader.answer), channels, height, width)
    if channels != 3:
        raise ModelError(f"{name}: expected images of three colours, got {channels} channels")
    places = net.places  # checks that all shapes fit
    answer = places[net.steps[-1].name]
    if len(answer) != 1 and answer != places[INPUT]:
        raise ModelError(
            f"{name}: expected logits (batch, labels) or images of {height} x {width} pixels in three colours, "
            f"got a value of shape {answer}"
        )
    state = {
        f"layers.{step.name}.{key}": value.detach().clone()
        for step in net.steps
        if step.place and step.kind in WEIGHTED
        for key, value in module.get_submodule(step.place).state_dict().items()
    }
    return net, state


def _used(steps: list[Step], answer: str) -> tuple[Step, ...]:
    """Return the steps that the answer follows from."""
    wanted = {answer}
    for step in reversed(steps):
        if step.name in wanted:
            wanted |= set(step.inputs)
    return tuple(step for step in steps if step.name in wanted)


class _Reader:
    """Reads the nodes of a traced module one after another."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.steps: list[Step] = []
        self.inputs: list[str] = []
        self.answer = ""
        self._names: dict[str, str] = {}  # node -> value
        self._seen: dict[str, str] = {}  # module with weights -> value

    def read(self, node: fx.Node) -> None:
        """Read a node; raise ModelError if it is no step."""
        if node.op == "placeholder":
            self.inputs.append(node.name)
            self._names[node.name] = INPUT
        elif node.op == "output":
            (answer,) = node.args
            if not isinstance(answer, fx.Node):
                raise ModelError(f"{type(self.module).__name__}: expected one answer, logits, got {answer!r}")
            self.answer = self._names[answer.name]
        elif node.op == "call_module":
            self._read_module(node)
        elif node.op in ("call_function", "call_method"):
            self._read_call(node)
        else:
            raise _strange(str(node.target), f"a parameter or buffer that is used by itself ({node.op})")

    def _read_module(self, node: fx.Node) -> None:
        place = str(node.target)
        module = self.module.get_submodule(place)
        given = self._values(node)
        if isinstance(module, SKIPPED):
            self._names[node.name] = given[0]
            return
        kind = MODULES.get(type(module))
        if kind is None:
            raise _strange(place, type(module).__name__)
        if kind in WEIGHTED and self._seen.setdefault(place, node.name) != node.name:
            raise _strange(place, f"{type(module).__name__} that runs twice with the same weights")
        self._add(node, kind, given, SIZES[kind](module) if kind in SIZES else {}, place)

    def _read_call(self, node: fx.Node) -> None:
        kind = CALLS.get(node.target)
        told = getattr(node.target, "__name__", str(node.target))
        if told in DROPPED:
            self._names[node.name] = self._values(node)[0]
            return
        if kind is None:
            raise _strange(node.name, told)
        given = self._values(node)
        if len(given) != (2 if kind in ("add", "multiply") else 1):
            raise _strange(node.name, f"{told} of a value and a number")
        sizes = _call_sizes(node, kind, told)
        self._add(node, kind, given, sizes, node.name)
        if kind == "global_pool" and told == "mean" and not _keeps_axes(node):
            flat = f"{node.name}_flat"
            self.steps.append(Step(flat, "flatten", (node.name,), {}, node.name))
            self._names[node.name] = flat

    def _values(self, node: fx.Node) -> tuple[str, ...]:
        return tuple(self._names[each.name] for each in node.args if isinstance(each, fx.Node))

    def _add(self, node: fx.Node, kind: str, given: tuple[str, ...], sizes: Mapping[str, Any], place: str) -> None:
        self._names[node.name] = node.name
        self.steps.append(Step(node.name, kind, given, sizes, place))


def _call_sizes(node: fx.Node, kind: str, told: str) -> dict[str, Any]:
    """Return the arguments of a call; raise ModelError for one that is not of its kind of step."""
    others: list[Any] = [each for each in node.args if not isinstance(each, fx.Node)]
    named: dict[str, Any] = dict(node.kwargs)
    if kind == "dropout":
        return {"p": float(named.get("p", others[0] if others else 0.5))}
    if kind == "global_pool":
        asked = others[0] if others else named.get("output_size", named.get("dim"))
        whole = list(asked) if isinstance(asked, tuple | list) else asked
        if whole not in ((1, [1, 1]) if told != "mean" else ([2, 3], [-2, -1], [-1, -2])):
            raise _strange(node.name, f"{told} of {asked}; expected a mean over height and width")
        return {}
    if kind == "flatten" and (others or list(named.values())) != [1]:
        raise _strange(node.name, f"{told} of other axes than those from 1 on")
    return {}


def _keeps_axes(node: fx.Node) -> bool:
    """Return whether a mean keeps the axes over which it goes."""
    return bool(node.kwargs.get("keepdim", node.args[2] if len(node.args) > 2 else False))


def _strange(place: str, found: str) -> ModelError:
    return ModelError(
        f"{place}: expected a layer out of {', '.join(KINDS)}, found {found}; such a net cannot be made elastic yet"
    )


def _convolution(module: nn.Conv2d) -> dict[str, Any]:
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        raise _strange("Conv2d", f"padding {module.padding!r} of mode {module.padding_mode}")
    return {
        "in_channels": module.in_channels,
        "out_channels": module.out_channels,
        **{name: list(pair(getattr(module, name))) for name in ("kernel_size", "stride", "padding", "dilation")},
        "groups": module.groups,
        "bias": module.bias is not None,
    }


def _norm(module: nn.BatchNorm2d) -> dict[str, Any]:
    if not module.affine or not module.track_running_stats:
        raise _strange("BatchNorm2d", "one without weights or statistics")
    return {"num_features": module.num_features, "eps": module.eps}


def _linear(module: nn.Linear) -> dict[str, Any]:
    return {"in_features": module.in_features, "out_features": module.out_features, "bias": module.bias is not None}


def _max_pool(module: nn.MaxPool2d) -> dict[str, Any]:
    if module.ceil_mode or module.return_indices or pair(module.dilation) != (1, 1):
        raise _strange("MaxPool2d", "one with ceil_mode, indices or dilation")
    sizes = {"kernel_size": module.kernel_size, "stride": module.stride, "padding": module.padding}
    return {name: list(pair(size)) for name, size in sizes.items()}


def _average_pool(module: nn.AvgPool2d) -> dict[str, Any]:
    if module.ceil_mode or module.divisor_override is not None:
        raise _strange("AvgPool2d", "one with ceil_mode or a divisor")
    sizes = {"kernel_size": module.kernel_size, "stride": module.stride, "padding": module.padding}
    return {
        **{name: list(pair(size)) for name, size in sizes.items()},
        "count_include_pad": bool(module.count_include_pad),
    }


def _global_pool(module: nn.AdaptiveAvgPool2d) -> dict[str, Any]:
    if module.output_size not in (1, (1, 1)):
        raise _strange("AdaptiveAvgPool2d", f"one to {module.output_size}; expected 1 x 1")
    return {}


def _flatten(module: nn.Flatten) -> dict[str, Any]:
    if (module.start_dim, module.end_dim) != (1, -1):
        raise _strange("Flatten", "one of other axes than those from 1 on")
    return {}


SIZES: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "convolution": _convolution,
    "norm": _norm,
    "linear": _linear,
    "max_pool": _max_pool,
    "average_pool": _average_pool,
    "global_pool": _global_pool,
    "flatten": _flatten,
    "dropout": lambda module: {"p": module.p},
    **GENERATOR_SIZES,
}
"""Kind of step -> function that reads its arguments from a module."""
