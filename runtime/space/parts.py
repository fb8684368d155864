"""The parts that every net is a sum of, and what each costs: attention, feed-forward, convolution, projection."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

KERNELS = {"conv3": 3, "conv5": 5, "conv7": 7}
"""Separable convolution -> tokens that it looks at."""

ROUNDS = 2
"""Rounds of a separable convolution, each a depthwise convolution and a product (as in Microsoft's port, ML.NET)."""


@dataclass(frozen=True)
class Part:
    """A piece of a net, for counting."""

    matrices: tuple[tuple[int, int], ...] = ()
    """(inputs, outputs) of each product with a weight matrix."""
    others: int = 0
    """Parameters that are in no matrix: biases, norms, filters."""
    filters: int = 0
    """Multiply-accumulates of a token that no matrix makes."""
    attended: int = 0
    """Dimensions over which tokens attend to one another."""

    @cached_property
    def weights(self) -> int:
        """Numbers in its matrices."""
        return sum(inputs * outputs for inputs, outputs in self.matrices)

    @cached_property
    def parameters(self) -> int:
        """All numbers that are learnt."""
        return self.weights + self.others

    def macs(self, tokens: int) -> int:
        """Multiply-accumulates for one text."""
        return tokens * (self.weights + self.filters) + 2 * tokens * tokens * self.attended

    def bytes(self, precision: str) -> int:
        """Bytes of the weights at `fp32`, `fp16` or `int8`.

        int8: a byte for each weight of a matrix, 5 for its columns' scales and zero points, fp32 for all else.
        """
        if precision != "int8":
            return self.parameters * {"fp32": 4, "fp16": 2}[precision]
        return self.weights + 5 * sum(outputs for _, outputs in self.matrices) + 4 * self.others


@lru_cache(maxsize=4096)
def attention_part(hidden: int, inner: int) -> Part:
    """Attention whose heads together are `inner` wide, with its norm."""
    return Part(((hidden, inner),) * 3 + ((inner, hidden),), 3 * inner + 3 * hidden, attended=inner)


@lru_cache(maxsize=4096)
def ffn_part(hidden: int, neurons: int) -> Part:
    """A feed-forward of so many neurons, with its norm."""
    return Part(((hidden, neurons), (neurons, hidden)), neurons + 3 * hidden)


@lru_cache(maxsize=4096)
def convolution_part(hidden: int, kernel: int) -> Part:
    """The rounds of a separable convolution, each with its norm."""
    filters = ROUNDS * kernel * hidden
    return Part(((hidden, hidden),) * ROUNDS, filters + ROUNDS * 4 * hidden, filters)


@lru_cache(maxsize=4096)
def projection_part(inputs: int, outputs: int) -> Part:
    """A linear layer; nothing where both widths are the same."""
    return Part() if inputs == outputs else Part(((inputs, outputs),), outputs)
