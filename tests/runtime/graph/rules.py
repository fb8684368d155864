"""Values and single operators for tests of what a graph may hold."""

from gearshift.runtime.graph.model import FLOAT, INT64, Dims, Node
from gearshift.runtime.graph.operators import results
from gearshift.runtime.graph.values import TOKENS, Limits, Value

LIMITS = Limits(per_token=64, per_text=256, heads=4, head_size=8, tokens=32, nodes=100)
LENGTH = Value(INT64, (1,), (TOKENS,))


def floats(*dims: int | str, stored: bool = False) -> Value:
    return Value(FLOAT, dims, stored=stored)


def numbers(*known: int | str) -> Value:
    return Value(INT64, (len(known),), known)


def given(operator: str, *values: Value, **attributes: object) -> Value:
    """The result of a node with one output, `made`."""
    node = Node(operator, ("",) * len(values), ("made",), attributes)
    (made,) = results(node, values, LIMITS)
    return made


def dims_of(operator: str, *values: Value, **attributes: object) -> Dims:
    return given(operator, *values, **attributes).dims
