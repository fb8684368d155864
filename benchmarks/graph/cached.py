"""Graphs as the packed-weight cache makes and opens them; free of torch, so that memory can be measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.graph.sessions import our_options, our_session
from gearshift.runtime.inference.option_sessions import OptionSessions, option_paths
from gearshift.runtime.inference.providers import CPU
from gearshift.runtime.inference.session import save_packed
from gearshift.runtime.packed.joined_files import JoinedFiles
from gearshift.runtime.packed.making import GRAPH, JOINED
from gearshift.runtime.packed.option_files import write_options
from gearshift.runtime.space.space import Space


def cached_graph(folder: Path, graph: Path, space: Space, precision: str) -> Path:
    """Make the files that the packed-weight cache makes of a graph, in a new directory."""
    folder.mkdir()
    joined = JoinedFiles.of(graph) if precision in JOINED else None
    source = graph if joined is None else joined.write(folder / "joined.onnx")
    save_packed(source, folder / GRAPH, {})
    write_options(space, source, folder / GRAPH)
    return folder / GRAPH


def opened(path: Path) -> Any:
    """Open a graph, or the graphs of its options if there are any, as one thread does."""
    singles = len(option_paths(path))
    if not singles:
        return our_session(path)
    return OptionSessions(path, [[option] for option in range(singles)], our_options(), CPU)
