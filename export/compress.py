"""Compression of a bundle for download: weights without their zeros, all other files deflated."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path

from onnx import TensorProto, helper

from gearshift.errors import ExportError
from gearshift.export.rewrite.read import read_graphs
from gearshift.export.rewrite.weights_file import external_place, weights_location
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.bundle.compressed import Compressed, open_compressed, unpack, write_compressed
from gearshift.runtime.bundle.manifest import DAN_EXECUTOR, MANIFEST
from gearshift.runtime.files.atomic import replacing_directory
from gearshift.runtime.files.sparse_file import Extent
from gearshift.runtime.files.tensor_file import tensor_places

Place = tuple[int, int, int]
"""(start of a tensor in a file, its bytes, bytes of an item)."""


def compress_bundle(bundle: Bundle, out: Path) -> Compressed:
    """Write a bundle compressed, atomically; `out` may be its own directory, which is replaced.

    It is unpacked again as a check. Raises StorageError if `out` cannot be written.
    """
    cuts = {name: extents(places, bundle.manifest.files[name].bytes) for name, places in _places(bundle)}
    with replacing_directory(out, marker=MANIFEST) as fresh:
        write_compressed(bundle.path, bundle.manifest.files, fresh, cuts)
        compressed = open_compressed(fresh)
        _check(compressed, bundle)
    return dataclasses.replace(compressed, path=out)


def extents(places: list[Place], size: int) -> list[Extent]:
    """Cut a file of `size` bytes at its tensors; padding belongs to the tensor before it, other parts are bytes."""
    cut: list[Extent] = []
    end = 0
    ordered = sorted(places)
    following_starts = [*(place[0] for place in ordered), size][1:]
    for (start, length, item), following in zip(ordered, following_starts, strict=True):
        if start > end:
            cut.append(Extent(start - end, 1))
        end = following if (following - start) % item == 0 else start + length
        cut.append(Extent(end - start, item))
    return [*cut, Extent(size - end, 1)] if size > end else cut


def _places(bundle: Bundle) -> Iterator[tuple[str, list[Place]]]:
    """Yield every file with tensors, and the places of these."""
    graphs = read_graphs(bundle)
    for entry in {entry.file: entry for entry in bundle.manifest.pool}.values():
        if entry.executor == DAN_EXECUTOR:
            yield entry.file, tensor_places(bundle.path / entry.file)
            continue
        model = graphs[entry.file]
        tensors = [tensor for tensor in model.graph.initializer if tensor.data_location == TensorProto.EXTERNAL]
        yield weights_location(model), [(*external_place(tensor), _item_bytes(tensor)) for tensor in tensors]


def _item_bytes(tensor: TensorProto) -> int:
    return int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _check(compressed: Compressed, bundle: Bundle) -> None:
    """Unpack a bundle and compare the hash; raises ExportError if it differs."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "unpacked"
        unpack(compressed, target)
        if open_bundle(target).hash != bundle.hash:
            raise ExportError(f"{compressed.path}: expected the same bundle after unpacking, found another hash")
