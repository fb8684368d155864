"""DANs without training, and latency tables without measuring."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gearshift.device_profiles.profile import LatencyTable
from gearshift.runtime.dan.model import Dan, Dense, Floats, pack
from gearshift.runtime.dan.ngrams import keys
from gearshift.runtime.inference.providers import CPU

TEXTS = ["turn the lights off", "play some music please", "what is the weather like tomorrow"]


def made_dan(labels: int, *, paired: bool = False, texts: Sequence[str] = TEXTS) -> Dan:
    """Random, but of n-grams that are in the texts."""
    source = np.random.default_rng(0)

    def draw(*shape: int) -> Floats:
        return source.normal(size=shape).astype(np.float32)

    ngrams = np.unique(np.concatenate([keys(text, 2) for text in texts]))
    hidden = 4 if paired else 8
    dense = Dense(draw(4, 32) if paired else None, draw(hidden), draw(labels, hidden), draw(labels))
    return pack(ngrams, draw(len(ngrams), 8), dense, precision="int8", longest=2, paired=paired)


def made_table(times: dict[str, tuple[float, ...]], bundle_hash: str = "") -> LatencyTable:
    return LatencyTable(bundle_hash, "fp32", CPU[0], 1, (8, 32), times, times, 1, "by hand", "2026-01-31")
