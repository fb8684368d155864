"""Check of a bundle's graph, before onnxruntime sees the file.

What a graph may hold follows from the manifest: operators of the exporter's, in the root graph or in a branch of an
`If` there; types and shapes that fit, no larger than the space asks for; weights in files that the manifest lists,
within their sizes. So no graph can make the library allocate what its files do not hold, and none reaches a kernel with
inputs that it was not made for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from gearshift.errors import SchemaError, first_line
from gearshift.json_reader import read_limited
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.bundle.manifest import CHOICE, FileEntry, Manifest
from gearshift.runtime.bundle.tasks import TASKS
from gearshift.runtime.graph.image_check import block_value, image_dims, image_inputs, image_limits
from gearshift.runtime.graph.image_operators import BLOCK, NCHWC
from gearshift.runtime.graph.model import BOOL, FLOAT, INT64, Declared, Dims, Graph, Node, Tensor, read_model
from gearshift.runtime.graph.operators import results
from gearshift.runtime.graph.values import ABSENT, BATCH, TOKENS, Limits, RefusedError, Value, require, shown
from gearshift.runtime.space.blocks import Block, BlockShape
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import Space

IR_VERSIONS = (10,)
OPSETS = {"": (18,), "com.microsoft": (1,), NCHWC: (1,)}
"""Versions of the file format and of the sets of operators that the exporter writes."""

ORT_SUFFIX = ".ort"
"""Ending of a graph in ORT format: `gearshift embed` writes such, and nothing here can check what is in one."""

MOST_BYTES = 256 << 20
"""Bytes of the largest graph; its weights lie beside it. 200 subnets of 24 layers have some 60 MB."""

MOST_NODES = 100_000
"""Nodes of the largest graph, whatever its space: the library takes a second for every 10,000."""

NODES_PER_SEGMENT = 64
"""Nodes of a segment of heads or neurons, or of a step around them, at most: attention in standard operators has 51
with rotary positions and windows in blocks."""

NODES_BESIDE = 128
"""Nodes of the embeddings or of a head, at most: every option of the last stage has a head."""

MOST_PER_TEXT = 1 << 18
"""Numbers of a vector, or of labels, in an answer for a text."""

NUMBERS_UP_TO = 128
"""Whole numbers in the longest stored shape, or list of axes or heads."""


def check_graph(bundle: Bundle, precision: str) -> None:
    """Read the graph of a precision and check all that it holds, unless it passed before; raise SchemaError.

    The graph's files have been compared with the manifest already (`Bundle.check_graph_files`).
    """
    check = f"{precision} graph"
    if bundle.passed(check):
        return
    for name in sorted({entry.file for entry in bundle.pool(precision).values()}):
        if name.endswith(ORT_SUFFIX):
            raise SchemaError(
                f"{bundle.path / name}: expected an ONNX graph, found one in ORT format, which is for clients in other "
                "languages; open the bundle that this folder was made of"
            )
        try:
            content = read_limited(bundle.path / name, most=MOST_BYTES)
            check_content(content, bundle.manifest, bundle.graph_files(precision))
        except (ValueError, OSError) as error:
            raise SchemaError(
                f"{bundle.path / name}: expected a graph as `gearshift export` writes it, found {first_line(error)}; "
                "do not use this bundle, or install a newer gearshift if it was exported with one"
            ) from error
    bundle.remember(check)


def check_content(content: bytes, manifest: Manifest, files: Mapping[str, FileEntry]) -> None:
    """Check the content of a graph's file; raise ValueError, which says what was found.

    `files`: those that its weights may lie in, which were compared with the manifest.
    """
    model = read_model(content)
    require(model.ir_version in IR_VERSIONS, f"version {model.ir_version} of the file format")
    for domain, version in model.opsets.items():
        require(version in OPSETS.get(domain, ()), f"version {version} of the operators {domain or 'ai.onnx'}")
    images = manifest.images
    limits = limits_of(manifest) if images is None else image_limits(manifest, images)
    graph = model.graph
    require(_count(graph) <= limits.nodes, f"{_count(graph)} nodes, where its space asks for {limits.nodes} at most")
    _check_places(graph.tensors, files)
    values = _given(graph, manifest)
    walk(graph.nodes, values, limits)
    _check_outputs(graph, values, manifest)


def limits_of(manifest: Manifest) -> Limits:
    """Return the sizes that follow from a manifest's space and task."""
    space, known = manifest.space, [head for head in manifest.every_head if head.task in TASKS]
    shape, layers = space.shape, list(_layers(space))
    parts = [part for layer in layers for part in shape.layer_parts(layer)]
    heads = max((part.attended // shape.head_size for part in parts), default=0)
    if isinstance(shape, EncoderShape) and shape.relative_buckets:  # biases of all heads, of which segments take theirs
        heads = shape.heads
    outputs = max((len(head.labels) for head in known if head.form.per_token), default=0)
    widths = [size for part in parts for pair in part.matrices for size in pair]
    joints = [size for layer in layers for pair in shape.joints([shape.width(layer)]) for size in pair]
    widest = max([shape.embedding_width, outputs, *widths, *joints])
    return Limits(
        per_token=max(widest, 3 * heads * shape.head_size),
        per_text=max(MOST_PER_TEXT, widest),
        heads=heads,
        head_size=shape.head_size,
        tokens=manifest.max_length,
        nodes=min(MOST_NODES, _most_nodes(space) + NODES_BESIDE * len(manifest.heads)),
    )


def _layers(space: Space[Any, Any]) -> Iterable[Any]:
    return {layer for stage in space.stages for option in stage.options for layer in option.layers}


def _most_nodes(space: Space[Any, Any]) -> int:
    """Return the nodes that the options of a space need at most: each layer of each option with all its segments."""
    total = NODES_BESIDE
    for stage in space.stages:
        cuts = [_segments(space, stage.first + place) for place in range(stage.length)]
        total += len(stage.options) * (NODES_BESIDE + NODES_PER_SEGMENT * sum(cuts))
    return total


def _segments(space: Space[Any, Any], layer: int) -> int:
    """Return the number of segments and steps of a layer."""
    if isinstance(space.shape, BlockShape):
        blocks: list[Block] = list(space.options_of(layer))
        return 2 + max(len(block.operations) for block in blocks)
    return 2 + len(space.head_cuts(layer)) + len(space.neuron_cuts(layer))


def _count(graph: Graph) -> int:
    return len(graph.nodes) + sum(len(branch.nodes) for node in graph.nodes for branch in _branches(node))


def _branches(node: Node) -> list[Graph]:
    return [value for value in node.attributes.values() if isinstance(value, Graph)]


def _check_places(tensors: Sequence[Tensor], files: Mapping[str, FileEntry]) -> None:
    """Raise RefusedError unless all weights lie in these files, each in bytes of its own."""
    taken: dict[str, list[tuple[int, int]]] = {}
    for tensor in tensors:
        if tensor.content is not None:
            continue
        if tensor.place.keys() != {"location", "offset", "length"}:
            raise RefusedError(f"{tensor.name!r} without a place in a file")
        name = tensor.place["location"]
        if name not in files:
            raise RefusedError(f"weights in {name!r}, which the manifest does not list for it")
        start, length = (_whole(tensor.place[key]) for key in ("offset", "length"))
        size = files[name].bytes
        if length != tensor.bytes or start + length > size:
            raise RefusedError(f"{tensor.name!r} beyond {name}, or of another size")
        taken.setdefault(name, []).append((start, length))
    for name, places in taken.items():
        behind = 0
        for start, length in sorted(places):
            require(start >= behind, f"weights on top of one another in {name}")
            behind = start + length


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 19:
        raise RefusedError(f"a place {text[:40]!r}")
    return int(text)


def _given(graph: Graph, manifest: Manifest) -> dict[str, Value]:
    """Return name -> value of inputs and tensors."""
    values = _inputs(graph, manifest) if manifest.images is None else image_inputs(graph, manifest, manifest.images)
    for tensor in graph.tensors:
        value = Value(tensor.kind, tensor.dims, _numbers(tensor), stored=True)
        if manifest.images is not None and tensor.name == BLOCK and (value.kind, value.dims) == (INT64, (1,)):
            value = block_value()
        _add(values, tensor.name, value)
    return values


def _inputs(graph: Graph, manifest: Manifest) -> dict[str, Value]:
    """Return name -> value of the inputs of a graph of texts."""
    wanted: dict[str, Dims] = dict.fromkeys(manifest.inputs, (BATCH, TOKENS))
    wanted[CHOICE] = (len(manifest.space.stages),)
    found = {each.name: each.dims for each in graph.inputs if each.kind == INT64}
    require(found == wanted and len(graph.inputs) == len(wanted), f"inputs {sorted(found)}, not those of the manifest")
    return {name: Value(INT64, dims) for name, dims in wanted.items()}


def _numbers(tensor: Tensor) -> tuple[int, ...] | None:
    """Return the whole numbers of a short tensor inside the graph."""
    if tensor.kind != INT64 or tensor.content is None or len(tensor.content) > 8 * NUMBERS_UP_TO:
        return None
    content = tensor.content
    return tuple(int.from_bytes(content[at : at + 8], "little", signed=True) for at in range(0, len(content), 8))


def _add(values: dict[str, Value], name: str, value: Value, others: Collection[str] = ()) -> None:
    if not name or name in values or name in others:
        raise RefusedError(f"a value {name[:40]!r} twice, or without a name")
    values[name] = value


def walk(
    nodes: Sequence[Node], values: dict[str, Value], limits: Limits, outer: Mapping[str, Value] | None = None
) -> None:
    """Add what nodes give to the values of their scope; raise RefusedError, which names the node.

    `outer`: values of the root graph, if the nodes are those of a branch.
    """
    seen = outer or {}
    for node in nodes:
        try:
            given = [_known(name, values, seen) if name else ABSENT for name in node.inputs]
            if node.operator == "If" and outer is None:
                made = [_switched(node, given, values, limits)]
            else:
                made = results(node, given, limits)
            for name, value in zip(node.outputs, made, strict=True):
                _add(values, name, value, seen)
        except RefusedError as error:
            raise RefusedError(f"{node.operator[:40]} {' '.join(node.outputs)[:40]}: {error}") from error


def _known(name: str, values: Mapping[str, Value], outer: Mapping[str, Value]) -> Value:
    value = values.get(name) or outer.get(name)
    if value is None:
        raise RefusedError(f"an input {name[:40]!r} that nothing gave before")
    return value


def _switched(node: Node, given: Sequence[Value], values: Mapping[str, Value], limits: Limits) -> Value:
    """Return what an `If` gives, of whose branches everything is checked."""
    names = ("then_branch", "else_branch")
    branches = [node.attributes.get(name) for name in names]
    require(set(node.attributes) == set(names) and len(node.outputs) == 1, "other branches than then and else")
    require([(each.kind, each.dims) for each in given] == [(BOOL, ())], "a condition that is no single truth value")
    found = [_result(branch, values, limits) for branch in branches if isinstance(branch, Graph)]
    require(len(found) == len(names) and len({value.kind for value in found}) == 1, "branches of different types")
    then, otherwise = found
    # No option at all gives the answer's axes with a single NaN.
    alike = otherwise.dims in (then.dims, (1,) * len(then.dims))
    require(alike, f"branches of shapes {shown(then.dims)} and {shown(otherwise.dims)}")
    return Value(then.kind, then.dims)


def _result(branch: Graph, outer: Mapping[str, Value], limits: Limits) -> Value:
    """Walk a branch and return its only output."""
    own: dict[str, Value] = {}
    require(not branch.tensors or limits.operators is not None, "weights in a branch")
    for tensor in branch.tensors:
        require(tensor.content is not None and tensor.kind == FLOAT, f"{tensor.name[:40]!r} in a branch")
        _add(own, tensor.name, Value(tensor.kind, tensor.dims, stored=True), outer)
    walk(branch.nodes, own, limits, outer)
    require(len(branch.outputs) == 1, f"a branch of {len(branch.outputs)} outputs")
    return _returned(branch.outputs[0], own)


def _returned(declared: Declared, values: Mapping[str, Value]) -> Value:
    """Return the value of an output, which must be of the type and shape that the graph declares."""
    value = values.get(declared.name)
    if value is None:
        raise RefusedError(f"an output {declared.name[:40]!r} that nothing gives")
    alike = value.kind == declared.kind and declared.dims in (None, value.dims)
    require(alike, f"an output {declared.name[:40]!r} of another type or shape than declared")
    return value


def _check_outputs(graph: Graph, values: Mapping[str, Value], manifest: Manifest) -> None:
    """Raise RefusedError unless the graph gives one answer of each head, in the form of its task."""
    heads = manifest.every_head
    require(len(graph.outputs) == len(heads), f"{len(graph.outputs)} outputs")
    width = None if manifest.vectors is None else manifest.vectors.width
    for output, head in zip(graph.outputs, heads, strict=True):
        value, task = _returned(output, values), TASKS.get(head.task)
        if task is None:  # the session refuses it, with advice
            continue
        count = len(head.labels) if task.labelled else task.outputs or width
        rows: Dims = (BATCH, TOKENS) if task.per_token else (BATCH,)
        fits = value.dims[:-1] == rows and (count is None or value.dims[-1] == count)
        if task.makes_images and manifest.images is not None:
            fits = value.dims == image_dims(manifest.images)
        fits = fits and value.kind == FLOAT and output.name == head.output
        require(fits, f"an output {output.name[:40]!r} of shape {shown(value.dims)}, which is not that of {head.task}")
