"""Parts of a net and their costs: attention, feed-forward, convolution, projection. The costs of a net are sums."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

KERNELS = {"conv3": 3, "conv5": 5, "conv7": 7}
"""Separable convolution -> kernel size in tokens."""

ROUNDS = 2
"""Rounds of a separable convolution: depthwise convolution, then matrix product (as in Microsoft's port, ML.NET)."""


@dataclass(frozen=True)
class Part:
    """Part of a net, with the sizes that its costs follow from."""

    matrices: tuple[tuple[int, int], ...] = ()
    """(inputs, outputs) of each product with a weight matrix."""
    others: int = 0
    """Parameters outside the matrices: biases, norms, filters."""
    filters: int = 0
    """MACs per token outside the matrix products (depthwise convolution)."""
    attended: int = 0
    """Width of all attention heads together; 0 without attention."""
    position_terms: int = 0
    """Terms of disentangled attention: each compares all tokens with the positions before and behind them."""
    position_weights: int = 0
    """Weights that multiply positions, not tokens: their products are those of an export, not of a text."""
    pixels: int = 1
    """Tokens for which the matrices and filters are applied once; of an image, whose tokens are its pixels, as many as
    lie between two places of the output."""

    @cached_property
    def weights(self) -> int:
        """Number of weights in the matrices."""
        return sum(inputs * outputs for inputs, outputs in self.matrices)

    @cached_property
    def parameters(self) -> int:
        """Number of all trainable parameters."""
        return self.weights + self.position_weights + self.others

    def macs(self, tokens: int) -> int:
        """Return the MACs (multiply-accumulates) for one text."""
        pairs = 2 * tokens * tokens * (1 + self.position_terms)
        return tokens * (self.weights + self.filters) // self.pixels + pairs * self.attended

    def bytes(self, precision: str) -> int:
        """Return the bytes of the weights at `fp32`, `fp16` or `int8`.

        int8: 1 byte per matrix weight, 5 per column for its scale and zero point, fp32 for all other parameters.
        """
        if precision != "int8":
            return self.parameters * {"fp32": 4, "fp16": 2}[precision]
        return (
            self.weights + 5 * sum(outputs for _, outputs in self.matrices) + 4 * (self.others + self.position_weights)
        )


@lru_cache(maxsize=4096)
def attention_part(
    hidden: int,
    inner: int,
    *,
    biases: bool = True,
    norm: bool = True,
    position_terms: int = 0,
    position_products: bool = False,
) -> Part:
    """Return attention with its norm; `inner` is the width of all heads together.

    `biases`: whether its products have biases, and its norm a shift. `norm`: whether it has a norm at all.
    `position_terms`: number of terms of disentangled attention; `position_products`: whether each has a matrix.
    """
    terms = position_terms * position_products
    others = ((3 + terms) * inner + hidden) * biases + norm_parameters(hidden, biases=biases) * norm
    return Part(
        ((hidden, inner),) * 3 + ((inner, hidden),),
        others,
        attended=inner,
        position_terms=position_terms,
        position_weights=terms * hidden * inner,
    )


@lru_cache(maxsize=4096)
def ffn_part(hidden: int, neurons: int, *, biases: bool = True, gated: bool = False) -> Part:
    """Return a feed-forward network of `neurons` neurons with its norm; a gated neuron has two columns of inputs."""
    columns = (1 + gated) * neurons
    others = (columns + hidden) * biases + norm_parameters(hidden, biases=biases)
    return Part(((hidden, columns), (neurons, hidden)), others)


def norm_parameters(width: int, *, biases: bool = True) -> int:
    """Return the number of parameters of a layer norm: its scales and, with `biases`, its shifts."""
    return (1 + biases) * width


@lru_cache(maxsize=4096)
def convolution_part(hidden: int, kernel: int) -> Part:
    """Return a separable convolution: all of its rounds, each with its norm."""
    filters = ROUNDS * kernel * hidden
    return Part(((hidden, hidden),) * ROUNDS, filters + ROUNDS * 4 * hidden, filters)


@lru_cache(maxsize=4096)
def projection_part(inputs: int, outputs: int) -> Part:
    """Return a linear layer; an empty part if both widths are equal."""
    return Part() if inputs == outputs else Part(((inputs, outputs),), outputs)
