"""Blocks of the search: all sequences of operations at the hidden sizes of the paper, scaled to a teacher."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from gearshift.errors import InputError
from gearshift.runtime.space.blocks import OPERATIONS, Block, BlockShape
from gearshift.runtime.space.shape import EncoderShape

HEADS = (2, 3, 4, 6, 8)
OF_HEADS = 12
"""Hidden sizes of the paper as heads of twelve: 128, 192, 256, 384 and 512 of 768."""

HALF_LAYERS = 2
"""Operations per layer of the teacher: its attention and its FFN."""


def block_sizes(shape: EncoderShape) -> tuple[int, ...]:
    """Return the paper's hidden sizes, scaled to a teacher: the same shares of its width, in whole heads, each once."""
    heads = {max(1, round(shape.heads * share / OF_HEADS)) for share in HEADS}
    return tuple(sorted(count * shape.head_size for count in heads))


def all_blocks(sizes: Sequence[int], operations: int) -> tuple[Block, ...]:
    """Return every block of one to `operations` operations at one of the sizes.

    Shorter blocks stand for those with identities, which are always at the end. Five sizes and six operations give
    5 * (5 + 5^2 + ... + 5^6) = 97,650 blocks (NAS-BERT, section 3.1).
    """
    lengths = range(1, operations + 1)
    return tuple(
        Block(size, names)
        for size in sizes
        for length in lengths
        for names in itertools.product(OPERATIONS, repeat=length)
    )


def bridged_shape(shape: EncoderShape) -> BlockShape:
    """Return the shape of blocks that replace a teacher's layers: the bridge is as wide as the teacher.

    Raises InputError for a teacher whose layers are not of BERT's form, or whose neurons are no multiple of its width.
    """
    if shape.form:
        raise InputError(
            f"teacher: expected an encoder of BERT's form, got one with {', '.join(shape.form)}; use another teacher"
        )
    if shape.neurons % shape.hidden:
        raise InputError(
            f"teacher: expected FFN neurons that are a multiple of hidden {shape.hidden}, got {shape.neurons}; "
            "use another teacher"
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
