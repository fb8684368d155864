"""Head of an embedding: from the states of the last layer to one vector, as modules of sentence-transformers do it.

The states are pooled in one or several ways, which are concatenated; then steps follow, such as a dense layer.
Texts are padded behind their tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

POOLINGS = ("first", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
"""Names of poolings: state of the first token; largest value; mean; sum divided by the square root of the count; mean
with weights 1, 2, 3 ...; state of the last token. They are joined by `+` where several are concatenated."""

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "Identity": lambda value: value,
    "Tanh": torch.tanh,
    "ReLU": F.relu,
    "GELU": F.gelu,
    "SiLU": F.silu,
    "Sigmoid": torch.sigmoid,
    "LeakyReLU": F.leaky_relu,
    "ELU": F.elu,
}
"""Name of a class in torch.nn -> the function that it computes with its default arguments."""


@dataclass(frozen=True)
class Dense:
    """Linear layer with an activation behind it."""

    inputs: int
    outputs: int
    bias: bool = True
    activation: str = "Tanh"
    """Name of one of ACTIVATIONS."""
    residual: bool = False
    """Whether the input, projected if its width differs, is added to the result."""

    def width(self, width: int) -> int:
        """Return the width of the result."""
        return self.outputs

    def module(self) -> nn.Module:
        """Make the module, with random weights."""
        return _DenseModule(self)


@dataclass(frozen=True)
class LayerNorm:
    """Layer norm of the vector, with torch's default epsilon."""

    inputs: int

    def width(self, width: int) -> int:
        """Return the width of the result."""
        return width

    def module(self) -> nn.Module:
        """Make the module."""
        return _LayerNormModule(self.inputs)


@dataclass(frozen=True)
class Normalize:
    """Division by the vector's length."""

    def width(self, width: int) -> int:
        """Return the width of the result."""
        return width

    def module(self) -> nn.Module:
        """Make the module, which has no weights."""
        return _NormalizeModule()


@dataclass(frozen=True)
class Truncate:
    """First numbers of the vector alone (`truncate_dim`)."""

    outputs: int

    def width(self, width: int) -> int:
        """Return the width of the result."""
        return min(width, self.outputs)

    def module(self) -> nn.Module:
        """Make the module, which has no weights."""
        return _TruncateModule(self.outputs)


Step = Dense | LayerNorm | Normalize | Truncate
"""Step behind the pooling."""


@dataclass(frozen=True)
class Pooling:
    """Way to make one vector of a text's states."""

    modes: tuple[str, ...]
    """Names in POOLINGS."""
    skipped: int = 0
    """Number of tokens at the start of each text, those of its prompt, that are left out."""

    def __call__(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Pool states (batch, tokens, hidden); `mask` (batch, tokens) is 1 for tokens, and 0 for padding."""
        place = mask.cumsum(1)  # of a token: 1, 2, 3 ...
        kept = mask * (place > self.skipped) if self.skipped else mask
        found = [_POOL[mode](hidden, kept, place) for mode in self.modes]
        return found[0] if len(found) == 1 else torch.cat(found, dim=-1)


def _first(hidden: Tensor, kept: Tensor, place: Tensor) -> Tensor:
    return hidden[:, 0]


def _max(hidden: Tensor, kept: Tensor, place: Tensor) -> Tensor:
    return hidden.masked_fill(kept[:, :, None] == 0, float("-inf")).amax(1)


def _mean(hidden: Tensor, kept: Tensor, place: Tensor) -> Tensor:
    return _weighted(hidden, kept) / _count(hidden, kept)


def _mean_sqrt(hidden: Tensor, kept: Tensor, place: Tensor) -> Tensor:
    return _weighted(hidden, kept) / _count(hidden, kept).sqrt()


def _weighted_mean(hidden: Tensor, kept: Tensor, place: Tensor) -> Tensor:
    return _weighted(hidden, kept * place) / _count(hidden, kept * place)


def _last(hidden: Tensor, kept: Tensor, place: Tensor) -> Tensor:
    return _weighted(hidden, kept * (place == place[:, -1:]))  # padding has the place of the last token


def _weighted(hidden: Tensor, weights: Tensor) -> Tensor:
    """Sum weighted states: (batch, tokens, hidden) -> (batch, hidden)."""
    return (hidden * weights[:, :, None].to(hidden.dtype)).sum(1)


def _count(hidden: Tensor, weights: Tensor) -> Tensor:
    """Sum weights: (batch, tokens) -> (batch, 1); above 0 even for a text of which nothing is kept."""
    return weights.sum(1, keepdim=True).to(hidden.dtype).clamp(min=1e-9)


_POOL: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "first": _first,
    "max": _max,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_sqrt,
    "weightedmean": _weighted_mean,
    "lasttoken": _last,
}


class _DenseModule(nn.Module):
    def __init__(self, step: Dense) -> None:
        super().__init__()
        self.step = step
        self.linear = nn.Linear(step.inputs, step.outputs, bias=step.bias)
        if step.residual and step.inputs != step.outputs:
            self.residual = nn.Linear(step.inputs, step.outputs, bias=False)

    def forward(self, vectors: Tensor) -> Tensor:
        result = ACTIVATIONS[self.step.activation](self.linear(vectors))
        if not self.step.residual:
            return result
        return result + (vectors if self.step.inputs == self.step.outputs else self.residual(vectors))


class _LayerNormModule(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, vectors: Tensor) -> Tensor:
        normed: Tensor = self.norm(vectors)
        return normed


class _NormalizeModule(nn.Module):
    def forward(self, vectors: Tensor) -> Tensor:
        return F.normalize(vectors, dim=-1)


class _TruncateModule(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, vectors: Tensor) -> Tensor:
        return vectors[..., : self.width]
