"""Comparison of compressors for the weights of a bundle: bytes, and the CPU time of unpacking.

    pip install -c constraints.txt '.[bench]'
    python -m benchmarks.training.compressors snips.gearshift pruned.gearshift

Each compressor gets the weights file unchanged (dense), and as a bitmap of its non-zero bytes followed by these bytes
(bitmap).
Unpacking is timed in turns, ROUNDS times on one thread, in CPU time, which excludes other processes on a shared
machine; with a bitmap it includes restoring the zeros.
"""

from __future__ import annotations

import argparse
import bz2
import lzma
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import zstandard

from benchmarks.report import save
from gearshift.export.compress import compress_bundle
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.bundle.compressed import SUFFIX
from gearshift.runtime.files.sparse_file import read_sparse

NAME = "int8.weights"
ROUNDS = 5
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 0, "lp": 0, "pb": 0}]
"""Literal coder without contexts: weights have none."""


@dataclass(frozen=True)
class Compressor:
    pack: Callable[[bytes], bytes]
    unpack: Callable[[bytes], bytes]


def _huffman(content: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9, zlib.Z_HUFFMAN_ONLY)
    return packer.compress(content) + packer.flush()


COMPRESSORS = {
    "zlib, Huffman codes alone": Compressor(_huffman, lambda packed: zlib.decompress(packed, -zlib.MAX_WBITS)),
    "zlib 9": Compressor(lambda content: zlib.compress(content, 9), zlib.decompress),
    "zstandard 19": Compressor(
        lambda content: zstandard.ZstdCompressor(level=19).compress(content),
        lambda packed: zstandard.ZstdDecompressor().decompress(packed),
    ),
    "bz2 9": Compressor(bz2.compress, bz2.decompress),
    "lzma 9": Compressor(
        lambda content: lzma.compress(content, lzma.FORMAT_XZ, filters=FILTERS),
        lzma.decompress,
    ),
}


def main() -> None:
    """Measure, print the table, and save it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", nargs="+", type=Path)
    options = parser.parse_args()
    found, lines = {}, []
    for path in options.bundles:
        bundle = open_bundle(path)
        measured = _measure(bundle)
        dense = bundle.manifest.files[NAME].bytes
        found[bundle.manifest.name] = {"dense_bytes": dense, "compressors": measured}
        lines += [*_table(bundle.manifest.name, dense, measured), ""]
    save("compressors", {"rounds": ROUNDS, "bundles": found}, lines[:-1])


def _measure(bundle: Bundle) -> dict[str, dict[str, float]]:
    content = (bundle.path / NAME).read_bytes()
    sparse = _to_sparse(content)
    cases: dict[str, tuple[int, Callable[[], bytes]]] = {}
    for name, compressor in COMPRESSORS.items():
        packed, packed_sparse = compressor.pack(content), compressor.pack(sparse)
        cases[f"{name}, dense"] = len(packed), partial(compressor.unpack, packed)
        cases[f"{name}, bitmap"] = len(packed_sparse), partial(_unpack_sparse, compressor.unpack, packed_sparse)
    with tempfile.TemporaryDirectory() as folder:
        shipped = compress_bundle(bundle, Path(folder) / "shipped").path / f"{NAME}{SUFFIX}"
        cases["as shipped"] = shipped.stat().st_size, lambda: b"".join(read_sparse(shipped))
        assert all(unpack() == content for _, unpack in cases.values())
        times: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(ROUNDS):
            for name, (_, unpack) in cases.items():
                start = time.process_time()
                unpack()
                times[name].append(time.process_time() - start)
    return {name: {"bytes": size, "unpack_cpu_s": statistics.median(times[name])} for name, (size, _) in cases.items()}


def _to_sparse(content: bytes) -> bytes:
    """Return a bit for every byte, set if the byte is not zero, followed by the non-zero bytes."""
    values = np.frombuffer(content, np.uint8)
    mask = values != 0
    parts = (len(content).to_bytes(8, "little"), np.packbits(mask).tobytes(), values[mask].tobytes())
    return b"".join(parts)


def _unpack_sparse(unpack: Callable[[bytes], bytes], packed: bytes) -> bytes:
    given = unpack(packed)
    size = int.from_bytes(given[:8], "little")
    end = 8 + -(-size // 8)
    mask = np.unpackbits(np.frombuffer(given[8:end], np.uint8), count=size).astype(bool)
    values = np.zeros(size, np.uint8)
    values[mask] = np.frombuffer(given[end:], np.uint8)
    return bytes(values)


def _table(name: str, dense: int, measured: dict[str, dict[str, float]]) -> list[str]:
    rows = [
        f"| {case} | {values['bytes'] / 1e6:.2f} | {100 * values['bytes'] / dense:.1f} % "
        f"| {1000 * values['unpack_cpu_s']:.0f} |"
        for case, values in measured.items()
    ]
    return [
        f"### {name}: {NAME} of {dense / 1e6:.2f} MB",
        "",
        "| compressor, form | MB | of dense | unpacking, ms of CPU |",
        "|---|---|---|---|",
        *rows,
    ]


if __name__ == "__main__":
    main()
