"""ONNX Runtime session over one elastic graph."""

from __future__ import annotations

import ctypes
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from gearshift.errors import BundleError, EngineClosedError, InputError, SchemaError, one_line
from gearshift.number_checks import is_whole, shown
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.bundle.manifest import weights_of
from gearshift.runtime.inference.onnxruntime_calls import call_options, is_of_onnxruntime, open_session
from gearshift.runtime.inference.option_sessions import OptionSessions, option_paths
from gearshift.runtime.inference.pages import Extent, drop, mapped_by, resident_bytes
from gearshift.runtime.inference.providers import CPU, check_kernels, check_providers, check_started
from gearshift.runtime.inference.text import Encoded
from gearshift.runtime.native_calls import NATIVE_CALLS
from gearshift.versions import release_numbers

Outputs = Sequence[Any]
"""Output of each text, in the order of the texts: an array, or for several heads a tuple with one of each."""

OPTIMIZATION_KEY = "graph_optimization_level"
"""Key of the only entry of the manifest's session options that is not a configuration entry of ONNX Runtime."""

OPTIMIZATION_LEVELS = {
    "disable": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}

PACKED_FROM_BYTES = 1024
"""Least bytes of a weight that goes to the file of packed weights; smaller ones stay inside the graph."""

READ_BYTES = 1 << 27
"""Bytes of weights that may be read for options that are opened together, before their pages are released."""

ITEM_BYTES = {"int8": 1, "fp16": 2}
"""Precision -> bytes of a weight, where that is not 4."""

MOST_THREADS = 1024
"""Largest number of threads: onnxruntime starts as many as it is told to, and a million take the machine down."""

ERRORS_ONLY = 3
"""Severity of ONNX Runtime's own log: 3 is errors."""

CLOSED = "the engine was closed while this request ran"


class ElasticSession:
    """Loaded elastic graph: `run` takes a choice with every call, so that switching subnets loads nothing.

    `graph`: file to load in place of the bundle's own, with the same graph and packed weights (`packed`); where it has
    graphs of single options beside it, and one thread, those.
    `first`: open only the smallest subnet's of these; each other is opened by its first call, or by `open_next`.
    `trace`: directory for the times of single operators, which slow down every call; `end_trace` closes their file.
    Raises BundleError if the graph cannot be loaded or holds what none of ours does (`check_graph`), SchemaError if
    this onnxruntime is too old.
    """

    def __init__(
        self,
        bundle: Bundle,
        precision: str,
        *,
        threads: int,
        providers: Sequence[str] = CPU,
        graph: Path | None = None,
        first: bool = False,
        trace: Path | None = None,
    ) -> None:
        files = {entry.file for entry in bundle.pool(precision).values()}
        if len(files) != 1:
            raise SchemaError(f"{bundle.path}: expected one {precision} graph, found {sorted(files)}; export again")
        _check_version(bundle.manifest.minimum_onnxruntime)
        path = bundle.path / files.pop() if graph is None else graph
        options = session_options(bundle.manifest.session_options, threads, trace=trace)
        check_providers(providers)
        check_kernels(precision, providers)
        if bundle.manifest.blocked:
            from gearshift.runtime.inference.blocked import set_block  # of images alone

            set_block(options, bundle.path)
        if graph is None:  # what is packed was made from a graph that passed
            bundle.check_graph_files([precision])
            from gearshift.runtime.graph.check import check_graph  # a start from packed weights needs none of it

            check_graph(bundle, precision)
        try:
            if graph is None:
                session, extents = open_session(path, options, providers), frozenset[Extent]()
            else:
                singles = option_paths(path) if threads == 1 and trace is None else []
                if singles:
                    order = _by_size(bundle, precision, len(singles))
                    session, extents = OptionSessions(path, order, options, providers, first), frozenset[Extent]()
                else:
                    session, extents = mapped_by(weights_of(path), partial(open_session, path, options, providers))
                    drop(extents)  # packing has read all of the file; a subnet's weights are read again when it runs
        except Exception as error:
            if not is_of_onnxruntime(error):
                raise
            told = f"onnxruntime {ort.__version__} cannot load it ({one_line(error)}){_advice(path, error)}"
            raise BundleError(f"{path}: {told}") from error
        check_started(session, providers)
        _return_free_memory()
        self.path = path
        self._packed = graph is not None
        self._extents = extents
        self.heads = bundle.manifest.every_head
        """Heads of the model, in the order of the graph's outputs."""
        self._outputs = [head.output for head in self.heads]
        self.precision = precision
        self.threads = threads
        self.provider: str = session.get_providers()[0]
        self._session = session
        self._to_end: list[Callable[[], None]] = []
        self._refusal: str | None = None
        self._plain = call_options()
        NATIVE_CALLS.end_with_program(self._end_with_program)

    def run(
        self,
        inputs: Mapping[str, NDArray[Any]],
        choice: Sequence[int] | NDArray[np.int64],
        options: ort.RunOptions | None = None,
    ) -> NDArray[np.float32]:
        """Run the subnet of `choice` on inputs int64 (batch, tokens), or images float32; return the output of its only
        head.

        The output is logits (batch, labels), or (batch, tokens, labels) for a task per token, or for `embedding` rows
        (batch, width). Raises as `run_heads` does.
        """
        (answer,) = self.run_heads(inputs, choice, options)
        return answer

    def run_heads(
        self,
        inputs: Mapping[str, NDArray[Any]],
        choice: Sequence[int] | NDArray[np.int64],
        options: ort.RunOptions | None = None,
    ) -> tuple[NDArray[np.float32], ...]:
        """Run the subnet of `choice`, as `run` does; return the output of each head.

        `options.terminate` ends the call from another thread, with BundleError.
        Safe for several threads at once; the interpreter lock is free during the computation.
        Raises BundleError of one line if onnxruntime fails, EngineClosedError after `close`.
        """
        session = self._session
        if session is None:
            raise EngineClosedError(CLOSED) if self._refusal is None else BundleError(self._refusal)
        given = self._plain if options is None else options
        feeds = {**inputs, "choice": np.asarray(choice, dtype=np.int64)}
        try:
            with NATIVE_CALLS.lock():  # as `NATIVE_CALLS.call` does, in less time
                answers = session.run(self._outputs, feeds, given)
        except Exception as error:  # out of memory, or a graph that is not what its manifest says
            NATIVE_CALLS.stay_if_ending()
            if not is_of_onnxruntime(error):
                raise
            if options is None and given.terminate:
                raise EngineClosedError(CLOSED) from None
            raise BundleError(f"{self.path}: onnxruntime could not run it ({one_line(error)})") from error
        return tuple(answers)

    def end_calls(self) -> None:
        """End all calls that were given no options, now and later: between two operators, with EngineClosedError."""
        self._plain.terminate = True

    def _end_with_program(self) -> None:
        """End the calls of this moment; functions that the program calls at its very end may make others."""
        ended, self._plain = self._plain, call_options()
        ended.terminate = True

    def outputs(self, choice: NDArray[np.int64], encoded: Encoded, options: ort.RunOptions | None = None) -> Outputs:
        """Return the output of each text; texts of similar length run in one call. Raises as `run` does."""
        run = self.run if len(self.heads) == 1 else self._run_by_text
        if len(encoded.tokens) == 1:
            return list(run(encoded.calls[0].inputs, choice, options))
        found: dict[int, Any] = {}
        for call in encoded.calls:
            found.update(zip(call.rows, run(call.inputs, choice, options), strict=True))
        return [found[row] for row in range(len(encoded.tokens))]

    def _run_by_text(
        self, inputs: Mapping[str, NDArray[Any]], choice: NDArray[np.int64], options: ort.RunOptions | None
    ) -> Outputs:
        """Run as `run_heads` does; return for each text the outputs of all heads."""
        return list(zip(*self.run_heads(inputs, choice, options), strict=True))

    @property
    def packed(self) -> bool:
        """Whether weights come from the packed-weight cache, so that `release_pages` can release some."""
        return self._packed

    def release_pages(self) -> int:
        """Release the memory of weights that come from the packed-weight cache; return the bytes freed.

        Their next use reads them again, at the price of a page fault per page. Without the cache nothing is freed: 0.
        """
        if not self._packed:
            return 0
        before = resident_bytes(weights_of(self.path))
        self.drop_pages()
        return max(0, before - resident_bytes(weights_of(self.path)))

    def drop_pages(self) -> None:
        """Release memory as `release_pages` does, without counting it."""
        session, extents = self._session, self._extents  # the session keeps the mappings meanwhile
        if isinstance(session, OptionSessions):
            session.drop_pages()
        elif session is not None:
            drop(extents)

    @property
    def whole(self) -> bool:
        """Whether every subnet can run at once."""
        session = self._session
        return not isinstance(session, OptionSessions) or session.whole

    def is_open(self, choice: Sequence[int]) -> bool:
        """Return whether the subnet of a choice can run at once."""
        session = self._session
        return not isinstance(session, OptionSessions) or session.is_open(choice[0])

    def open_next(self) -> bool:
        """Open the next larger subnet, if one is not open; return whether there was one.

        Raises BundleError if onnxruntime cannot.
        """
        session = self._session
        try:
            return isinstance(session, OptionSessions) and session.open_next()
        except Exception as error:
            if not is_of_onnxruntime(error):
                raise
            raise BundleError(f"{self.path}: onnxruntime could not open a subnet ({one_line(error)})") from error

    def until_closed(self, end: Callable[[], None]) -> None:
        """Take on what goes on beside the session, such as a watch over its files; `end` ends it at `close`."""
        self._to_end.append(end)

    def go_on_as(self, other: ElasticSession) -> None:
        """Run another session's graph from the next call on, of the same bundle, precision and threads.

        Does nothing after `close`.
        """
        if self._session is not None:
            # Between the two, nothing but an empty set may be dropped: the extents are those of one session.
            self._extents = frozenset()
            self.path, self._packed, self._session = other.path, other._packed, other._session
            self._extents = other._extents

    def refuse(self, told: str) -> None:
        """Raise BundleError with this text at every call from now on: the weights in use are not right."""
        if self._session is not None:
            self._refusal = told
            self._extents = frozenset()
            self._session = None

    def end_trace(self) -> Path:
        """Complete the file of events that `trace` asked for, and return its path."""
        return Path(self._session.end_profiling())

    def close(self) -> None:
        """Free the weights, as soon as no call is left; the session cannot be used afterwards."""
        for end in self._to_end:
            end()
        self._extents = frozenset()
        self._session = None
        _return_free_memory()

    def __del__(self) -> None:
        if getattr(self, "_session", None) is not None and not NATIVE_CALLS.ending:
            self.close()


def save_packed(graph: Path, target: Path, entries: Mapping[str, str]) -> None:
    """Save a graph as ONNX Runtime holds it, with its weights plain and packed, in `target` and a file beside it.

    `entries`: session options of its manifest. Raises BundleError if onnxruntime cannot save it.
    """
    options = session_options(entries, threads=1)
    options.optimized_model_filepath = str(target)
    for key, value in {
        "session.optimized_model_external_initializers_file_name": weights_of(target).name,
        "session.optimized_model_external_initializers_min_size_in_bytes": str(PACKED_FROM_BYTES),
        "session.save_external_prepacked_constant_initializers": "1",
    }.items():
        options.add_session_config_entry(key, value)
    _save(graph, target, options)


def save_ort(graph: Path, target: Path, entries: Mapping[str, str]) -> None:
    """Save a graph in ORT format, as one file with its weights inside.

    `entries`: session options of its manifest. Raises BundleError if onnxruntime cannot save it.
    """
    options = session_options(entries, threads=1)
    options.optimized_model_filepath = str(target)
    options.add_session_config_entry("session.save_model_format", "ORT")
    _save(graph, target, options)


def _save(graph: Path, target: Path, options: ort.SessionOptions) -> None:
    try:
        open_session(graph, options)
    except Exception as error:  # a full disk among others
        if not is_of_onnxruntime(error):
            raise
        raise BundleError(f"{target}: onnxruntime could not save it ({one_line(error)})") from error
    _return_free_memory()


def session_options(entries: Mapping[str, str], threads: int, *, trace: Path | None = None) -> ort.SessionOptions:
    """Return the options of a session for these entries of a manifest; `trace` as in ElasticSession.

    Raises InputError for a wrong number of threads.
    """
    if not is_whole(threads, 1, MOST_THREADS):
        raise InputError(f"threads: expected a whole number from 1 to {MOST_THREADS}, got {shown(threads)}")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = ERRORS_ONLY
    options.graph_optimization_level = OPTIMIZATION_LEVELS[entries.get(OPTIMIZATION_KEY, "disable")]
    for key, value in {"session.intra_op.allow_spinning": "0", **entries}.items():
        if key != OPTIMIZATION_KEY:
            options.add_session_config_entry(key, value)
    if trace is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(trace / "operators")
    return options


def _by_size(bundle: Bundle, precision: str, options: int) -> list[list[int]]:
    """Return all options of a stage in groups that are opened together: the smallest alone, and then the next larger
    ones as long as they read few bytes. To find and release what one has read takes some milliseconds."""
    pool = {entry.choice[0]: entry for entry in bundle.pool(precision).values()}
    order = sorted(range(options), key=lambda option: pool[option].macs if option in pool else math.inf)
    groups, total = [order[:1]], READ_BYTES
    for option in order[1:]:
        matrices = pool[option].macs // bundle.manifest.macs_tokens if option in pool else READ_BYTES
        size = matrices * ITEM_BYTES.get(precision, 4)
        total += size
        if total > READ_BYTES:
            groups.append([])
            total = size
        groups[-1].append(option)
    return groups


def _advice(graph: Path, error: Exception) -> str:
    """Return what to do about a refusal of linked weights: 1.24.1 refuses those of a hub cache too."""
    if not graph.is_symlink() or "escapes" not in str(error):
        return ""
    return "; install another version of onnxruntime, or copy the bundle with the files that its links name (cp -rL)"


def _check_version(minimum: str) -> None:
    wanted, found = release_numbers(minimum), release_numbers(ort.__version__)
    if wanted is None:
        raise SchemaError(f"manifest: expected a version of onnxruntime such as 1.23, found {minimum!r}")
    if found is not None and found < wanted:
        raise SchemaError(
            f"this bundle needs onnxruntime {minimum} or newer, found {ort.__version__}; "
            f"pip install 'onnxruntime>={minimum}'"
        )


def _return_free_memory() -> None:
    """Return heap memory that packing the weights left free to the system (glibc; no effect elsewhere)."""
    if sys.platform != "linux":
        return
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):  # another C library
        return
