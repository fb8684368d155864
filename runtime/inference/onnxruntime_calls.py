"""Calls of onnxruntime: sessions, options of a call, and whose errors come out of one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import onnxruntime as ort

from gearshift.runtime.inference.providers import CPU
from gearshift.runtime.native_calls import NATIVE_CALLS

FATAL_ONLY = 4
"""Severity of a call's own log: fatal errors alone. A call that was ended is none, and others are raised."""

BUILTIN_ERRORS = (RuntimeError, ValueError, TypeError, MemoryError, IndexError, OverflowError)
"""Built-in exceptions that onnxruntime raises: those that pybind11 makes of C++ exceptions, and those of its Python."""


def open_session(path: Path, options: ort.SessionOptions, providers: Sequence[str] = CPU) -> ort.InferenceSession:
    """Return a session of onnxruntime; raise its own errors."""
    return NATIVE_CALLS.call(partial(ort.InferenceSession, str(path), options, providers=list(providers)))


def call_options() -> ort.RunOptions:
    """Return options of a call, whose `terminate` ends it."""
    options = ort.RunOptions()
    options.log_severity_level = FATAL_ONLY
    return options


def is_of_onnxruntime(error: Exception) -> bool:
    """Return whether an exception is onnxruntime's own, and not one of a signal handler that ran within its call.

    Its errors share no base. Some are built-in exceptions, which its own code raised last if they are its own.
    """
    if type(error).__module__.partition(".")[0] == ort.__name__:
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    its_own = trace is not None and trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] == ort.__name__
    return its_own and type(error) in BUILTIN_ERRORS
