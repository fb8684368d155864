"""Steps that nets from image to image have besides those of classifiers: transposed convolutions, instance norms, pads.

Of CycleGAN's generators (Zhu et al. 2017, https://arxiv.org/abs/1703.10593, appendix 7.2). An instance norm takes the
moments of each image and channel as it runs, so that subnets need no statistics of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from gearshift.errors import ModelError

TRANSPOSED = "transposed_convolution"
INSTANCE_NORM = "instance_norm"

PADS: Mapping[str, str] = {"zero_pad": "constant", "reflection_pad": "reflect", "replication_pad": "replicate"}
"""Kind of step -> mode of `torch.nn.functional.pad`."""

GENERATOR_KINDS = (TRANSPOSED, INSTANCE_NORM, *PADS)

GENERATOR_MODULES: Mapping[type[nn.Module], str] = {
    nn.ConvTranspose2d: TRANSPOSED,
    nn.InstanceNorm2d: INSTANCE_NORM,
    nn.ZeroPad2d: "zero_pad",
    nn.ReflectionPad2d: "reflection_pad",
    nn.ReplicationPad2d: "replication_pad",
    nn.Tanh: "tanh",
}
"""Class of a module -> kind of step."""

Shape = tuple[int, ...]


def output_axis(kind: str) -> int:
    """Return the axis of a weight that its output channels are on."""
    return 1 if kind == TRANSPOSED else 0


def input_axis(kind: str) -> int:
    """Return the axis of a weight that its input channels are on."""
    return 1 - output_axis(kind)


def transposed(layer: Any, value: Tensor, inputs: int, outputs: int) -> Tensor:
    """Return a transposed convolution of the first channels of its weights."""
    bias = None if layer.bias is None else layer.bias[:outputs]
    weight = layer.weight[:inputs, :outputs]
    return F.conv_transpose2d(value, weight, bias, layer.stride, layer.padding, layer.output_padding)


def instance_normed(layer: Any, value: Tensor) -> Tensor:
    """Return an instance norm of the first channels."""
    kept = value.shape[1]
    weight, bias = (None, None) if layer.weight is None else (layer.weight[:kept], layer.bias[:kept])
    return F.instance_norm(value, None, None, weight, bias, True, 0.0, layer.eps)


def padded(kind: str, value: Tensor, sizes: Mapping[str, Any]) -> Tensor:
    """Return a value with pixels around it."""
    return F.pad(value, sizes["padding"], PADS[kind])


def generator_module(kind: str, sizes: Mapping[str, Any]) -> nn.Module | None:
    """Make the torch module of a step with weights; None for a pad."""
    if kind == TRANSPOSED:
        return nn.ConvTranspose2d(**sizes)
    return nn.InstanceNorm2d(**sizes) if kind == INSTANCE_NORM else None


def generator_shape(kind: str, sizes: Mapping[str, Any], given: Shape) -> Shape | None:
    """Return the shape (channels, height, width) that a step makes of another; None if that does not fit."""
    if len(given) != 3:
        return None
    channels, *places = given
    if kind == TRANSPOSED:
        names = ("stride", "padding", "kernel_size", "output_padding")
        windows = zip(places, *(sizes[name] for name in names), strict=True)
        made = [(size - 1) * stride - 2 * pad + taps + more for size, stride, pad, taps, more in windows]
        return (sizes["out_channels"], *made) if channels == sizes["in_channels"] and min(made) > 0 else None
    if kind == INSTANCE_NORM:
        return given if channels == sizes["num_features"] and places != [1, 1] else None
    left, right, top, bottom = sizes["padding"]
    most = min(places) if kind == "reflection_pad" else max(places) + max(left, right, top, bottom)
    return (channels, places[0] + top + bottom, places[1] + left + right) if max(sizes["padding"]) < most else None


def _transposed_sizes(module: nn.ConvTranspose2d) -> dict[str, Any]:
    if module.groups != 1 or module.dilation != (1, 1) or module.padding_mode != "zeros":
        raise _strange("ConvTranspose2d", "one with groups, dilation or another padding than zeros")
    return {
        "in_channels": module.in_channels,
        "out_channels": module.out_channels,
        **{name: list(getattr(module, name)) for name in ("kernel_size", "stride", "padding", "output_padding")},
        "bias": module.bias is not None,
    }


def _norm_sizes(module: nn.InstanceNorm2d) -> dict[str, Any]:
    if module.track_running_stats:
        raise _strange("InstanceNorm2d", "one that keeps statistics")
    return {"num_features": module.num_features, "eps": module.eps, "affine": module.affine}


def _pad_sizes(module: Any) -> dict[str, Any]:
    if min(module.padding) < 0:
        raise _strange(type(module).__name__, "one that cuts")
    return {"padding": list(module.padding)}


GENERATOR_SIZES: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    TRANSPOSED: _transposed_sizes,
    INSTANCE_NORM: _norm_sizes,
    **dict.fromkeys(PADS, _pad_sizes),
}
"""Kind of step -> function that reads its arguments from a module; raises ModelError for those that it cannot have."""


def _strange(place: str, found: str) -> ModelError:
    return ModelError(f"{place}: found {found}; such a net cannot be made elastic yet")
