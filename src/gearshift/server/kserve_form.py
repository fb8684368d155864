"""The form of KServe's Open Inference Protocol, version 2: a tensor of texts, and tensors of answers.

One input, `text`, of BYTES: shape (n) or (n, 1) for texts, (n, 2) for pairs. Outputs are named after the fields of the
answers. An answer of words, entities or a span is JSON in one string, in the output `answer`. The binary extension of
other servers is not there.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gearshift.errors import InputError
from gearshift.number_checks import is_whole, shown
from gearshift.runtime.bundle.manifest import Manifest
from gearshift.runtime.inference.answers import plain_answer
from gearshift.server.asked import Asked, check_count, refuse_others, width_of

KNOWN = ("id", "parameters", "inputs", "outputs")
INPUT, BYTES = "text", "BYTES"

Column = tuple[str, Callable[[Any], Any]]
"""Datatype of an output, and the function that takes its values for one text from the answer."""

COLUMNS: Mapping[str, Mapping[str, Column]] = {
    "classification": {
        "label": (BYTES, lambda answer: answer.label),
        "score": ("FP64", lambda answer: answer.score),
        "scores": ("FP64", lambda answer: list(answer.scores.values())),
    },
    "multi-label-classification": {"scores": ("FP64", lambda answer: list(answer.scores.values()))},
    "regression": {"value": ("FP64", lambda answer: answer.value)},
    "embedding": {"vector": ("FP32", lambda answer: answer.vector.tolist())},
}
"""Task -> output -> column; tasks that are not here have the output `answer` alone."""

AS_JSON: Mapping[str, Column] = {"answer": (BYTES, lambda answer: json.dumps(plain_answer(answer), allow_nan=False))}


def columns_of(task: str) -> Mapping[str, Column]:
    """Return the outputs of a task."""
    return COLUMNS.get(task, AS_JSON)


def described(manifest: Manifest) -> dict[str, Any]:
    """Return the protocol's description of a model."""
    widths = {"scores": len(manifest.labels), "vector": width_of(manifest)}
    return {
        "name": manifest.name,
        "platform": "gearshift",
        "inputs": [{"name": INPUT, "datatype": BYTES, "shape": [-1]}],
        "outputs": [
            {"name": name, "datatype": datatype, "shape": [-1, widths[name]] if name in widths else [-1]}
            for name, (datatype, _) in columns_of(manifest.task).items()
        ],
    }


def read_kserve(fields: Mapping[str, Any], manifest: Manifest, most: int) -> Asked:
    """Read a body with one tensor of texts or pairs, and the outputs that are wanted; all by default."""
    refuse_others(fields, KNOWN)
    inputs = fields.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise InputError(f"inputs: expected a list of one tensor, got {shown(inputs)}")
    texts = _texts(inputs[0], most)
    columns = columns_of(manifest.task)
    names = _wanted(fields.get("outputs", [{"name": name} for name in columns]), tuple(columns))
    head = {"model_name": manifest.name}
    if isinstance(fields.get("id"), str):
        head["id"] = fields["id"]
    return Asked(
        texts,
        lambda answers: {**head, "outputs": [_tensor(name, *columns[name], answers) for name in names]},
    )


def _wanted(outputs: object, known: tuple[str, ...]) -> list[str]:
    """Return the names of the outputs that a request wants, each once."""
    given = outputs if isinstance(outputs, list) else []
    names = [one.get("name") if isinstance(one, dict) else None for one in given]
    found = [name for name in known if name in names]
    if not found or not all(name in known for name in names):
        raise InputError(f"outputs: expected objects with a name, of {', '.join(known)}, got {shown(outputs)}")
    return found


def _texts(tensor: Mapping[str, Any], most: int) -> list[Any]:
    """Return the texts or pairs of the input, whose data may be nested or flat."""
    if tensor.get("name") != INPUT or tensor.get("datatype") != BYTES:
        raise InputError(f"inputs: expected the name {INPUT} and the datatype {BYTES}, got {shown(dict(tensor))}")
    shape, data = tensor.get("shape"), tensor.get("data")
    if not isinstance(shape, list) or not all(is_whole(size, 0) for size in shape) or len(shape) not in (1, 2):
        raise InputError(f"inputs: expected the shape [n], [n, 1] or [n, 2], got {shown(shape)}")
    count, parts = shape[0], shape[1] if len(shape) == 2 else 1
    check_count(count, most)
    if not isinstance(data, list) or parts not in (1, 2):
        raise InputError(f"inputs: expected the shape [n], [n, 1] or [n, 2] with data, got {shown(dict(tensor))}")
    for row in data:
        if isinstance(row, list) and len(row) != parts:  # flattened, its strings would join those of another row
            strings = "string" if parts == 1 else "strings"
            raise InputError(
                f"inputs: expected {parts} {strings} in each row for the shape {shape}, got one of {len(row)}"
            )
    flat = list(itertools.chain.from_iterable(one if isinstance(one, list) else [one] for one in data))
    if len(flat) != count * parts:
        raise InputError(f"inputs: expected {count * parts} strings for the shape {shape}, got {len(flat)}")
    return flat if parts == 1 else list(zip(flat[::2], flat[1::2], strict=True))


def _tensor(name: str, datatype: str, value: Callable[[Any], Any], answers: Sequence[Any]) -> dict[str, Any]:
    rows = [value(answer) for answer in answers]
    wide = isinstance(rows[0], list)
    shape = [len(rows), len(rows[0])] if wide else [len(rows)]
    flat = list(itertools.chain.from_iterable(rows)) if wide else rows
    return {"name": name, "datatype": datatype, "shape": shape, "data": flat}
