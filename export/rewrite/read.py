"""Reading of a bundle's graphs for rewriting: checked as a load checks them, whoever made the bundle."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import onnx

from gearshift.errors import GearshiftError, SchemaError, one_line
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.graph.check import check_graph


def read_graphs(bundle: Bundle) -> dict[str, onnx.ModelProto]:
    """Return name of the file -> graph of every precision, with its weights left on disk; raises SchemaError."""
    found = {}
    for precision in bundle.precisions:
        check_graph(bundle, precision)
        for name in sorted({entry.file for entry in bundle.pool(precision).values()}):
            with rewriting(bundle, name):
                found[name] = onnx.load(bundle.path / name, load_external_data=False)
    return found


@contextlib.contextmanager
def rewriting(bundle: Bundle, name: str) -> Iterator[None]:
    """Turn the errors of a `with` block, which rewrites graphs in the form of the exporter, into a SchemaError.

    A graph may pass every check and have another form: its switches are then not found, or not understood.
    """
    try:
        yield
    except (GearshiftError, OSError, MemoryError):
        raise
    except Exception as error:  # of onnx, protobuf and dictionaries of names, which share no base
        raise SchemaError(
            f"{bundle.path / name}: expected a graph in the form that `gearshift export` writes "
            f"({type(error).__name__}: {one_line(error)}); do not use this bundle, or export it again"
        ) from error
