"""Session over one of our graphs, as the runtime makes it; free of torch, so that memory can be measured."""

from __future__ import annotations

from pathlib import Path

import onnxruntime as ort

from gearshift.runtime.inference.session import ERRORS_ONLY


def our_session(path: Path, threads: int = 1) -> ort.InferenceSession:
    """Return a session with the options that the manifest names."""
    return plain_session(path, ort.GraphOptimizationLevel.ORT_DISABLE_ALL, threads)


def plain_session(path: Path, level: ort.GraphOptimizationLevel, threads: int) -> ort.InferenceSession:
    """Return a session of that optimisation level, no thread of which spins."""
    return ort.InferenceSession(str(path), plain_options(level, threads), providers=["CPUExecutionProvider"])


def our_options(threads: int = 1) -> ort.SessionOptions:
    """Return the options that the manifest names."""
    return plain_options(ort.GraphOptimizationLevel.ORT_DISABLE_ALL, threads)


def plain_options(level: ort.GraphOptimizationLevel, threads: int) -> ort.SessionOptions:
    """Return options of that optimisation level, with which no thread spins."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = level
    options.log_severity_level = ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
