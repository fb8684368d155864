"""Bundles with a DAN: random n-gram embeddings beside the committed bundle's graph."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.bundle.bundle import Bundle, open_bundle, write_manifest
from gearshift.runtime.bundle.manifest import DAN_EXECUTOR, SELF_TEST, PoolEntry
from gearshift.runtime.conformance.texts import PAIRS, SINGLE
from gearshift.runtime.dan.model import Dan, Dense, fold, pack, save_dan
from gearshift.runtime.dan.ngrams import keys
from gearshift.runtime.inference.executors import DanExecutor
from gearshift.runtime.inference.self_test_file import self_test_names
from gearshift.runtime.space.subnet import Subnet

NAME, FILE = "dan", "dan.safetensors"
WIDTH, HIDDEN, LONGEST = 8, 6, 3

KINDS = {"dan": ("int8", False), "dan-pairs": ("fp32", True)}
"""Name of the bundle -> precision of its DAN, and whether that reads pairs."""


def random_dan(labels: int, precision: str, paired: bool) -> Dan:
    """Make a DAN that knows most n-grams of the vectors' texts; one of single texts has its first layer folded in."""
    known = np.concatenate([keys(text, LONGEST) for text in (*SINGLE, *(part for pair in PAIRS for part in pair))])
    ngrams = np.unique(known)[::2] if not paired else np.unique(known)
    source = np.random.default_rng(len(ngrams))

    def draw(*shape: int) -> NDArray[np.float32]:
        return source.normal(size=shape).astype(np.float32)

    table = draw(len(ngrams), WIDTH)
    inputs = 4 * WIDTH if paired else WIDTH
    dense = Dense(draw(HIDDEN, inputs), draw(HIDDEN), draw(labels, HIDDEN), draw(labels))
    if not paired:
        table, dense = fold(table, dense)
    return pack(ngrams, table, dense, precision=precision, longest=LONGEST, paired=paired)


def write_dans(build: Path, source: Path) -> None:
    """Write a bundle of each kind."""
    for name, (precision, paired) in KINDS.items():
        folder = build / f"{name}.gearshift"
        shutil.copytree(source, folder)
        _add(open_bundle(folder), precision, paired)


def _add(bundle: Bundle, precision: str, paired: bool) -> None:
    folder, manifest = bundle.path, bundle.manifest
    dan = random_dan(len(manifest.labels), precision, paired)
    save_dan(folder / FILE, dan)
    entry = PoolEntry(NAME, Subnet(()), DAN_EXECUTOR, FILE, (), precision, 0.5, dan.parameters, dan.macs)
    texts = [(one,) for one in SINGLE[:4]] if not paired else list(PAIRS)
    logits = np.stack([DanExecutor(dan).logits(parts)[0] for parts in texts])
    of_texts, of_logits = self_test_names(entry)
    with np.load(folder / SELF_TEST) as arrays:
        kept: dict[str, Any] = {name: arrays[name] for name in arrays.files}
    np.savez_compressed(
        folder / SELF_TEST, allow_pickle=False, **{**kept, of_texts: np.array(texts), of_logits: logits}
    )
    write_manifest(folder, dataclasses.replace(manifest, pool=(*manifest.pool, entry)))
