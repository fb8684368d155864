"""A bundle in the form in which it is downloaded: weights without their zeros, all else deflated."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from gearshift.errors import ExportError
from gearshift.export.rewrite.weights_file import external_place, weights_location
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.bundle.compressed import Compressed, open_compressed, unpack, write_compressed
from gearshift.runtime.bundle.manifest import DAN_EXECUTOR, MANIFEST
from gearshift.runtime.files.atomic import replacing_directory
from gearshift.runtime.files.sparse_file import Extent
from gearshift.runtime.files.tensor_file import tensor_places

Place = tuple[int, int, int]
"""Where a tensor begins in a file, its bytes, and those of an item."""


def compress_bundle(bundle: Bundle, out: Path) -> Compressed:
    """Write a bundle compressed, whole or not at all; `out` may be its own directory, which is replaced.

    It is unpacked again for a check. Raises StorageError where `out` cannot be written.
    """
    cuts = {name: extents(places, bundle.manifest.files[name].bytes) for name, places in _places(bundle)}
    with replacing_directory(out, marker=MANIFEST) as fresh:
        write_compressed(bundle.path, bundle.manifest.files, fresh, cuts)
        compressed = open_compressed(fresh)
        _check(compressed, bundle)
    return dataclasses.replace(compressed, path=out)


def extents(places: list[Place], size: int) -> list[Extent]:
    """A file of that size cut at its tensors; padding goes with the tensor before it, all else is single bytes."""
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
    """Every file with tensors in it, and where they are."""
    for entry in {entry.file: entry for entry in bundle.manifest.pool}.values():
        if entry.executor == DAN_EXECUTOR:
            yield entry.file, tensor_places(bundle.path / entry.file)
            continue
        model = onnx.load(bundle.path / entry.file, load_external_data=False)
        tensors = [tensor for tensor in model.graph.initializer if tensor.data_location == TensorProto.EXTERNAL]
        yield weights_location(model), [(*external_place(tensor), _item_bytes(tensor)) for tensor in tensors]


def _item_bytes(tensor: TensorProto) -> int:
    return int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _check(compressed: Compressed, bundle: Bundle) -> None:
    """Unpack, and compare: what comes out must be the bundle."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "unpacked"
        unpack(compressed, target)
        if open_bundle(target).hash != bundle.hash:
            raise ExportError(f"{compressed.path}: unpacked, it is another bundle")
