"""The weights file beside a graph: the place and values of each tensor, and writing it anew for a changed graph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto, numpy_helper

from gearshift.errors import BundleError
from gearshift.export.graph.builder import ALIGNMENT, EXTERNAL_FROM_BYTES
from gearshift.export.graph.segments import Array


@dataclass(frozen=True)
class Piece:
    """Place of a tensor's bytes in the new file, and their content or source."""

    offset: int
    length: int
    content: bytes | int
    """The bytes themselves, or their offset in the old file."""


@dataclass(frozen=True)
class LaidOut:
    """A graph whose tensors have their places in a new weights file."""

    model: onnx.ModelProto
    location: str
    """Name of the weights file, old and new."""
    pieces: tuple[Piece, ...]

    def sizes(self, name: str) -> dict[str, int]:
        """Return the bytes of the graph's file, which will have that name, and of the weights file."""
        end = max((piece.offset + piece.length for piece in self.pieces), default=0)
        return {name: self.model.ByteSize(), self.location: end}

    def write(self, path: Path, old: Path) -> None:
        """Write the graph to `path`, and its weights beside it, taken from the weights file in the directory `old`."""
        with (old / self.location).open("rb") as source, path.with_name(self.location).open("wb") as target:
            for piece in self.pieces:
                target.write(b"\0" * (piece.offset - target.tell()))
                if isinstance(piece.content, bytes):
                    target.write(piece.content)
                else:
                    source.seek(piece.content)
                    target.write(source.read(piece.length))
        path.write_bytes(self.model.SerializeToString(deterministic=True))


def lay_out(model: onnx.ModelProto) -> LaidOut:
    """Assign places to the tensors of a changed graph, in order and aligned; the given model stays unchanged."""
    moved = onnx.ModelProto()
    moved.CopyFrom(model)
    location = weights_location(model)
    pieces: list[Piece] = []
    end = 0
    for tensor in moved.graph.initializer:
        if tensor.data_location != TensorProto.EXTERNAL and len(tensor.raw_data) < EXTERNAL_FROM_BYTES:
            continue
        start = end + -end % ALIGNMENT
        piece = _piece(tensor, start)
        _place(tensor, location, start, piece.length)
        pieces.append(piece)
        end = start + piece.length
    return LaidOut(moved, location, tuple(pieces))


def weights_location(model: onnx.ModelProto) -> str:
    """Return the name of the file that holds the tensors of a graph; raise BundleError unless it is exactly one."""
    found = sorted({_entry(tensor, "location") for tensor in model.graph.initializer if tensor.external_data})
    if len(found) != 1:
        raise BundleError(f"expected a graph with its weights in one file, found {found}; export the bundle again")
    return found[0]


def external_place(tensor: TensorProto) -> tuple[int, int]:
    """Return the offset of a tensor in its weights file, and its bytes."""
    return int(_entry(tensor, "offset")), int(_entry(tensor, "length"))


def read_tensor(tensor: TensorProto, directory: Path) -> Array:
    """Return the values of a tensor of a graph in a directory.

    Read here and not by onnx, which refuses files that are links: in a cache of the hub they are, and were checked.
    """
    if tensor.data_location == TensorProto.EXTERNAL:
        offset, length = external_place(tensor)
        with (directory / _entry(tensor, "location")).open("rb") as file:
            file.seek(offset)
            content = file.read(length)
        tensor = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, raw_data=content)
    values: Array = numpy_helper.to_array(tensor)
    return values


def _piece(tensor: TensorProto, start: int) -> Piece:
    if tensor.data_location == TensorProto.EXTERNAL:
        offset, length = external_place(tensor)
        return Piece(start, length, offset)
    return Piece(start, len(tensor.raw_data), tensor.raw_data)


def _place(tensor: TensorProto, location: str, offset: int, length: int) -> None:
    tensor.ClearField("raw_data")
    del tensor.external_data[:]
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))


def _entry(tensor: TensorProto, key: str) -> str:
    return next(str(entry.value) for entry in tensor.external_data if entry.key == key)
