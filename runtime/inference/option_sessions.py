"""Sessions of single options over one file of packed weights, which run as one session that takes a choice.

A graph of switches evaluates the condition of every option at every call, some microseconds each: a fifth of a call of
the smallest subnet of a MiniLM-L6. A session for each option evaluates none. Their weights are mapped from the same
file, and they take the memory of a call from one arena, so that all together are as large as one.

To open a session takes as long as packing all weights that its option uses. The smallest is open first, and the others
may follow while it answers.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime as ort

from gearshift.errors import InputError
from gearshift.runtime.bundle.manifest import CHOICE, weights_of
from gearshift.runtime.inference.onnxruntime_calls import is_of_onnxruntime, open_session
from gearshift.runtime.inference.pages import Extent, drop, mapped_by_each

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

    `graph`: graph of all options, beside which theirs lie. `order`: all options, in groups that are opened together.
    `first`: open only the first group; each other is opened by `open_next`, or an option by the first call that needs
    it.
    Raises the errors of onnxruntime. One thread each: with more, every session would have threads of its own.
    """

    def __init__(
        self,
        graph: Path,
        order: Sequence[Sequence[int]],
        options: ort.SessionOptions,
        providers: Sequence[str],
        first: bool = False,
    ) -> None:
        _share_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
        self._graph, self._order, self._options, self._providers = graph, order, options, providers
        self._sessions: list[ort.InferenceSession | None] = [None] * sum(map(len, order))
        self._extents: frozenset[Extent] = frozenset()
        self._opening = threading.RLock()  # a signal handler may make a request during an opening
        self._open(order[:1] if first else order)

    @property
    def whole(self) -> bool:
        """Whether every option is open."""
        return None not in self._sessions

    def is_open(self, option: int) -> bool:
        """Return whether an option can run at once."""
        return self._sessions[option] is not None

    def open_next(self) -> bool:
        """Open the next options that are not open; return whether there were any."""
        left = [group for group in self._order if not all(map(self.is_open, group))]
        self._open(left[:1])
        return bool(left)

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Any], options: ort.RunOptions | None = None) -> list[Any]:
        """Run the option that the choice in `feeds` names; raise InputError if there is none."""
        chosen = feeds[CHOICE].tolist()
        if len(chosen) != 1 or not 0 <= chosen[0] < len(self._sessions):
            raise InputError(f"choice: expected a number from 0 to {len(self._sessions) - 1}, got {chosen}")
        rest = {name: array for name, array in feeds.items() if name != CHOICE}
        if not self.is_open(chosen[0]):
            self._open([chosen])
        found: list[Any] = self._session(chosen[0]).run(outputs, rest, options)
        return found

    def get_providers(self) -> list[str]:
        """Return the names of the providers, as a session does."""
        found: list[str] = self._session(self._order[0][0]).get_providers()
        return found

    def drop_pages(self) -> None:
        """Release the memory of the weights; a subnet's are read again when it runs."""
        drop(self._extents)

    def _session(self, option: int) -> ort.InferenceSession:
        session = self._sessions[option]
        assert session is not None, "it was opened"
        return session

    def _open(self, groups: Sequence[Sequence[int]]) -> None:
        """Open the options that are not open, and release after each group the pages that packing has read: those of
        all sessions together are several times the weights."""

        def keep(made: Mapping[int, ort.InferenceSession], extents: frozenset[Extent]) -> None:
            drop(extents)
            self._extents |= extents
            for option, session in made.items():
                self._sessions[option] = session

        with self._opening:  # onnxruntime opens sessions one after another
            missing = [group for group in groups if not all(map(self.is_open, group))]
            if missing:
                calls = [functools.partial(self._made, group) for group in missing]
                mapped_by_each(weights_of(self._graph), calls, keep)

    def _made(self, group: Sequence[int]) -> Mapping[int, ort.InferenceSession]:
        return {
            option: open_session(option_path(self._graph, option), self._options, self._providers)
            for option in group
            if not self.is_open(option)
        }


@functools.cache
def _share_arena() -> None:
    """Register the arena of the process that these sessions share; a program may have registered one."""
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    try:
        ort.create_and_register_allocator(memory, None)
    except Exception as error:
        if not is_of_onnxruntime(error):
            raise
