"""A session over one of our graphs, as the runtime makes it; free of torch, so that memory can be measured."""

from __future__ import annotations

from pathlib import Path

import onnxruntime as ort


def our_session(path: Path, threads: int = 1) -> ort.InferenceSession:
    """A session with the options that the manifest names."""
    return _session(path, ort.GraphOptimizationLevel.ORT_DISABLE_ALL, threads)
