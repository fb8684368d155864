"""The weights file beside a graph: where each tensor lies, and writing it anew for a changed graph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto

from gearshift.errors import BundleError
from gearshift.export.graph.builder import ALIGNMENT, EXTERNAL_FROM_BYTES


@dataclass(frozen=True)
class Piece:
    """Bytes of one tensor: where they go, and what they are or where they are read."""

    offset: int
    length: int
    content: bytes | int
    """The bytes themselves, or where they begin in the old file."""


@dataclass(frozen=True)
class LaidOut:
    """A graph whose tensors have their places in a new weights file."""

    model: onnx.ModelProto
    location: str
    """Name of the weights file, old and new."""
    pieces: tuple[Piece, ...]

    def sizes(self, name: str) -> dict[str, int]:
        """Bytes of the graph's file, which will have that name, and of the weights file."""
        end = max((piece.offset + piece.length for piece in self.pieces), default=0)
        return {name: self.model.ByteSize(), self.location: end}

    def write(self, path: Path, old: Path) -> None:
        """Write the graph to `path`, and beside it the weights, out of the weights file in the directory `old`."""
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
    """Give the tensors of a changed graph their places, in order and aligned; the given model stays as it is."""
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
    """Name of the file that holds the tensors of a graph; raises BundleError where that is not one file."""
    found = sorted({_entry(tensor, "location") for tensor in model.graph.initializer if tensor.external_data})
    if len(found) != 1:
        raise BundleError(f"expected a graph with its weights in one file, found {found}; export the bundle again")
    return found[0]


def external_place(tensor: TensorProto) -> tuple[int, int]:
    """Where a tensor begins in its weights file, and its bytes."""
    return int(_entry(tensor, "offset")), int(_entry(tensor, "length"))


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
