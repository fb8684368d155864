"""Bundles for the download: smaller by what pruning and coding give, and unpacked the same as any other."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from gearshift.errors import IntegrityError, StorageError
from gearshift.export.compress import compress_bundle, extents
from gearshift.export.pipeline import export_bundle
from gearshift.export.trim import trim_bundle
from gearshift.runtime.bundle import compressed as module
from gearshift.runtime.bundle.bundle import Bundle, open_bundle, write_manifest
from gearshift.runtime.bundle.compressed import CARD, COMPRESSED, SUFFIX
from gearshift.runtime.bundle.manifest import DAN_EXECUTOR, MANIFEST, PoolEntry
from gearshift.runtime.dan.model import Dense, pack, save_dan
from gearshift.runtime.files.sparse_file import Extent, write_sparse
from gearshift.runtime.inference.opened import random_inputs
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.space.subnet import Subnet
from gearshift.trainer.data.rows import Row
from gearshift.trainer.learning.sparsity import prunable, prune_smallest
from gearshift.trainer.model.run import Run
from tests.trainer.full_disk import fill_disk, needs_full_device


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def answers(bundle: Bundle) -> Iterator[np.ndarray]:
    inputs = random_inputs(bundle, 9)
    for precision in bundle.precisions:
        session = ElasticSession(bundle, precision, threads=1)
        for entry in bundle.pool(precision).values():
            yield session.run(inputs, entry.choice)
        session.close()


@pytest.fixture
def plain(bundle_path: Path, tmp_path: Path) -> Bundle:
    """A copy that a test may alter."""
    return open_bundle(shutil.copytree(bundle_path, tmp_path / "small.gearshift"))


@pytest.mark.parametrize(
    ("places", "size", "expected"),
    [
        ([], 5, [(5, 1)]),
        ([(0, 8, 4)], 8, [(8, 4)]),
        ([(0, 8, 4)], 64, [(64, 4)]),  # padding goes along
        ([(0, 8, 4), (64, 5, 1), (128, 4, 2)], 132, [(64, 4), (64, 1), (4, 2)]),
        ([(64, 4, 2), (0, 8, 4)], 70, [(64, 4), (6, 2)]),
        ([(3, 8, 8)], 13, [(3, 1), (8, 8), (2, 1)]),  # neither begins at the start nor fills its items
    ],
)
def test_a_file_is_cut_at_its_tensors(
    places: list[tuple[int, int, int]], size: int, expected: list[tuple[int, int]]
) -> None:
    assert extents(places, size) == [Extent(*pair) for pair in expected]


def test_a_compressed_bundle_is_the_same_unpacked(plain: Bundle, tmp_path: Path) -> None:
    compressed = compress_bundle(plain, tmp_path / "c.gearshift")
    names = set(contents(compressed.path))
    assert {f"fp32.weights{SUFFIX}", f"int8.weights{SUFFIX}", CARD, COMPRESSED} <= names
    opened = open_bundle(compressed.path)
    assert contents(opened.path) == contents(plain.path)
    assert all(map(np.array_equal, answers(opened), answers(plain)))
    assert compressed.bytes == sum(map(len, contents(compressed.path).values())) < compressed.dense_bytes
    assert compressed.dense_bytes == sum(map(len, contents(plain.path).values()))


def test_a_bundle_is_compressed_in_place(plain: Bundle) -> None:
    whole = contents(plain.path)
    compress_bundle(plain, plain.path)
    assert COMPRESSED in contents(plain.path)
    assert contents(open_bundle(plain.path).path) == whole


@torch.no_grad()
def pruned(run: Run, sparsity: float) -> Run:
    checkpoint = run.checkpoint
    model = type(checkpoint.model)(checkpoint.model.shape, len(checkpoint.labels), head=checkpoint.model.head)
    model.load_state_dict(checkpoint.model.state_dict())
    prune_smallest(prunable(model, embeddings=True), sparsity, "matrix")
    return dataclasses.replace(run, checkpoint=dataclasses.replace(checkpoint, model=model))


def test_the_more_is_pruned_the_smaller_it_gets(run: Run, rows: tuple[Row, ...], tmp_path: Path) -> None:
    sizes, dense = [], set()
    for sparsity in (0, 0.4, 0.8):
        # So many zeros leave the subnets of random weights alike.
        one = dataclasses.replace(pruned(run, sparsity), subnets={"all": run.checkpoint.model.full})
        bundle = export_bundle(one, tmp_path / f"{sparsity}.gearshift", rows).bundle
        compressed = compress_bundle(bundle, tmp_path / f"{sparsity}.small")
        dense.add(bundle.manifest.files["int8.weights"].bytes)
        sizes.append([compressed.files[f"{precision}.weights{SUFFIX}"].bytes for precision in ("fp32", "int8")])
    assert len(dense) == 1
    none, some, most = (np.array(size, float) for size in sizes)
    assert (some < 0.8 * none).all() and (most < 0.5 * none).all()


def test_a_compressed_bundle_is_trimmed_as_a_plain_one_is(plain: Bundle, tmp_path: Path) -> None:
    compressed = compress_bundle(plain, tmp_path / "c.gearshift")
    for source, out in ((plain, "from-plain"), (open_bundle(compressed.path), "from-compressed")):
        trim_bundle(source, tmp_path / out, keep=["w050-d050"])
    trimmed = [contents(tmp_path / out) for out in ("from-plain", "from-compressed")]
    assert trimmed[0].keys() == trimmed[1].keys()
    assert trimmed[0]["int8.weights"] == trimmed[1]["int8.weights"]


def test_a_dan_is_compressed_too(plain: Bundle, tmp_path: Path) -> None:
    table = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    dense = Dense(None, np.zeros(8, np.float32), np.ones((3, 8), np.float32), np.zeros(3, np.float32))
    dan = pack(np.arange(40, dtype=np.uint64), table, dense, precision="int8", longest=2, paired=False)
    save_dan(plain.path / "dan.safetensors", dan)
    entry = PoolEntry("dan", Subnet(()), DAN_EXECUTOR, "dan.safetensors", (), "int8", 0.5, 10, 10)
    write_manifest(plain.path, dataclasses.replace(plain.manifest, pool=(*plain.manifest.pool, entry)))
    with_dan = open_bundle(plain.path)
    compressed = compress_bundle(with_dan, tmp_path / "c.gearshift")
    assert contents(open_bundle(compressed.path).path) == contents(with_dan.path)


def test_what_does_not_come_out_the_same_is_not_shipped(
    plain: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "write_sparse", lambda content, cut, file: write_sparse(content[::-1], cut, file))
    with pytest.raises(IntegrityError, match=r"expected \d+ bytes of sha256 \w{64} unpacked"):
        compress_bundle(plain, tmp_path / "c.gearshift")
    assert not (tmp_path / "c.gearshift").exists()


@needs_full_device
def test_a_full_disk_leaves_the_plain_bundle(plain: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = contents(plain.path)
    with monkeypatch.context() as patch:
        fill_disk(patch, f"int8.weights{SUFFIX}")
        with pytest.raises(StorageError, match="could not be written"):
            compress_bundle(plain, plain.path)
    assert contents(plain.path) == whole


@needs_full_device
@pytest.mark.parametrize("name", ["fp32.weights", MANIFEST])
def test_a_disk_that_fills_while_it_is_unpacked_leaves_nothing(
    plain: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("GEARSHIFT_CACHE_DIR", str(tmp_path / "cache"))
    compressed = compress_bundle(plain, plain.path)
    needed = (compressed.dense_bytes + 1_000_000) / 1e6
    with monkeypatch.context() as patch:
        fill_disk(patch, name)
        message = rf"could not be unpacked: expected {needed:.1f} MB free in .*No space left"
        with pytest.raises(StorageError, match=message):
            open_bundle(plain.path)
    assert not list((tmp_path / "cache" / "unpacked").iterdir())
    assert open_bundle(plain.path).hash == plain.hash
