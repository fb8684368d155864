"""Positions and windows of attention: what each layer's scores follow from, besides queries and keys.

1. Rotary positions (Su et al. 2021, https://arxiv.org/abs/2104.09864, equation 34): pairs of dimensions of queries and
   keys are turned by an angle that grows with the position.
2. Relative positions (Raffel et al. 2020, https://arxiv.org/abs/1910.10683, section 2.1; MPNet, Song et al. 2020,
   https://arxiv.org/abs/2004.09297): a bias of the score for each head and bucket of offsets.
3. Windows (ModernBERT, Warner et al. 2024, https://arxiv.org/abs/2412.13663): tokens far away are masked.
4. Disentangled attention (DeBERTa, He et al. 2021, https://arxiv.org/abs/2006.03654, equations 2 to 4; buckets of
   DeBERTa-v2 and later): scores have terms of vectors of relative positions with queries, and with keys.
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
class Disentangled:
    """Vectors of relative positions, which layers compare with contents."""

    vectors: Tensor
    """Vectors, (rows, hidden)."""
    rows: Tensor
    """Row of each key for each query, (tokens, tokens)."""
    terms: tuple[str, ...]
    """Terms of the scores, as in the shape's `position_terms`."""

    def scale(self) -> float:
        """Return the factor of queries that keeps a sum of terms as large as one of them: 1 / sqrt(terms)."""
        return 1 / math.sqrt(1 + len(self.terms))

    def scores(self, query: Tensor, key: Tensor, of_keys: Tensor, of_queries: Tensor) -> Tensor:
        """Return the terms of the scores, (batch, heads, tokens, tokens), for queries and keys that are not yet scaled.

        `query`, `key`: (batch, heads, tokens, head_size). `of_keys`, `of_queries`: vectors as keys and as queries,
        (heads, rows, head_size).
        """
        rows = self.rows.expand(*query.shape[:2], -1, -1)  # (batch, heads, tokens, tokens)
        terms = []
        if "c2p" in self.terms:
            terms.append((query @ of_keys.transpose(1, 2)).gather(3, rows))
        if "p2c" in self.terms:  # for each key and query, of which the distance is the other way round
            back = rows.transpose(2, 3)
            terms.append((key @ of_queries.transpose(1, 2)).gather(3, back).transpose(2, 3))
        total: Tensor = sum(terms[1:], terms[0])
        return total * (self.scale() / math.sqrt(query.shape[-1]))


@dataclass(frozen=True)
class View:
    """Part of the text that a layer's attention sees, and the positions in it."""

    mask: Tensor
    """True for tokens that may be attended to, (batch, 1, 1 or tokens, tokens)."""
    bias: Tensor | None = None
    """Biases of the scores by relative position, (heads, tokens, tokens)."""
    rotation: Rotation | None = None
    disentangled: Disentangled | None = None

    def scores_mask(self, added: Tensor | None) -> Tensor:
        """Return the mask, or numbers added to the scores, with minus infinity where the mask is false."""
        return self.mask if added is None else added.masked_fill(~self.mask, -math.inf)


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


def log_bucket_of(distances: Tensor, buckets: int, farthest: int) -> Tensor:
    """Return the rows of distances (position of the query - position of the key), as DeBERTa-v2 counts them.

    Half of the buckets on either side are exact, and the rest grows with the logarithm of the distance, up to
    `farthest`. Rows from `buckets` on are those of keys before the query.
    """
    exact = buckets // 2
    distance = distances.abs()
    growth = torch.log(distance.clamp(min=exact) / exact) / torch.log(torch.tensor((farthest - 1) / exact))
    far = torch.ceil(growth * (exact - 1)).long() + exact
    signed = torch.where(distance <= exact, distances, far * distances.sign())
    return (signed + buckets).clamp(0, 2 * buckets - 1)


def offsets_of(tokens: int, device: torch.device | None = None) -> Tensor:
    """Return the offsets of keys from queries, (tokens, tokens)."""
    places = torch.arange(tokens, device=device)
    return places[None, :] - places[:, None]


def views(
    shape: EncoderShape, relative: nn.Embedding | None, vectors: Tensor | None, attention_mask: Tensor
) -> list[View]:
    """Return what each layer sees of a batch.

    `relative`: biases of relative positions. `vectors`: those of disentangled attention, (rows, hidden).
    `attention_mask`: 1 for real tokens, (batch, tokens).
    """
    tokens, device = attention_mask.shape[1], attention_mask.device
    real = attention_mask.bool()[:, None, None, :]  # (batch, tokens) -> (batch, 1, 1, tokens)
    offsets = offsets_of(tokens, device)
    bias = disentangled = None
    if vectors is not None:
        rows = log_bucket_of(-offsets, shape.position_buckets, shape.position_farthest)
        disentangled = Disentangled(vectors, rows, shape.position_terms)
    if relative is not None:
        bias = relative(bucket_of(offsets, shape.relative_buckets)).permute(2, 0, 1)  # (heads, tokens, tokens)
    masks = {0: real}
    for window in set(shape.windows) - {0}:
        # Padding far from all tokens would see nothing, and be NaN: every token sees itself.
        masks[window] = (real & (offsets.abs() <= window)) | (offsets == 0)
    rotations = {base: rotation_of(base, tokens, shape.head_size, device) for base in set(shape.rotary)}
    return [
        View(
            masks[shape.windows[layer] if shape.windows else 0],
            bias,
            rotations[shape.rotary[layer]] if shape.rotary else None,
            disentangled,
        )
        for layer in range(shape.layers)
    ]
