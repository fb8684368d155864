"""Blocks of channels in which this CPU's convolutions compute, as ONNX Runtime has them.

A graph whose weights are brought into blocks when it is loaded (`export.graph.layouts`) reads their size from BLOCK.
ONNX Runtime states it nowhere; but its conversion of an image into blocks tells: of the channels of two places, those
of one block come first.
"""

from __future__ import annotations

import base64
import functools
from pathlib import Path

import numpy as np
import onnxruntime as ort

from gearshift.errors import BundleError
from gearshift.runtime.graph.image_operators import BLOCK, WIDEST_BLOCK
from gearshift.runtime.inference.onnxruntime_calls import is_of_onnxruntime

_CONVERSION = base64.b64decode(
    "CAo6bwozCgZwaXhlbHMSBmJsb2NrcyIMUmVvcmRlcklucHV0OhNjb20ubWljcm9zb2Z0Lm5jaHdjEgZibG9ja3NaIAoGcGl4ZWxz"
    "EhYKFAgBEhAKAggBCgIIEAoCCAEKAggCYg4KBmJsb2NrcxIECgIIAUIECgAQEkIXChNjb20ubWljcm9zb2Z0Lm5jaHdjEAE="
)
"""Graph of a single conversion: `pixels`, float32 (1, 16, 1, 2), in blocks as `blocks`."""


@functools.cache
def block_channels() -> int | None:
    """Return the channels of a block on this CPU; None if ONNX Runtime computes in no blocks here."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # a CPU without blocks is no error
    pixels = np.arange(WIDEST_BLOCK * 2, dtype=np.float32).reshape(1, WIDEST_BLOCK, 1, 2)
    try:
        session = ort.InferenceSession(_CONVERSION, options, providers=["CPUExecutionProvider"])
        (blocks,) = session.run(["blocks"], {"pixels": pixels})
    except Exception as error:
        if not is_of_onnxruntime(error):
            raise
        return None
    second = int(np.flatnonzero(np.asarray(blocks).ravel() == 1.0)[0])  # the second place of the first channel
    return second if second > 1 else None


def set_block(options: ort.SessionOptions, place: Path) -> None:
    """Let a session bring its weights into the blocks of this CPU; raise BundleError, which names `place`, if it has
    none."""
    channels = block_channels()
    if channels is None:
        raise BundleError(
            f"{place}: onnxruntime {ort.__version__} computes in no blocks of channels on this CPU; export the bundle "
            "with --operators standard"
        )
    value = ort.OrtValue.ortvalue_from_numpy(np.array([channels], np.int64))
    options.add_external_initializers([BLOCK], [value])
