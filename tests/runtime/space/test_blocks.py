"""Spaces of blocks: counting, choices, JSON, and what is refused."""

from __future__ import annotations

import itertools
import json

import pytest

from gearshift.errors import InputError, UnknownSubnetError
from gearshift.runtime.bundle.manifest import PoolEntry
from gearshift.runtime.space.blocks import OPERATIONS, Block, BlockShape, BlockSubnet
from gearshift.runtime.space.parts import projection_part
from gearshift.runtime.space.space import BlockSpace, block_space, block_stage
from gearshift.runtime.space.subnet import Subnet

SHAPE = BlockShape(vocabulary=50, positions=16, types=2, embedding=24, head_size=8)
BRIDGED = BlockShape(vocabulary=50, positions=16, types=2, embedding=24, head_size=8, bridge=24)


def space_of(shape: BlockShape, *stages: tuple[Block, ...]) -> BlockSpace:
    return BlockSpace(shape, tuple(block_stage(number, blocks) for number, blocks in enumerate(stages)))


NARROW, WIDE = Block(16, ("attention", "ffn")), Block(32, ("conv3",))


def test_a_projection_leads_from_one_width_to_the_next_and_from_and_to_a_bridge() -> None:
    def macs(shape: BlockShape, *blocks: Block) -> int:
        """Count the MACs of all but the operations themselves, for one token."""
        operations = sum(shape.operation_part(b.hidden, o).macs(1) for b in blocks for o in b.operations)
        return BlockSubnet(blocks).macs(shape, 1) - operations

    assert macs(SHAPE, NARROW, NARROW) == 24 * 16
    assert macs(SHAPE, NARROW, WIDE, NARROW) == 24 * 16 + 16 * 32 + 32 * 16
    assert macs(BRIDGED, NARROW, NARROW) == 4 * 24 * 16
    assert macs(BRIDGED, NARROW, WIDE) == 2 * 24 * 16 + 2 * 24 * 32
    assert projection_part(16, 16).parameters == 0


@pytest.mark.parametrize("operation", OPERATIONS)
def test_int8_takes_a_byte_for_a_weight_and_five_for_a_column(operation: str) -> None:
    part = SHAPE.operation_part(32, operation)
    columns = {"attention": 4 * 32, "ffn": 5 * 32}.get(operation, 2 * 32)
    weights = {"attention": 4 * 32 * 32, "ffn": 8 * 32 * 32}.get(operation, 2 * 32 * 32)
    assert part.bytes("fp32") == 4 * part.parameters == 2 * part.bytes("fp16")
    assert part.bytes("int8") == weights + 5 * columns + 4 * (part.parameters - weights)


def test_attention_alone_grows_with_the_square_of_the_tokens() -> None:
    for operation in OPERATIONS:
        part = SHAPE.operation_part(32, operation)
        assert part.macs(20) - 2 * part.macs(10) == (2 * 32 * (400 - 200) if operation == "attention" else 0)


def test_bytes_of_a_subnet_are_those_of_its_tables_and_parts() -> None:
    subnet = BlockSubnet((NARROW, WIDE))
    for precision in ("fp32", "int8", "fp16"):
        parts = sum(part.bytes(precision) for part in subnet.parts(SHAPE))
        assert subnet.bytes(SHAPE, precision) == SHAPE.embedding_bytes(precision) + parts
    assert SHAPE.embedding_bytes("int8") == 50 * 24 + 5 * 50 + 4 * (16 + 2 + 2) * 24


def test_every_choice_makes_its_subnet_and_is_found_again() -> None:
    space = space_of(BRIDGED, (NARROW, WIDE), (WIDE,), (WIDE, NARROW))
    subnets = set()
    for choice in itertools.product(range(2), range(1), range(2)):
        subnet = space.subnet(choice)
        assert space.choice(subnet) == choice
        subnets.add(subnet.name)
    assert subnets == {f"{a}-32S3-{b}" for a in ("16MF", "32S3") for b in ("16MF", "32S3")}
    assert BlockSpace.from_dict(json.loads(json.dumps(space.to_dict()))) == space
    assert space.thinned([[1], [0], [0]]).subnet((0, 0, 0)) == space.subnet((1, 0, 0))
    assert block_space(BRIDGED, [space.subnet((0, 0, 0)), space.subnet((1, 0, 1))]) == space


def test_what_is_not_in_the_space_is_refused() -> None:
    space = space_of(SHAPE, (NARROW,), (WIDE,))
    with pytest.raises(UnknownSubnetError, match=r"no option at block 0 keeps .*hidden=32, operations=.'conv3'"):
        space.choice(BlockSubnet((WIDE, WIDE)))
    with pytest.raises(UnknownSubnetError, match="expected a subnet of 2 blocks"):
        space.choice(BlockSubnet((NARROW,)))
    with pytest.raises(UnknownSubnetError, match=r"no option at block 0 keeps \(\(1, 1\),\)"):
        space.choice(Subnet(((1, 1), (1, 1))))  # type: ignore[arg-type]
    with pytest.raises(UnknownSubnetError, match="options 0 to 0, got 1"):
        space.subnet((0, 1))
    with pytest.raises(UnknownSubnetError, match="expected 2 integers"):
        space.subnet((0,))


def test_hidden_sizes_of_a_stage_differ_only_behind_a_bridge_and_hold_whole_heads() -> None:
    with pytest.raises(InputError, match=r"stage 0 has hidden sizes \[16, 32\]; without a bridge"):
        space_of(SHAPE, (NARROW, WIDE))
    with pytest.raises(InputError, match="not all of them multiples of the head size 8"):
        space_of(SHAPE, (Block(12, ("ffn",)),))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Block(16, ()),
        lambda: Block(16, ("pooling",)),
        lambda: Block(0, ("ffn",)),
        lambda: BlockSubnet(()),
        lambda: block_stage(0, (NARROW, NARROW)),
        lambda: block_stage(0, ()),
        lambda: BlockShape(50, 16, 2, 0, 8),
    ],
)
def test_what_is_no_net_cannot_be_made(make: object) -> None:
    assert callable(make)
    with pytest.raises(InputError, match=r"expected|must be|listed twice|no options"):
        make()


def test_a_pool_entry_keeps_its_blocks() -> None:
    entry = PoolEntry("x", BlockSubnet((NARROW, WIDE)), "elastic", "fp32.onnx", (0, 0), "fp32", 0.5, 10, 20)
    assert PoolEntry.from_dict(json.loads(json.dumps(entry.to_dict()))) == entry
