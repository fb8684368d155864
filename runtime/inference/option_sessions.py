"""Sessions of single options over one file of packed weights, which run as one session that takes a choice.

A graph of switches evaluates the condition of every option at every call, some microseconds each: a fifth of a call of
the smallest subnet of a MiniLM-L6. A session for each option evaluates none. Their weights are mapped from the same
file, and they take the memory of a call from one arena, so that all together are as large as one.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime as ort

from gearshift.errors import InputError
from gearshift.runtime.bundle.manifest import CHOICE
from gearshift.runtime.inference.onnxruntime_calls import is_of_onnxruntime, open_session

MOST_OPTIONS = 32
"""Number of options from which a graph of switches is used: each session has its own copy of what is not a weight."""


def option_path(graph: Path, option: int) -> Path:
    """Return the file of an option's graph, beside the graph of all."""
    return graph.with_name(f"option-{option}.onnx")


def option_paths(graph: Path) -> list[Path]:
    """Return the files of the graphs of the options, in order; none if there are none."""
    paths = [option_path(graph, option) for option in range(MOST_OPTIONS)]
    return [path for path in paths if path.exists()]


class OptionSessions:
    """Sessions of the options of one stage, with the methods of a session of onnxruntime that are used here.

    Raises the errors of onnxruntime. One thread each: with more, every session would have threads of its own.
    """

    def __init__(self, paths: Sequence[Path], options: ort.SessionOptions, providers: Sequence[str]) -> None:
        _share_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
        self._sessions = [open_session(path, options, providers) for path in paths]

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Any], options: ort.RunOptions | None = None) -> list[Any]:
        """Run the option that the choice in `feeds` names; raise InputError if there is none."""
        chosen = feeds[CHOICE].tolist()
        if len(chosen) != 1 or not 0 <= chosen[0] < len(self._sessions):
            raise InputError(f"choice: expected a number from 0 to {len(self._sessions) - 1}, got {chosen}")
        rest = {name: array for name, array in feeds.items() if name != CHOICE}
        found: list[Any] = self._sessions[chosen[0]].run(outputs, rest, options)
        return found

    def get_providers(self) -> list[str]:
        """Return the names of the providers, as a session does."""
        found: list[str] = self._sessions[0].get_providers()
        return found


@functools.cache
def _share_arena() -> None:
    """Register the arena of the process that these sessions share; a program may have registered one."""
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    try:
        ort.create_and_register_allocator(memory, None)
    except Exception as error:
        if not is_of_onnxruntime(error):
            raise
