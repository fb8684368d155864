"""Second step of an export: write one graph per precision into the directory of the bundle."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gearshift.export.checks.guard import check_packed
from gearshift.export.graph.convolutional import write_convolutional_graph
from gearshift.export.graph.elastic import write_elastic_graph
from gearshift.export.prepare import Prepared
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.bundle.manifest import CPU_PRECISIONS
from gearshift.trainer.vision.elastic import ConvolutionalNet

Progress = Callable[[str, int, int], None]
"""Callback with the current work, and the number of its parts done and in all."""


@dataclass(frozen=True)
class Graphs:
    """Graphs on disk; all their large weights are packed."""

    bundle: Bundle
    """Directory of the graphs, with the draft of its manifest."""
    packed: Mapping[str, int]
    """Precision -> number of packed large weights; at fp16, on a GPU, nothing is packed."""
    wide: frozenset[int] = frozenset()
    """Layers that the int8 graph computes in fp32."""


def write(prepared: Prepared, folder: Path, progress: Progress) -> Graphs:
    """Write the graph of every precision; raises ExportError if a large weight is not packed."""
    packed, precisions = {}, prepared.precisions
    for index, precision in enumerate(precisions):
        progress("graphs", index, len(precisions))
        path = write_graph(prepared, folder, precision)
        if precision in CPU_PRECISIONS:
            packed[precision] = check_packed(path)
    progress("graphs", len(precisions), len(precisions))
    return Graphs(Bundle(folder, prepared.draft, hash="", known=True), packed)


def rewrite_int8(prepared: Prepared, graphs: Graphs, wide: frozenset[int]) -> Graphs:
    """Write the int8 graph again with some layers in fp32."""
    count = check_packed(write_graph(prepared, graphs.bundle.path, "int8", wide))
    return dataclasses.replace(graphs, packed={**graphs.packed, "int8": count}, wide=wide)


def write_graph(prepared: Prepared, folder: Path, precision: str, wide: frozenset[int] = frozenset()) -> Path:
    """Write the graph of one precision, and its weights beside it."""
    model, path = prepared.model, folder / f"{precision}.onnx"
    if isinstance(model, ConvolutionalNet):
        write_convolutional_graph(path, model, list(prepared.run.subnets.values()), prepared.operators)
        return path
    write_elastic_graph(
        path,
        {name: tensor.numpy() for name, tensor in model.state_dict().items()},
        prepared.draft.space,
        precision=precision,
        norm_eps=model.norm_eps,
        head=model.head,
        operators=prepared.operators,
        wide=wide,
        longest=prepared.draft.max_length,
        quantizer=prepared.quantizer,
    )
    return path
