"""Executors: callables from encoded texts to logits, one for each subnet of the graph and one for the DAN.

A DAN reads words, not tokens: its time depends on the length of the text itself, not on the padding.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from gearshift.runtime.bundle.manifest import PoolEntry
from gearshift.runtime.inference.session import ElasticSession, Outputs
from gearshift.runtime.inference.text import Encoded

if TYPE_CHECKING:
    from gearshift.runtime.dan.model import Dan, Text

Executor = Callable[[Encoded, ort.RunOptions | None], Outputs]
"""Function that returns the output of each text: logits (labels,), or the output of another task. `options.terminate`
may end the call."""


def elastic_executors(session: ElasticSession, pool: Mapping[str, PoolEntry]) -> dict[str, Executor]:
    """Return name -> executor of every subnet of a session's pool."""
    return {
        name: functools.partial(session.outputs, np.asarray(entry.choice, dtype=np.int64))
        for name, entry in pool.items()
    }


class DanExecutor:
    """Executor of a DAN. A DAN of single texts reads a pair as one text; a DAN of pairs reads a text as half a pair.

    `options.terminate` is ignored: the call is over before it could be ended.
    """

    def __init__(self, dan: Dan) -> None:
        self.dan = dan

    def __call__(self, encoded: Encoded, options: ort.RunOptions | None) -> Outputs:
        return [self.logits(parts)[0] for parts in encoded.parts]

    def logits(self, parts: tuple[str, ...]) -> tuple[NDArray[np.float32], int]:
        """Return the logits (labels,) of one text, and the number of its n-grams that the DAN knows."""
        return self.dan.logits(self._text(parts))

    def _text(self, parts: tuple[str, ...]) -> Text:
        if self.dan.paired:
            return parts[0], parts[1] if len(parts) > 1 else ""
        return " ".join(parts)
