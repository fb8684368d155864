"""Which blocks are searched."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from gearshift.errors import InputError
from gearshift.runtime.space.blocks import OPERATIONS, Block, BlockShape
from gearshift.runtime.space.shape import EncoderShape

HEADS = (2, 3, 4, 6, 8)
OF_HEADS = 12
"""The paper's hidden sizes are 128, 192, 256, 384 and 512 of 768: so many heads of twelve."""

HALF_LAYERS = 2
"""Sub-layers that stand for one layer of the teacher: attention and FFN are two."""


def block_sizes(shape: EncoderShape) -> tuple[int, ...]:
    """The paper's hidden sizes, scaled to a teacher: the same shares of its width, in whole heads, each once."""
    heads = {max(1, round(shape.heads * share / OF_HEADS)) for share in HEADS}
    return tuple(sorted(count * shape.head_size for count in heads))


def all_blocks(sizes: Sequence[int], operations: int) -> tuple[Block, ...]:
    """Every block of one to `operations` operations at one of the sizes.

    Shorter blocks stand for those with identities, which only come at the end: 5 * (5 + 5^2 + ... + 5^6) = 97,650
    of five sizes and six operations (NAS-BERT, section 3.1).
    """
    lengths = range(1, operations + 1)
    return tuple(
        Block(size, names)
        for size in sizes
        for length in lengths
        for names in itertools.product(OPERATIONS, repeat=length)
    )


def bridged_shape(shape: EncoderShape) -> BlockShape:
    """The shape of blocks that stand in for a teacher's layers: what they pass on is as wide as what it does."""
    if shape.neurons % shape.hidden:
        raise InputError(
            f"teacher: its FFN of {shape.neurons} neurons is no whole multiple of hidden {shape.hidden}; take another"
        )
    return BlockShape(
        vocabulary=shape.vocabulary,
        positions=shape.positions,
        types=shape.types,
        embedding=shape.embedding or shape.hidden,
        head_size=shape.head_size,
        expansion=shape.neurons // shape.hidden,
        bridge=shape.hidden,
    )
