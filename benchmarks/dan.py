"""Time of a DAN from text to logits, tokenising included, by table size and length of text.

    OMP_NUM_THREADS=1 taskset -c 0 python -m benchmarks.dan [--width 256] [--ngrams 30000,100000]

The table is random and half of each text's n-grams are in it: neither changes the time of a look-up.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from gearshift.runtime.dan import Dan, Dense, Floats, open_dan, pack, save_dan
from gearshift.runtime.ngrams import keys

WARM_UP, RUNS = 300, 3000


def main() -> None:
    """Print a line for each table and length."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--ngrams", default="30000,100000")
    options = parser.parse_args()
    print("n-grams in table | MB | words | n-grams of the text | known | median us | p95 us")
    for size in map(int, options.ngrams.split(",")):
        texts = {words: _text(words) for words in (5, 20, 60, 230)}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "dan"
            save_dan(path, _random_dan(size, options.width, list(texts.values())))
            dan, megabytes = open_dan(path), path.stat().st_size / 1e6
            for words, text in texts.items():
                median, p95 = _microseconds(dan, text)
                counts = f"{len(keys(text, 4))} | {dan.logits(text)[1]}"
                print(f"{size} | {megabytes:.1f} | {words} | {counts} | {median:.1f} | {p95:.1f}")


def _text(words: int) -> str:
    source = np.random.default_rng(words)
    return " ".join(f"word{source.integers(5000)}" for _ in range(words))


def _random_dan(size: int, width: int, texts: list[str]) -> Dan:
    source = np.random.default_rng(0)
    known = [keys(text, 4)[::2] for text in texts]
    ngrams = np.unique(np.concatenate([*known, source.integers(0, 2**64, size, dtype=np.uint64)]))

    def draw(*shape: int) -> Floats:
        return source.normal(size=shape).astype(np.float32)

    dense = Dense(None, draw(width), draw(2, width), draw(2))
    return pack(ngrams, draw(len(ngrams), width), dense, precision="int8", longest=4, paired=False)


def _microseconds(dan: Dan, text: str) -> tuple[float, float]:
    """Median and 95th percentile of one text at a time."""
    taken = []
    for _ in range(WARM_UP + RUNS):
        start = time.perf_counter_ns()
        dan.logits(text)
        taken.append((time.perf_counter_ns() - start) / 1000)
    return float(np.median(taken[WARM_UP:])), float(np.percentile(taken[WARM_UP:], 95))


if __name__ == "__main__":
    main()
