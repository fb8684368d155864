"""Positions and windows of attention: what each layer's scores follow from, besides queries and keys.

1. Rotary positions (Su et al. 2021, https://arxiv.org/abs/2104.09864, equation 34): pairs of dimensions of queries and
   keys are turned by an angle that grows with the position.
2. Relative positions (Raffel et al. 2020, https://arxiv.org/abs/1910.10683, section 2.1; MPNet, Song et al. 2020,
   https://arxiv.org/abs/2004.09297): a bias of the score for each head and bucket of offsets.
3. Windows (ModernBERT, Warner et al. 2024, https://arxiv.org/abs/2412.13663): tokens far away are masked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gearshift.runtime.space.shape import EncoderShape

FARTHEST = 128
"""Offset from which on all offsets share a bucket, as in MPNet's and T5's code."""

Rotation = tuple[Tensor, Tensor]
"""Cosines and sines of the angles, each of shape (tokens, head_size / 2)."""


@dataclass(frozen=True)
class View:
    """Part of the text that a layer's attention sees, and the positions in it."""

    mask: Tensor
    """True for tokens that may be attended to, (batch, 1, 1 or tokens, tokens)."""
    bias: Tensor | None = None
    """Biases of the scores by relative position, (heads, tokens, tokens)."""
    rotation: Rotation | None = None

    def scores_mask(self, heads: Tensor | None) -> Tensor:
        """Return the mask, or the biases of these heads, with minus infinity where the mask is false.

        `heads`: numbers of the heads, in order; they matter for biases alone.
        """
        if self.bias is None or heads is None:
            return self.mask
        return self.bias[heads].masked_fill(~self.mask, -math.inf)


def rotation_of(base: float, positions: int, head_size: int, device: torch.device | None = None) -> Rotation:
    """Return the rotation of positions 0, 1, 2 ...: angles position / base^(2 i / head_size), in float32.

    The exporter stores what this gives: at positions in the thousands another order of rounding would show.
    """
    powers = torch.arange(0, head_size, 2, device=device).float() / head_size
    angles = torch.arange(positions, device=device).float()[:, None] * (1.0 / base**powers)
    return angles.cos(), angles.sin()


def rotate(value: Tensor, rotation: Rotation) -> Tensor:
    """Turn (batch, heads, tokens, head_size): dimension i of a head is paired with i + head_size / 2."""
    cosines, sines = (part.to(value.dtype) for part in rotation)
    first, second = value.chunk(2, dim=-1)
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=-1)


def bucket_of(offsets: Tensor, buckets: int) -> Tensor:
    """Return the buckets of offsets (position of the key - position of the query), as MPNet and T5 count them.

    Half of the buckets are for keys behind the query. In each half the first half is exact, and the rest grows with the
    logarithm of the distance, up to FARTHEST.
    """
    half = buckets // 2
    exact = half // 2
    distance = offsets.abs()
    growth = torch.log(distance.clamp(min=1).float() / exact) / math.log(FARTHEST / exact) * (half - exact)
    far = (exact + growth.long()).clamp(max=half - 1)
    return (offsets > 0).long() * half + torch.where(distance < exact, distance, far)


def offsets_of(tokens: int, device: torch.device | None = None) -> Tensor:
    """Return the offsets of keys from queries, (tokens, tokens)."""
    places = torch.arange(tokens, device=device)
    return places[None, :] - places[:, None]


def views(shape: EncoderShape, relative: nn.Embedding | None, attention_mask: Tensor) -> list[View]:
    """Return what each layer sees of a batch; `attention_mask`: 1 for real tokens, (batch, tokens)."""
    tokens, device = attention_mask.shape[1], attention_mask.device
    real = attention_mask.bool()[:, None, None, :]  # (batch, tokens) -> (batch, 1, 1, tokens)
    offsets = offsets_of(tokens, device) if shape.windows or relative is not None else None
    bias = None
    if relative is not None and offsets is not None:
        bias = relative(bucket_of(offsets, shape.relative_buckets)).permute(2, 0, 1)  # (heads, tokens, tokens)
    masks = {0: real}
    for window in set(shape.windows) - {0}:
        assert offsets is not None
        # Padding far from all tokens would see nothing, and be NaN: every token sees itself.
        masks[window] = (real & (offsets.abs() <= window)) | (offsets == 0)
    rotations = {base: rotation_of(base, tokens, shape.head_size, device) for base in set(shape.rotary)}
    return [
        View(
            masks[shape.windows[layer] if shape.windows else 0],
            bias,
            rotations[shape.rotary[layer]] if shape.rotary else None,
        )
        for layer in range(shape.layers)
    ]
