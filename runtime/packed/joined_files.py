"""Files of a graph of joined weights, made of a bundle's graph: what packed weights are made of, and then deleted."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np

from gearshift.runtime.bundle.manifest import weights_of
from gearshift.runtime.graph.joined import Joined, join_options
from gearshift.runtime.graph.model import FLOAT, FLOAT16, INT8, INT64, Tensor, read_model
from gearshift.runtime.graph.quantize import Array
from gearshift.runtime.graph.segments import Segment, joined
from gearshift.runtime.graph.writer import write_model

ALIGNMENT = 64
EXTERNAL_FROM_BYTES = 256
"""Alignment of tensors in the weights file, and bytes from which one lies there, as in a bundle."""

_TYPES = {FLOAT: np.float32, FLOAT16: np.float16, INT8: np.int8, INT64: np.int64}
_KINDS = {np.dtype(kind): number for number, kind in _TYPES.items()}


@dataclass(frozen=True)
class JoinedFiles:
    """Graph whose segments are joined, before it is written."""

    source: Path
    """Graph of the bundle, which was checked."""
    tensors: Mapping[str, Tensor]
    """Name -> tensor of the bundle."""
    joined: Joined

    @classmethod
    def of(cls, source: Path) -> Self | None:
        """Read a graph and join it; None if it has no segments to join. Raises ValueError for one of another form."""
        model = read_model(source.read_bytes())
        found = join_options(model)
        return None if found is None else cls(source, {each.name: each for each in model.graph.tensors}, found)

    @property
    def bytes(self) -> int:
        """Most bytes of the weights file, but for padding: output matrices then have fewer scales."""
        pieces = [f"{run}{start}.{part}" for group, part in self.joined.weights.values() for run, start in group]
        kept = [tensor.name for tensor in self.joined.model.graph.tensors]
        return sum(self.tensors[name].bytes for name in [*pieces, *kept])

    def write(self, target: Path) -> Path:
        """Write the graph to `target`, and its weights beside it; return `target`."""
        location = weights_of(target).name
        with weights_of(self.source).open("rb") as source, weights_of(target).open("xb") as file:
            kept = [replace(each, content=_content(each, source)) for each in self.joined.model.graph.tensors]
            tensors = [_placed(file, location, each) for each in itertools.chain(kept, self._made(source))]
        model = replace(self.joined.model, graph=replace(self.joined.model.graph, tensors=tensors))
        target.write_bytes(write_model(model))
        return target

    def _made(self, source: BinaryIO) -> Iterator[Tensor]:
        """Yield the joined weights, one group after another, so that few are in memory at once."""
        for group, entries in itertools.groupby(self.joined.weights.items(), key=lambda entry: entry[1][0]):
            arrays = joined([self._arrays(segment, source) for segment in group])
            for name, (_, part) in entries:
                array = np.ascontiguousarray(arrays[part])
                yield Tensor(name, _KINDS[array.dtype], array.shape, array.tobytes(), {})

    def _arrays(self, segment: Segment, source: BinaryIO) -> dict[str, Array]:
        """Return part -> array of one segment."""
        stem = f"{segment[0]}{segment[1]}."
        return {
            name.removeprefix(stem): np.frombuffer(_content(each, source), _TYPES[each.kind]).reshape(each.dims)
            for name, each in self.tensors.items()
            if name.startswith(stem)
        }


def _content(tensor: Tensor, source: BinaryIO) -> bytes:
    """Return the bytes of a tensor, from its graph or from the weights file."""
    if tensor.content is not None:
        return tensor.content
    source.seek(int(tensor.place.get("offset", "0")))
    return source.read(tensor.bytes)


def _placed(file: BinaryIO, location: str, tensor: Tensor) -> Tensor:
    """Write the bytes of a tensor to a weights file, unless they are few; return the tensor with its place."""
    assert tensor.content is not None, "its bytes were read"
    if len(tensor.content) < EXTERNAL_FROM_BYTES:
        return replace(tensor, place={})
    file.write(b"\0" * (-file.tell() % ALIGNMENT))
    place = {"location": location, "offset": str(file.tell()), "length": str(len(tensor.content))}
    file.write(tensor.content)
    return replace(tensor, content=None, place=place)
