"""Executors: callables from encoded texts to logits, one for each subnet of the graph and one for the DAN.

A DAN reads words and not tokens, so that its time follows the length of the text itself, whatever it is padded to.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from gearshift.runtime.bundle.manifest import PoolEntry
from gearshift.runtime.dan.model import Dan, Text
from gearshift.runtime.inference.session import ElasticSession, Outputs
from gearshift.runtime.inference.text import Encoded

Executor = Callable[[Encoded, ort.RunOptions | None], Outputs]
"""Gives the output of each text: logits (labels,), or what the task has instead; `options.terminate` may end the
call."""


def elastic_executors(session: ElasticSession, pool: Mapping[str, PoolEntry]) -> dict[str, Executor]:
    """Name -> executor of every subnet of a session's pool."""
    return {
        name: functools.partial(session.outputs, np.asarray(entry.choice, dtype=np.int64))
        for name, entry in pool.items()
    }


class DanExecutor:
    """A DAN. A pair for one that reads single texts is read as one text, a single text for one of pairs as half a pair.

    It is done before a call could be ended.
    """

    def __init__(self, dan: Dan) -> None:
        self.dan = dan

    def __call__(self, encoded: Encoded, options: ort.RunOptions | None) -> Outputs:
        return [self.logits(parts)[0] for parts in encoded.parts]

    def logits(self, parts: tuple[str, ...]) -> tuple[NDArray[np.float32], int]:
        """Logits (labels,) of one text, and how many of its n-grams the DAN knows."""
        return self.dan.logits(self._text(parts))

    def _text(self, parts: tuple[str, ...]) -> Text:
        if self.dan.paired:
            return parts[0], parts[1] if len(parts) > 1 else ""
        return " ".join(parts)
