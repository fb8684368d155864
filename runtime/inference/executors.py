"""What runs a gear: one choice of an elastic graph, or a DAN. Both take encoded texts, both give logits.

A DAN reads words and not tokens, so that its time follows the length of the text itself, whatever it is padded to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.bundle.manifest import PoolEntry
from gearshift.runtime.dan.model import Dan, Text, open_dan
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.inference.text import Encoded

Outputs = Sequence[NDArray[np.float32]]


Executor = Callable[[Encoded, ort.RunOptions | None], Outputs]
"""The output of each text: logits (labels,), or what the task has instead; `options.terminate` may end the call."""


def executors(bundle: Bundle, session: ElasticSession) -> dict[str, Executor]:
    """Name -> executor of every gear that a session and the files of its bundle make."""
    found: dict[str, Executor] = {
        name: _Elastic(session, entry) for name, entry in bundle.pool(session.precision).items()
    }
    if bundle.dan is not None:
        found[bundle.dan.name] = DanExecutor(open_dan(bundle.path / bundle.dan.file))
    return found


class _Elastic:
    """One choice of an elastic graph."""

    def __init__(self, session: ElasticSession, entry: PoolEntry) -> None:
        self._session, self._choice = session, np.asarray(entry.choice, dtype=np.int64)

    def __call__(self, encoded: Encoded, options: ort.RunOptions | None) -> Outputs:
        if len(encoded.tokens) == 1:
            return list(self._session.run(encoded.calls[0].inputs, self._choice, options))
        outputs: dict[int, NDArray[np.float32]] = {}
        for call in encoded.calls:
            outputs.update(zip(call.rows, self._session.run(call.inputs, self._choice, options), strict=True))
        return [outputs[row] for row in range(len(encoded.tokens))]


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
