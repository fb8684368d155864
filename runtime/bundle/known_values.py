"""Known values of a manifest's names: task, metric, executors, precisions, session options."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from gearshift.errors import SchemaError
from gearshift.runtime.bundle.manifest import DAN_EXECUTOR, ELASTIC_EXECUTOR, PRECISIONS, Manifest
from gearshift.runtime.bundle.tasks import MEAN, METRICS, MULTI_TASK, TASKS

SESSION_OPTIONS = {
    "graph_optimization_level": ("disable", "basic", "extended", "all"),
    "session.intra_op.allow_spinning": ("0", "1"),
}
"""Session option of a bundle -> its values. Others change what a graph computes, or what the library reads and writes
beside it."""

Found = tuple[str, str, Iterable[str]]
"""(what a value is of, the value, the known ones)."""


def check_known_values(manifest: Manifest, directory: Path) -> None:
    """Raise SchemaError, which names the known values, for a value that this version does not know."""
    for what, value, known in _values(manifest):
        if value not in known:
            raise SchemaError(
                f"{directory}: expected {what} out of {', '.join(known)}, found {value!r}; install a newer gearshift"
            )


def _values(manifest: Manifest) -> Iterator[Found]:
    yield "a task", manifest.task, (*TASKS, MULTI_TASK)
    yield "a metric", manifest.metric, METRICS if manifest.task != MULTI_TASK else (MEAN,)
    for option, value in manifest.session_options.items():
        yield "session options", option, SESSION_OPTIONS
        yield option, value, SESSION_OPTIONS[option]
    for entry in manifest.pool:
        yield f"an executor of {entry.name}", entry.executor, (ELASTIC_EXECUTOR, DAN_EXECUTOR)
        yield f"a precision of {entry.name}", entry.precision, PRECISIONS
