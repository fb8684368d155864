"""Operators of windows in blocks: those of an export pass, and what is a little different is refused."""

import pytest

from gearshift.runtime.graph.model import BOOL, INT32, INT64
from gearshift.runtime.graph.values import ABSENT, BATCH, BLOCKS, JOINED, TOKENS, RefusedError, Value
from tests.runtime.graph.rules import LENGTH, dims_of, floats, given, numbers

TABLE = Value(INT64, (33,), stored=True)
PLACES = Value(INT64, (128,), stored=True)
PART = given("Gather", TABLE, LENGTH)
"""A number from a table, by the length of the text."""
ASKED, SEEN = "as many as asked", "as many as seen"
MASK = Value(INT32, (BLOCKS, SEEN))


def attended(*values: Value) -> object:
    return dims_of("com.microsoft.MultiHeadAttention", *values, num_heads=4)


def test_a_text_is_cut_into_blocks_and_joined() -> None:
    (symbol,) = PART.numbers or ()
    assert PART.dims == (1,) and symbol == "as many as made"
    assert dims_of("Slice", PLACES, numbers(0), PART) == (symbol,)
    assert dims_of("Slice", PLACES, numbers(ASKED), PART) == (f"{symbol} from {ASKED}",)
    keys = Value(INT64, (SEEN,))
    assert dims_of("Min", keys, LENGTH) == dims_of("Max", keys, numbers(0)) == (SEEN,)
    assert dims_of("Gather", floats(BATCH, TOKENS, 32), keys, axis=1) == (BATCH, SEEN, 32)
    assert dims_of("Cast", Value(BOOL, (SEEN,)), to=INT64) == (SEEN,)
    assert dims_of("Mul", Value(INT64, (BATCH, SEEN)), keys) == (BATCH, SEEN)
    shape = given("Concat", numbers(-1), numbers(SEEN), numbers(0), axis=0)
    assert dims_of("Reshape", floats(BATCH, SEEN, 32), shape) == (BLOCKS, SEEN, 32)
    assert dims_of("Reshape", Value(INT64, (BATCH, SEEN)), numbers(-1, SEEN)) == (BLOCKS, SEEN)
    query, key, scores = floats(BLOCKS, ASKED, 32), floats(BLOCKS, SEEN, 32), floats(1, 1, ASKED, SEEN)
    assert attended(query, key, key, ABSENT, MASK, scores) == query.dims
    batch = given("Shape", Value(INT64, (BATCH, TOKENS)), start=0, end=1)
    whole = given("Concat", batch, numbers(-1), numbers(0), axis=0)
    assert dims_of("Reshape", query, whole) == (BATCH, JOINED, 32)
    assert dims_of("Slice", floats(BATCH, JOINED, 32), numbers(0), LENGTH, numbers(1)) == (BATCH, TOKENS, 32)


@pytest.mark.parametrize(
    ("operator", "values", "attributes"),
    [
        ("Gather", (Value(INT64, (33,)), LENGTH), {}),  # numbers that are not stored
        ("Gather", (floats(33, stored=True), LENGTH), {}),
        ("Gather", (floats(BATCH, TOKENS, 32), Value(INT64, (TOKENS,))), {"axis": 1}),
        ("Gather", (floats(BATCH, 7, 32), Value(INT64, (SEEN,))), {"axis": 1}),
        ("Slice", (Value(INT64, (129,), stored=True), numbers(0), PART), {}),  # more places than blocks see
        ("Slice", (Value(INT64, (128,)), numbers(0), PART), {}),
        ("Slice", (PLACES, numbers(1), PART), {}),
        ("Slice", (PLACES, LENGTH, PART), {}),
        ("Slice", (floats(BATCH, SEEN, 32), numbers(0), LENGTH, numbers(1)), {}),
        ("Reshape", (floats(BATCH, TOKENS, 32), numbers(-1, SEEN, 0)), {}),
        ("Reshape", (floats(BATCH, SEEN, 32), numbers(-1, 4, 0)), {}),
        ("Reshape", (floats(BATCH, SEEN, 32), numbers(-1, SEEN, 8)), {}),
        ("Reshape", (floats(BLOCKS, SEEN, 32), numbers(-1, SEEN, 0)), {}),
        ("Reshape", (floats(BATCH, SEEN, 32), numbers(BATCH, -1, 0)), {}),
        ("Reshape", (floats(BLOCKS, SEEN, 32), numbers(-1, -1, 0)), {}),
        ("Shape", (floats(BATCH, TOKENS),), {"start": 0, "end": 2}),
        ("Concat", (Value(INT64, (SEEN,)), numbers(0)), {"axis": 0}),
    ],
)
def test_what_no_export_writes_is_refused(
    operator: str, values: tuple[Value, ...], attributes: dict[str, object]
) -> None:
    with pytest.raises(RefusedError):
        given(operator, *values, **attributes)


def test_keys_of_another_count_are_those_of_blocks_alone() -> None:
    query, key = floats(BLOCKS, ASKED, 32), floats(BLOCKS, SEEN, 32)
    for others in (
        (floats(BATCH, ASKED, 32), floats(BATCH, SEEN, 32), floats(BATCH, SEEN, 32), ABSENT, MASK),
        (query, floats(BATCH, SEEN, 32), floats(BATCH, SEEN, 32), ABSENT, MASK),
        (query, key, query, ABSENT, MASK),
        (query, floats(BLOCKS, SEEN, 24), floats(BLOCKS, SEEN, 24), ABSENT, MASK),
        (query, key, key, ABSENT, Value(INT32, (BLOCKS, ASKED))),
        (query, key, key, ABSENT, MASK, floats(1, 1, ASKED, ASKED)),
    ):
        with pytest.raises(RefusedError):
            attended(*others)
