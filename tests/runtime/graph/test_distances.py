"""Operators of terms by relative position: those of an export pass, and what is a little different is refused."""

import pytest

from gearshift.runtime.graph.model import FLOAT, INT64, Dims, Node
from gearshift.runtime.graph.operators import TO_THE_END, results
from gearshift.runtime.graph.values import (
    BATCH,
    FLAT,
    ONE_LESS,
    SKEWED,
    TOKENS,
    TWICE,
    Limits,
    RefusedError,
    Value,
)

LIMITS = Limits(per_token=64, per_text=256, heads=4, head_size=8, tokens=32, nodes=100)
Numbers = tuple[int | str, ...]


def floats(*dims: int | str, stored: bool = False) -> Value:
    return Value(FLOAT, dims, stored=stored)


def numbers(*known: int | str) -> Value:
    return Value(INT64, (len(known),), known)


def given(operator: str, *values: Value, **attributes: object) -> Dims:
    node = Node(operator, ("",) * len(values), ("made",), attributes)
    (made,) = results(node, values, LIMITS)
    return made.dims


SCORES = floats(BATCH, 4, TOKENS, TWICE)
LENGTH = numbers(TOKENS)


def test_a_product_with_distances_is_skewed() -> None:
    own = Value(INT64, (TOKENS,))
    assert given("Concat", own, own, axis=0) == (TWICE,)
    assert given("Gather", floats(16, 4, 8, stored=True), Value(INT64, (TWICE,)), axis=0) == (TWICE, 4, 8)
    assert given("MatMul", floats(BATCH, 4, TOKENS, 8), floats(4, 8, TWICE)) == SCORES.dims
    assert given("Reshape", SCORES, numbers(0, 0, -1)) == (BATCH, 4, FLAT)
    assert given("Slice", floats(BATCH, 4, FLAT), LENGTH, numbers(TO_THE_END), numbers(2)) == (BATCH, 4, SKEWED)
    square = numbers(0, 0, TOKENS, -1)
    assert given("Reshape", floats(BATCH, 4, SKEWED), square) == (BATCH, 4, TOKENS, ONE_LESS)
    rows = floats(BATCH, 4, TOKENS, ONE_LESS)
    assert given("Slice", rows, numbers(0), LENGTH, numbers(3)) == (BATCH, 4, TOKENS, TOKENS)
    assert given("Concat", numbers(0, 0), LENGTH, numbers(-1), axis=0) == (4,)
    assert given("Reshape", floats(BATCH, TOKENS, 32), numbers(0, 0, -1, 8)) == (BATCH, TOKENS, 4, 8)


@pytest.mark.parametrize(
    ("operator", "values"),
    [
        ("Gather", (floats(16, 4, 8), Value(INT64, (TWICE,)))),  # of a table that is not stored
        ("Gather", (floats(16, 40, 8, stored=True), Value(INT64, (TWICE,)))),  # more than any layer has
        ("MatMul", (floats(BATCH, 4, TOKENS, 8), floats(3, 8, TWICE))),  # of other heads
        ("MatMul", (floats(4, TOKENS, 8), floats(BATCH, 4, 8, TWICE))),
        ("MatMul", (floats(BATCH, 5, TOKENS, 8), floats(5, 8, TWICE))),  # more heads than the space has
        ("Reshape", (floats(BATCH, 4, TOKENS, TOKENS), numbers(0, 0, -1))),
        ("Reshape", (SCORES, numbers(0, 0, -1, 2))),
        ("Reshape", (floats(BATCH, 4, SKEWED), numbers(0, 0, 7, -1))),
        ("Reshape", (floats(BATCH, TOKENS, 32), numbers(0, 0, -1, -1))),
        ("Reshape", (floats(BATCH, TOKENS, 32), numbers(0, 0, -1, 7))),
        ("Reshape", (floats(BATCH, TOKENS, 32), numbers(0, 0, -2, 16))),
        ("Reshape", (floats(BATCH, TOKENS, 32), numbers(0, 0, 0, 8))),
        ("Reshape", (floats(BATCH, TOKENS, 32), numbers(0, 0, 4, 4))),
        ("Reshape", (floats(BATCH, TOKENS, 32), Value(INT64, (4,)))),  # to a shape that is not known
        ("Slice", (SCORES, LENGTH, numbers(TO_THE_END), numbers(3))),
        ("Slice", (floats(BATCH, 4, FLAT), LENGTH, numbers(99), numbers(2))),
        ("Slice", (floats(BATCH, 4, FLAT), numbers(1), numbers(TO_THE_END), numbers(2))),
        ("Slice", (floats(BATCH, 4, FLAT), numbers(0), LENGTH, numbers(2))),
    ],
)
def test_what_no_export_writes_is_refused(operator: str, values: tuple[Value, ...]) -> None:
    with pytest.raises(RefusedError):
        given(operator, *values)


@pytest.mark.parametrize(
    "values",
    [(Value(INT64, (TOKENS,)), Value(INT64, (TWICE,))), (Value(INT64, (2,)), numbers(1)), (floats(TOKENS),) * 2],
)
def test_numbers_that_are_not_known_are_not_joined(values: tuple[Value, ...]) -> None:
    with pytest.raises(RefusedError):
        given("Concat", *values, axis=0)
