"""Builder of an ONNX graph whose weights are all in the root graph, in one external file.

A `Scope` collects the nodes of the root graph, or of one branch of an `If`; a branch may read any value of the root.
Every weight is a root initializer, whichever scope uses it, and is stored once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from gearshift.export.graph.quantizer import Quantizer
from gearshift.export.graph.segments import Array

OPSET = 18
CONTRIB = "com.microsoft"
IR_VERSION = 10
"""ONNX operator set, domain of ONNX Runtime's own operators, and version of the file format.

IR version 10 is read by ONNX Runtime 1.18 and newer.
"""

ALIGNMENT = 64
"""Alignment of external tensors in bytes: a cache line, as the widest vector loads need."""

EXTERNAL_FROM_BYTES = 256
"""Size in bytes from which a tensor is external. Smaller ones, scalars and shapes, stay inside the graph file."""


class Scope:
    """Nodes of the root graph or of one branch, with names that are unique in the whole model."""

    def __init__(self, builder: GraphBuilder) -> None:
        self.builder = builder
        self.nodes: list[onnx.NodeProto] = []
        self.own: dict[str, Array] = {}
        """Tensors of a branch alone, which lie inside the graph's file."""

    def tensor(self, name: str, array: Array) -> str:
        """Store a small array that no other branch uses, and return its name.

        An `If` takes some time for each value of the root that its branches use, whether they run or not; a tensor of
        the branch itself costs nothing.
        """
        if self is self.builder.root:
            return self.builder.weight(name, array)
        self.own[name] = np.asarray(array, order="C")
        return name

    def node(
        self, operator: str, inputs: Sequence[str], *, outputs: int = 1, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Append a node and return the names of its outputs; an empty input name leaves out an optional input."""
        names = [self.builder.fresh(operator) for _ in range(outputs)]
        self.builder.uses(domain)
        self.nodes.append(helper.make_node(operator, list(inputs), names, domain=domain, **attributes))
        return names

    def named(self, operator: str, inputs: Sequence[str], name: str, *, domain: str = "", **attributes: Any) -> str:
        """Append a node whose only output has this name, and return it."""
        self.builder.uses(domain)
        self.nodes.append(helper.make_node(operator, list(inputs), [name], domain=domain, **attributes))
        return name

    def value(self, operator: str, inputs: Sequence[str], *, domain: str = "", **attributes: Any) -> str:
        """Append a node with one output and return its name."""
        return self.node(operator, inputs, domain=domain, **attributes)[0]


class GraphBuilder:
    """Builder of a model: collects root nodes, branches, inputs and weights, and writes them."""

    def __init__(self, quantizer: Quantizer | None = None) -> None:
        self.root = Scope(self)
        self.quantizer = quantizer or Quantizer()
        """Quantiser of the weights of int8 operators."""
        self._weights: dict[str, Array] = {}
        self._domains: set[str] = set()
        self._external: set[str] = set()
        self._counters: dict[str, int] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def fresh(self, stem: str) -> str:
        """Return a unique name for a value."""
        number = self._counters.get(stem, 0)
        self._counters[stem] = number + 1
        return f"{stem}_{number}"

    def uses(self, domain: str) -> None:
        """Record that a node is of this domain, which the model must then import."""
        self._domains.add(domain)

    def input(self, name: str, shape: Sequence[str | int], kind: int = TensorProto.INT64) -> str:
        """Declare an input of the model, by default int64."""
        self._inputs.append(helper.make_tensor_value_info(name, kind, list(shape)))
        return name

    def output(self, value: str, name: str, shape: Sequence[str | int]) -> None:
        """Declare a float32 output of the model under its public name."""
        self.root.nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))

    def weight(self, name: str, array: Array) -> str:
        """Store an array as a root initializer, once per name; later calls must pass the same array."""
        known = self._weights.get(name)
        if known is None:
            self._weights[name] = np.asarray(array, order="C")
        else:
            assert known.shape == array.shape, f"{name} is {known.shape}, and then {array.shape}"
        return name

    def external(self, name: str, array: Array) -> str:
        """Store an array as `weight` does, in the weights file however small it is: a session can then replace it."""
        self._external.add(name)
        return self.weight(name, array)

    def constant(self, name: str, values: int | list[int]) -> str:
        """Store small whole numbers, such as an index or a shape, as an int64 root initializer."""
        return self.weight(name, np.array(values, np.int64))

    def has_value(self, name: str) -> bool:
        """Return whether a node of the root graph gives a value of that name."""
        return any(name in node.output for node in self.root.nodes)

    def has_weight(self, name: str) -> bool:
        """Return whether a weight of that name is already stored."""
        return name in self._weights

    def switch(
        self, condition: str, then: Scope, result: str, otherwise: str, floats: type[np.floating] = np.float32
    ) -> str:
        """Append an `If` to the root graph: `result` of the branch `then`, or `otherwise` unchanged."""
        name = self.fresh("If")
        # A branch cannot return a value of the root itself, hence the Identity.
        passed = self.fresh("passed")
        identity = helper.make_node("Identity", [otherwise], [passed])
        self.root.nodes.append(
            helper.make_node(
                "If",
                [condition],
                [name],
                then_branch=helper.make_graph(
                    then.nodes,
                    f"{name}_then",
                    [],
                    [_branch_output(result, floats)],
                    [numpy_helper.from_array(array, tensor) for tensor, array in then.own.items()],
                ),
                else_branch=helper.make_graph([identity], f"{name}_else", [], [_branch_output(passed, floats)]),
            )
        )
        return name

    def save(self, path: Path) -> None:
        """Write the graph to `path`, and its weights beside it (`fp32.onnx`, `fp32.weights`)."""
        weights_name = path.with_suffix(".weights").name
        with path.with_name(weights_name).open("wb") as file:
            initializers = [self._store(file, weights_name, name, array) for name, array in self._weights.items()]
        graph = helper.make_graph(self.root.nodes, "gearshift", self._inputs, self._outputs, initializers)
        opsets = [helper.make_opsetid("", OPSET), *(helper.make_opsetid(d, 1) for d in sorted(self._domains - {""}))]
        model = helper.make_model(graph, producer_name="gearshift", opset_imports=opsets, ir_version=IR_VERSION)
        path.write_bytes(model.SerializeToString(deterministic=True))

    def _store(self, file: Any, location: str, name: str, array: Array) -> onnx.TensorProto:
        if array.nbytes < EXTERNAL_FROM_BYTES and name not in self._external:
            return numpy_helper.from_array(array, name)
        file.write(b"\0" * (-file.tell() % ALIGNMENT))
        tensor = TensorProto(name=name, data_type=helper.np_dtype_to_tensor_dtype(array.dtype), dims=array.shape)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", file.tell()), ("length", array.nbytes)):
            tensor.external_data.add(key=key, value=str(value))
        file.write(array.tobytes())
        return tensor


def _branch_output(name: str, floats: type[np.floating]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(floats)), None)
