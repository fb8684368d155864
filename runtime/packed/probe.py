"""Answer of one subnet to a short text, by which packed weights are tried at every load."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.bundle.manifest import PoolEntry
from gearshift.runtime.inference.self_test import FP32_TOLERANCE, INT8_ERROR
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.packed.entry import Marker

PROBED_TOKENS = 8


def probe(session: ElasticSession, bundle: Bundle) -> tuple[list[float], float]:
    """Return the output of the smallest subnet for a short text, and by how much a later one may differ.

    The same library gives the same bits on the same CPU, except that more threads may add in another order.
    """
    pool = sorted(bundle.pool(session.precision).values(), key=lambda entry: entry.macs)
    outputs = [_joined(session, bundle, entry) for entry in pool]
    within = FP32_TOLERANCE if session.precision == "fp32" else INT8_ERROR * float(np.std(outputs))
    return outputs[0].tolist(), max(within, FP32_TOLERANCE)


def require_same_answer(session: ElasticSession, bundle: Bundle, marker: Marker) -> None:
    """Raise ValueError unless the smallest subnet answers as it did when the entry was made."""
    smallest = min(bundle.pool(session.precision).values(), key=lambda entry: entry.macs)
    found = _joined(session, bundle, smallest)
    same = len(found) == len(marker.probe) and bool(np.all(np.abs(found - marker.probe) <= marker.within))
    if not same:
        raise ValueError(f"{smallest.name} gives another answer than when they were made")


def _joined(session: ElasticSession, bundle: Bundle, entry: PoolEntry) -> NDArray[np.float32]:
    """Return the numbers of all outputs of a subnet, one behind the other."""
    return np.concatenate([output.ravel() for output in session.run_heads(_inputs(bundle), entry.choice)])


def _inputs(bundle: Bundle) -> Mapping[str, NDArray[np.int64]]:
    """Return a text of tokens from all over the vocabulary; to import numpy.random takes longer than all the rest."""
    tokens = min(PROBED_TOKENS, bundle.manifest.max_length)
    ids = np.arange(1, tokens + 1, dtype=np.int64) * bundle.manifest.space.shape.vocabulary // (tokens + 1)
    columns = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    return {name: columns[name][None] for name in bundle.manifest.inputs}
