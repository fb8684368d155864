"""What runs a gear: one choice of an elastic graph, or a DAN. Both take encoded texts, both give logits.

A DAN reads words and not tokens, so that its time follows the length of the text itself, whatever it is padded to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from gearshift.runtime.bundle import Bundle
from gearshift.runtime.dan import Dan, Text, open_dan
from gearshift.runtime.errors import SchemaError, SelfTestError
from gearshift.runtime.manifest import SELF_TEST, PoolEntry
from gearshift.runtime.session import FP32_TOLERANCE, ElasticSession
from gearshift.runtime.text import Encoded, TextEncoder

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


def self_test_names(entry: PoolEntry) -> tuple[str, str]:
    """Names of the arrays of a DAN's self-test: texts (rows, 1 or 2), and their logits."""
    return f"texts.{entry.precision}.{entry.name}", f"logits.{entry.precision}.{entry.name}"


def check_dan(bundle: Bundle) -> None:
    """Run a bundle's DAN, if it has one, on its own texts; raises SelfTestError with what was seen."""
    entry = bundle.dan
    if entry is None:
        return
    texts, expected = _self_test(bundle.path, entry)
    dan = open_dan(bundle.path / entry.file)
    found = dan.run([row[0] if len(row) == 1 else (row[0], row[1]) for row in texts.tolist()])
    error = np.inf if found.shape != expected.shape else float(np.abs(found - expected).max())
    if not error <= FP32_TOLERANCE:
        raise SelfTestError(
            f"{bundle.path}: self-test of {entry.name}: largest difference of a logit: expected at most "
            f"{FP32_TOLERANCE:g}, found {error:.3g}; export the bundle again"
        )


def sample_text(bundle: Bundle, encoder: TextEncoder, length: int) -> str:
    """Text of `length` tokens out of the self-test of a bundle's DAN: some of its n-grams are known, as is usual."""
    assert bundle.dan is not None
    texts, _ = _self_test(bundle.path, bundle.dan)
    words = " ".join(texts.ravel().tolist()).split()
    encoded = encoder.encode([" ".join(words * (1 + length // len(words)))])
    ends = [end for _, end in encoded.encodings[0].offsets[: max(2, length - 1)]]
    return encoded.parts[0][0][: max(ends)]


def _self_test(path: Path, entry: PoolEntry) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
    try:
        with np.load(path / SELF_TEST, allow_pickle=False) as arrays:
            texts, logits = (arrays[name] for name in self_test_names(entry))
    except (OSError, KeyError, ValueError) as error:
        raise SchemaError(
            f"{path / SELF_TEST}: no self-test of {entry.name} ({error}); export the bundle again"
        ) from error
    return texts, logits
