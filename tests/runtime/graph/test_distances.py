"""Operators of terms by relative position: those of an export pass, and what is a little different is refused."""

import pytest

from gearshift.runtime.graph.model import INT64
from gearshift.runtime.graph.operators import TO_THE_END
from gearshift.runtime.graph.values import BATCH, FLAT, ONE_LESS, SKEWED, TOKENS, TWICE, RefusedError, Value
from tests.runtime.graph.rules import LENGTH, dims_of, floats, numbers

SCORES = floats(BATCH, 4, TOKENS, TWICE)


def test_a_product_with_distances_is_skewed() -> None:
    own = Value(INT64, (TOKENS,))
    assert dims_of("Concat", own, own, axis=0) == (TWICE,)
    assert dims_of("Gather", floats(16, 4, 8, stored=True), Value(INT64, (TWICE,)), axis=0) == (TWICE, 4, 8)
    assert dims_of("MatMul", floats(BATCH, 4, TOKENS, 8), floats(4, 8, TWICE)) == SCORES.dims
    assert dims_of("Reshape", SCORES, numbers(0, 0, -1)) == (BATCH, 4, FLAT)
    assert dims_of("Slice", floats(BATCH, 4, FLAT), LENGTH, numbers(TO_THE_END), numbers(2)) == (BATCH, 4, SKEWED)
    square = numbers(0, 0, TOKENS, -1)
    assert dims_of("Reshape", floats(BATCH, 4, SKEWED), square) == (BATCH, 4, TOKENS, ONE_LESS)
    rows = floats(BATCH, 4, TOKENS, ONE_LESS)
    assert dims_of("Slice", rows, numbers(0), LENGTH, numbers(3)) == (BATCH, 4, TOKENS, TOKENS)
    assert dims_of("Concat", numbers(0, 0), LENGTH, numbers(-1), axis=0) == (4,)
    assert dims_of("Reshape", floats(BATCH, TOKENS, 32), numbers(0, 0, -1, 8)) == (BATCH, TOKENS, 4, 8)


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
        dims_of(operator, *values)


@pytest.mark.parametrize(
    "values",
    [(Value(INT64, (TOKENS,)), Value(INT64, (TWICE,))), (Value(INT64, (2,)), numbers(1)), (floats(TOKENS),) * 2],
)
def test_numbers_that_are_not_known_are_not_joined(values: tuple[Value, ...]) -> None:
    with pytest.raises(RefusedError):
        dims_of("Concat", *values, axis=0)
