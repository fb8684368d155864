"""Activations of feed-forward networks and heads in torch, by the names of transformers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

QUICK_GELU = 1.702
"""Factor of the sigmoid's argument in `quick_gelu` (Hendrycks and Gimpel 2016, https://arxiv.org/abs/1606.08415)."""

_tanh_gelu: Callable[[Tensor], Tensor] = partial(F.gelu, approximate="tanh")

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "gelu_new": _tanh_gelu,
    "gelu_pytorch_tanh": _tanh_gelu,
    "relu": F.relu,
    "silu": F.silu,
    "quick_gelu": lambda value: value * torch.sigmoid(QUICK_GELU * value),
}
"""Name -> activation: those of `shape.ACTIVATIONS`, and `tanh` for heads."""
