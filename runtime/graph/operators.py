"""Operators that a graph of ours may hold, each with its attributes, and the type and shape that it gives.

The exporter's operators (`export.graph`), and no others: those that make sizes out of numbers (Range, Expand, Tile,
ConstantOfShape, Loop) are not among them. A rule gets a node with the values that go in, and returns those that come
out; it raises RefusedError where the library's own kernel would have to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from gearshift.runtime.graph.model import BOOL, FLOAT, FLOAT16, INT8, INT32, INT64, UINT8, Dims, Node
from gearshift.runtime.graph.values import (
    ABSENT,
    BATCH,
    BLOCKS,
    FLAT,
    FLOATS,
    JOINED,
    ONE_LESS,
    SKEWED,
    TOKENS,
    TWICE,
    Limits,
    RefusedError,
    Value,
    axis_of,
    broadcast,
    has_shape,
    numbers_of,
    require,
    same_float,
    shown,
)

Rule = Callable[[Node, Sequence[Value], Limits], list[Value]]


@dataclass(frozen=True)
class Operator:
    """Operator with the numbers of inputs that it may have, and the types of its attributes."""

    rule: Rule
    inputs: Sequence[int]
    attributes: Mapping[str, type] = field(default_factory=dict)
    outputs: int | None = 1
    """Number of outputs; None: the rule decides."""
    optional: Sequence[int] = ()
    """Places of inputs that may be left out by an empty name."""


def results(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    """Return what a node gives for these values; raise RefusedError if none of ours has it, or it gives too much."""
    known: Mapping[str, Operator] = OPERATORS if limits.operators is None else limits.operators
    operator = known.get(node.operator)
    if operator is None:
        raise RefusedError("no operator of a bundle's graph")
    if len(values) not in operator.inputs:
        raise RefusedError(f"{len(values)} inputs")
    if operator.outputs not in (None, len(node.outputs)):
        raise RefusedError(f"{len(node.outputs)} outputs")
    for place, value in enumerate(values):
        if value is ABSENT and place not in operator.optional:
            raise RefusedError(f"no input {place}")
    for name, value in node.attributes.items():
        if operator.attributes.get(name) is not type(value):
            raise RefusedError(f"attribute {name!r}")
    made = operator.rule(node, values, limits)
    if len(made) != len(node.outputs):
        raise RefusedError(f"{len(node.outputs)} outputs")
    return [limits.bounded(value) for value in made]


def _same(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    return [Value(values[0].kind, values[0].dims)]


def _function(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    (value,) = values
    return [Value(same_float(values), value.dims)]


def _softmax(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    require(node.attributes.get("axis", -1) == -1 and bool(values[0].dims), "an axis other than the last")
    return _function(node, values, limits)


def _sum(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    return [Value(same_float(values), broadcast([value.dims for value in values]))]


def _difference(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    """Sum, difference, product, smaller or larger one of two numbers, of whole ones too."""
    if {value.kind for value in values} == {INT64}:
        return [Value(INT64, broadcast([value.dims for value in values]))]
    return _sum(node, values, limits)


def _compared(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    kinds = {value.kind for value in values}
    require(len(kinds) == 1 and kinds <= {INT64, FLOAT}, f"types {sorted(kinds)} together")
    return [Value(BOOL, broadcast([value.dims for value in values]))]


def _where(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    require(values[0].kind == BOOL, "a condition that is no truth value")
    return [Value(same_float(values[1:]), broadcast([value.dims for value in values]))]


def _cast(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    kind = node.attributes.get("to")
    require(kind in (FLOAT, FLOAT16, INT32, INT64, BOOL), f"a cast to type {kind}")
    return [Value(int(kind or 0), values[0].dims)]


def _shape(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    (value,) = values
    axis = node.attributes.get("start", 0)
    one = axis in (0, 1) and node.attributes == {"start": axis, "end": axis + 1}
    require(one and len(value.dims) == 2, "another part of a shape than one axis")
    return [Value(INT64, (1,), (value.dims[axis],))]


def _gather(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    """Rows of a stored table by ids, or the places of an axis by one or several stored numbers. Tokens by the places of
    a stored table."""
    data, places = values
    axis = node.attributes.get("axis", 0)
    require(places.kind == INT64 and axis_of(axis, data.dims) == axis, f"axis {axis} of shape {shown(data.dims)}")
    if axis == 1 and data.dims[1] == TOKENS and len(places.dims) == 1 and _is_part(places.dims[0]):
        return [Value(data.kind, (data.dims[0], *places.dims, *data.dims[2:]))]
    if places.numbers == (TOKENS,):  # a number for this length, by which others are cut
        require(data.stored and data.kind == INT64 and len(data.dims) == 1 and axis == 0, "a table of another kind")
        return [Value(INT64, (1,), (f"{_PART}{node.outputs[0]}",))]
    if places.numbers is None:
        require(data.stored and axis == 0 and len(data.dims) in (1, 2, 3), "rows of a table that is not stored")
    else:
        numbers, size = numbers_of(places), data.dims[axis]
        most = size if isinstance(size, int) else 1
        require(len(places.dims) < 2 and all(0 <= number < most for number in numbers), f"places {numbers}")
    return [Value(data.kind, data.dims[:axis] + places.dims + data.dims[axis + 1 :])]


_PART = "as many as "
"""Start of the symbol of a number from a stored table, and of an axis that is cut by such numbers."""


def _is_part(size: int | str) -> bool:
    return isinstance(size, str) and size.startswith(_PART)


def _slice_of_places(data: Value, start: Value, end: Value, limits: Limits) -> Value:
    """Return places out of a stored table, from and to numbers of stored tables."""
    (size,), (first,), (last,) = data.dims, start.numbers or ("",), end.numbers or ("",)
    fits = data.stored and data.kind == INT64 and isinstance(size, int) and size <= PLACES_PER_TOKEN * limits.tokens
    require(fits and _is_part(last) and (first == 0 or _is_part(first)), "places of another table")
    return Value(INT64, (last if first == 0 else f"{last} from {first}",))


PLACES_PER_TOKEN = 4
"""Places that blocks ask for and see, at most, for each token of the longest text."""


def _slice(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    """First rows of an axis: as many as there are tokens, or a stored number. Of a flat product with distances, all but
    as many as there are tokens."""
    data, start, end = values[:3]
    axis = axis_of(numbers_of(values[3], 1)[0], data.dims) if len(values) == 4 else 0
    if len(data.dims) == 1 and len(values) == 3 and end.numbers is not None and _is_part(end.numbers[0]):
        return [_slice_of_places(data, start, end, limits)]
    if start.numbers == (TOKENS,):
        require(data.dims[axis] == FLAT and numbers_of(end, 1)[0] >= TO_THE_END, "a slice from elsewhere")
        return [Value(data.kind, (*data.dims[:axis], SKEWED, *data.dims[axis + 1 :]))]
    require(numbers_of(start, 1) == (0,) and end.dims == (1,) and bool(data.dims), "a slice from elsewhere")
    wanted, size = (end.numbers or (0,))[0], data.dims[axis]
    if isinstance(wanted, str):
        enough = wanted == TOKENS and (size in (ONE_LESS, JOINED) or (isinstance(size, int) and size >= limits.tokens))
        require(enough, f"{shown((size,))} places for {limits.tokens} tokens")
        kept: int | str = wanted
    else:
        require(wanted > 0, f"a slice of {wanted}")
        kept = f"{size} up to {wanted}" if isinstance(size, str) else min(size, wanted)
    return [Value(data.kind, (*data.dims[:axis], kept, *data.dims[axis + 1 :]))]


def _unsqueeze(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    data, dims = values[0], list(values[0].dims)
    for axis in numbers_of(values[1]):
        require(0 <= axis <= len(dims), f"axis {axis} of shape {shown(data.dims)}")
        dims.insert(axis, 1)
    return [Value(data.kind, tuple(dims))]


def _reshape(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    """Axes behind the first two, which stay, joined or split, one of them by what is left for it."""
    data, shape = values
    wanted, old = shape.numbers or (), data.dims[2:]
    if wanted[:1] == (-1,) or wanted[1:2] == (-1,):
        return [_blocks(data, wanted)]
    require(len(data.dims) >= 2 and wanted[:2] == (0, 0) and shape.dims == (len(wanted),), "another reshape")
    new = wanted[2:]
    if (old, new) in _SKEWING:
        return [Value(data.kind, (*data.dims[:2], *_SKEWING[old, new]))]
    sizes, asked = ([size for size in sides if isinstance(size, int)] for sides in (old, new))
    whole, known = math.prod(sizes), math.prod(size for size in asked if size != -1)
    require(len(sizes) == len(old) and len(asked) == len(new) and asked.count(-1) < 2, f"{shown(old)} as {wanted}")
    require(min(asked, default=0) >= -1 and 0 not in asked and whole % known == 0, f"{shown(old)} as {wanted}")
    made = [whole // known if size == -1 else size for size in asked]
    require(math.prod(made) == whole, f"{shown(old)} as {wanted}")
    return [Value(data.kind, (*data.dims[:2], *made))]


def _blocks(data: Value, wanted: Sequence[int | str]) -> Value:
    """Return a text's places as blocks, or blocks as a text; the last axis, if there is one, stays."""
    rest = data.dims[2:]
    require(len(data.dims) in (2, 3) and tuple(wanted[2:]) == (0,) * len(rest), "another reshape")
    if wanted[0] == -1 and data.dims[0] == BATCH and _is_part(data.dims[1]) and _is_part(wanted[1]):
        return Value(data.kind, (BLOCKS, wanted[1], *rest))
    require(wanted[0] == BATCH and data.dims[0] == BLOCKS and _is_part(data.dims[1]), "another reshape")
    return Value(data.kind, (BATCH, JOINED, *rest))


_SKEWING: Mapping[tuple[Dims, Dims], Dims] = {
    ((TOKENS, TWICE), (-1,)): (FLAT,),
    ((SKEWED,), (TOKENS, -1)): (TOKENS, ONE_LESS),
}
"""Axes behind the first two, and what they are reshaped to -> the axes that they give."""

TO_THE_END = 1 << 62
"""End of a slice that goes on to the last place."""


def _transpose(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    (data,) = values
    order = node.attributes.get("perm", [])
    require(sorted(order) == list(range(len(data.dims))), f"order {order} of shape {shown(data.dims)}")
    return [Value(data.kind, tuple(data.dims[axis] for axis in order))]


def _split(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    """Halves or thirds of the last axis."""
    (data,) = values
    count = int(node.attributes.get("num_outputs", 0))
    require(node.attributes.get("axis") == -1 and count in (2, 3), "another split than into halves or thirds")
    size = _last(data)
    require(size % count == 0, f"{count} parts of shape {shown(data.dims)}")
    return [Value(data.kind, (*data.dims[:-1], size // count))] * count


def _concat(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    """Values side by side on their last axis: vectors, or halves of heads; whole numbers of one axis."""
    if {value.kind for value in values} == {INT64} and all(len(value.dims) == 1 for value in values):
        return _numbers_joined(node, values)
    axes = {len(value.dims) for value in values}
    require(node.attributes in ({"axis": 1}, {"axis": -1}) and len(axes) == 1, "another axis")
    last = axes.pop() - 1
    require(node.attributes["axis"] in (last, -1) and last >= 1, "an axis other than the last")
    rows = {value.dims[:-1] for value in values}
    require(len(rows) == 1, "rows of several counts")
    return [Value(same_float(values), (*rows.pop(), sum(map(_last, values))))]


def _numbers_joined(node: Node, values: Sequence[Value]) -> list[Value]:
    """Whole numbers one after another: those of a shape, or the places behind and before each token."""
    require(node.attributes == {"axis": 0}, "another axis")
    dims = [value.dims[0] for value in values]
    if dims == [TOKENS, TOKENS]:
        return [Value(INT64, (TWICE,))]
    require(all(value.numbers is not None for value in values), "numbers that are not known")
    numbers = tuple(number for value in values for number in value.numbers or ())
    return [Value(INT64, (len(numbers),), numbers)]


def _reduced(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    data, (axis,) = values[0], numbers_of(values[1], 1)
    place = axis_of(axis, data.dims)
    kept: Dims = (1,) if node.attributes.get("keepdims", 1) else ()
    require(values[1].dims == (1,), "axes of several dimensions")
    return [Value(same_float(values[:1]), data.dims[:place] + kept + data.dims[place + 1 :])]


def _running_sum(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    require(values[1].dims == (), "several axes")
    axis_of(numbers_of(values[1], 1)[0], values[0].dims)
    return [Value(same_float(values[:1]), values[0].dims)]


def _last(value: Value) -> int:
    """Return the size of the last axis; raise RefusedError unless it is a number."""
    size = value.dims[-1] if value.dims else ""
    require(isinstance(size, int), f"last axis of shape {shown(value.dims)}")
    return int(size)


def _norm(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    data, *parts = values
    require(node.attributes.get("axis", -1) == -1, "an axis other than the last")
    kind = same_float(values)
    for part in parts:
        has_shape(part, FLOATS, (_last(data),))
    return [Value(kind, data.dims)]


def _norm_of_sum(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    """Norm of a value, a skip and a bias, added up."""
    data, skip, *parts = values
    given = [part for part in parts if part is not ABSENT]
    kind = same_float([data, skip, *given])
    has_shape(skip, (kind,), data.dims)
    for part in given:
        has_shape(part, FLOATS, (_last(data),))
    return [Value(kind, data.dims)]


def _matmul(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    left, right = values
    fits = len(left.dims) >= 2 and len(right.dims) >= 2 and left.dims[-1] == right.dims[-2]
    # Right sides of fewer axes, of two or of heads, serve every text.
    alike = len(right.dims) <= len(left.dims) and right.dims[:-2] == left.dims[len(left.dims) - len(right.dims) : -2]
    require(fits and (alike or len(right.dims) == 2), f"product of {shown(left.dims)} and {shown(right.dims)}")
    return [Value(same_float(values), (*left.dims[:-1], right.dims[-1]))]


def _gemm(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    left, right = values[:2]
    fits = node.attributes.get("transB") == 1 and len(left.dims) == len(right.dims) == 2
    require(fits and left.dims[1] == right.dims[1], f"product of {shown(left.dims)} and {shown(right.dims)}")
    for bias in values[2:]:
        has_shape(bias, FLOATS, (right.dims[0],))
    return [Value(same_float(values), (left.dims[0], right.dims[0]))]


def _conv(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    """Depthwise convolution (batch, channels, tokens) that keeps the number of tokens."""
    data, filters, bias = values
    channels = data.dims[1] if len(data.dims) == 3 else ""
    size = filters.dims[2] if len(filters.dims) == 3 else 0
    require(isinstance(size, int) and size % 2 == 1, f"filters of shape {shown(filters.dims)}")
    half = int(size) // 2
    require(node.attributes == {"group": channels, "pads": [half, half]}, "another convolution than a depthwise one")
    has_shape(filters, FLOATS, (channels, 1, size))
    has_shape(bias, FLOATS, (channels,))
    return [Value(same_float(values), data.dims)]


def _attended(node: Node, data: Dims, weight: Value, mask: Value, kinds: Sequence[int], limits: Limits) -> Dims:
    """Return the shape of an attention's result, of whose inputs these are checked."""
    heads = node.attributes.get("num_heads", 0)
    require(len(data) == 3 and 0 < heads <= limits.heads, f"{heads} heads")
    has_shape(weight, kinds, (data[2], 3 * heads * limits.head_size))
    has_shape(mask, (INT32,), data[:2])
    return (*data[:2], heads * limits.head_size)


def _attention(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    data, weight, bias, mask = values
    dims = _attended(node, data.dims, weight, mask, FLOATS, limits)
    has_shape(bias, FLOATS, weight.dims[1:])
    return [Value(same_float([data, weight, bias]), dims)]


def _attention_int8(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    data, weight, bias, scale, scales, mask, zero, *zeros = values
    dims = _attended(node, data.dims, weight, mask, (INT8,), limits)
    has_shape(bias, (FLOAT,), weight.dims[1:])
    _quantized_input(data, scale, zero)
    _quantized_weight(weight, scales, zeros)
    return [Value(FLOAT, dims)]


def _heads_attention(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    """Attention of queries, keys and values (batch, tokens, heads * head_size)."""
    query, key, value, bias, mask, *added = values
    heads = node.attributes.get("num_heads", 0)
    require(len(query.dims) == 3 and 0 < heads <= limits.heads, f"{heads} heads")
    kind = same_float([query])
    require(query.dims[2] == heads * limits.head_size, f"shape {shown(query.dims)} of {heads} heads")
    seen = key.dims if query.dims[0] == BLOCKS and len(key.dims) == 3 else query.dims
    require(seen[::2] == query.dims[::2], f"keys of shape {shown(key.dims)}")
    for part in (key, value):
        has_shape(part, (kind,), seen)
    if bias is not ABSENT:
        has_shape(bias, (kind,), (3 * heads * limits.head_size,))
    has_shape(mask, (INT32,), seen[: len(mask.dims)] if mask.dims == (BATCH,) else seen[:2])
    for scores in added:
        one, own = scores.dims[1:2] == (1,), scores.dims[:1] == (BATCH,)
        has_shape(scores, (kind,), (BATCH if own else 1, 1 if one else heads, query.dims[1], seen[1]))
    return [Value(kind, query.dims)]


def _rotated(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    """Rotary positions of queries or keys, from the first on."""
    data, first, cosines, sines = values
    require(len(data.dims) == 3 and _last(data) % limits.head_size == 0, f"heads of shape {shown(data.dims)}")
    require(first.kind == INT64 and first.dims == (1,) and numbers_of(first) == (0,), "positions from elsewhere")
    for part in (cosines, sines):
        has_shape(part, (data.kind,), (data.dims[1], limits.head_size // 2))
    return [Value(same_float([data]), data.dims)]


def _fast_gelu(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    return _bias_gelu(node, values, limits) if len(values) > 1 else _function(node, values, limits)


def _quantized_input(data: Value, scale: Value, zero: Value) -> None:
    has_shape(data, (UINT8,), data.dims)
    has_shape(scale, (FLOAT,), ())
    has_shape(zero, (UINT8,), ())


def _quantized_weight(weight: Value, scales: Value, zeros: Sequence[Value]) -> None:
    """Raise RefusedError unless an int8 matrix (in, out) has a scale for each column, and a zero point if any."""
    if weight.kind != INT8 or len(weight.dims) != 2:
        raise RefusedError(f"weights of type {weight.kind}")
    has_shape(scales, (FLOAT,), weight.dims[1:])
    if zeros and zeros[0] is not ABSENT:
        has_shape(zeros[0], (INT8,), weight.dims[1:])


def _product_int8(data: Value, weight: Value, biases: Sequence[Value]) -> list[Value]:
    if len(data.dims) < 2 or data.dims[-1] != weight.dims[0]:
        raise RefusedError(f"{shown(data.dims)} by {shown(weight.dims)}")
    for bias in biases:
        has_shape(bias, (FLOAT,), weight.dims[1:])
    return [Value(FLOAT, (*data.dims[:-1], weight.dims[1]))]


def _matmul_int8(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    data, weight, scale, scales, zero = values[:5]
    _quantized_input(data, scale, zero)
    _quantized_weight(weight, scales, values[5:6])
    return _product_int8(data, weight, values[6:])


def _matmul_dynamic(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    data, weight, scales = values[:3]
    require(data.kind == FLOAT, f"type {data.kind}")
    _quantized_weight(weight, scales, values[3:4])
    return _product_int8(data, weight, values[4:])


def _quantize(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    require(values[0].kind == FLOAT, f"type {values[0].kind}")
    return [Value(UINT8, values[0].dims), Value(FLOAT, ()), Value(UINT8, ())]


def _bias_gelu(node: Node, values: Sequence[Value], limits: Limits) -> list[Value]:
    data, bias = values
    has_shape(bias, FLOATS, (_last(data),))
    return [Value(same_float(values), data.dims)]


_ANY = range(1, 1 << 16)
"""Numbers of inputs of an operator that takes any."""

OPERATORS: Mapping[str, Operator] = {
    "Identity": Operator(_same, (1,)),
    **{name: Operator(_function, (1,)) for name in ("Tanh", "Relu", "Sigmoid", "Erf", "Sqrt")},
    **{name: Operator(_function, (1,), {"alpha": float}) for name in ("LeakyRelu", "Elu")},
    "com.microsoft.Gelu": Operator(_function, (1,)),
    "com.microsoft.BiasGelu": Operator(_bias_gelu, (2,)),
    "com.microsoft.FastGelu": Operator(_fast_gelu, (1, 2)),
    "com.microsoft.QuickGelu": Operator(_function, (1,), {"alpha": float}),
    "Softmax": Operator(_softmax, (1,), {"axis": int}),
    **{name: Operator(_difference, (2,)) for name in ("Add", "Sub", "Mul", "Min")},
    "Div": Operator(_sum, (2,)),
    "Max": Operator(_difference, _ANY),
    "Sum": Operator(_sum, _ANY),
    **{name: Operator(_compared, (2,)) for name in ("Equal", "Greater")},
    "Where": Operator(_where, (3,)),
    "Cast": Operator(_cast, (1,), {"to": int}),
    "Shape": Operator(_shape, (1,), {"start": int, "end": int}),
    "Gather": Operator(_gather, (2,), {"axis": int}),
    "Slice": Operator(_slice, (3, 4)),
    "Unsqueeze": Operator(_unsqueeze, (2,)),
    "Reshape": Operator(_reshape, (2,)),
    "Transpose": Operator(_transpose, (1,), {"perm": list}),
    "Split": Operator(_split, (1,), {"axis": int, "num_outputs": int}, outputs=None),
    "Concat": Operator(_concat, _ANY, {"axis": int}),
    **{name: Operator(_reduced, (2,), {"keepdims": int}) for name in ("ReduceSum", "ReduceMax", "ReduceL2")},
    "CumSum": Operator(_running_sum, (2,)),
    "LayerNormalization": Operator(_norm, (2, 3), {"axis": int, "epsilon": float}),
    "com.microsoft.SkipLayerNormalization": Operator(_norm_of_sum, (3, 4, 5), {"epsilon": float}, optional=(3,)),
    "MatMul": Operator(_matmul, (2,)),
    "Gemm": Operator(_gemm, (2, 3), {"transB": int}),
    "Conv": Operator(_conv, (3,), {"group": int, "pads": list}),
    "com.microsoft.Attention": Operator(_attention, (4,), {"num_heads": int}),
    "com.microsoft.QAttention": Operator(_attention_int8, (7, 8), {"num_heads": int}),
    "com.microsoft.MultiHeadAttention": Operator(_heads_attention, (5, 6), {"num_heads": int}, optional=(3,)),
    "com.microsoft.RotaryEmbedding": Operator(_rotated, (4,)),
    "com.microsoft.MatMulIntegerToFloat": Operator(_matmul_int8, (5, 6, 7), optional=(5,)),
    "com.microsoft.DynamicQuantizeMatMul": Operator(_matmul_dynamic, (3, 4, 5), optional=(3,)),
    "DynamicQuantizeLinear": Operator(_quantize, (1,), outputs=3),
}
"""Operator, with its domain unless it is ONNX's own -> what it may be; `check` walks an `If` itself."""
