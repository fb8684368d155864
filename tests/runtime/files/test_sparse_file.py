"""Any file comes back bit for bit, is small where it can be, and is refused where it was damaged."""

import io
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from gearshift.errors import IntegrityError
from gearshift.runtime.files import sparse_file
from gearshift.runtime.files.sparse_file import (
    BITMAP,
    CHUNK_ITEMS,
    DENSE,
    GAPS,
    ITEM_BYTES,
    Extent,
    read_sparse,
    write_sparse,
)


def stored(content: bytes, extents: list[Extent], path: Path) -> Path:
    buffer = io.BytesIO()
    write_sparse(content, extents, buffer)
    path.write_bytes(buffer.getvalue())
    return path


def read(path: Path) -> bytes:
    return b"".join(read_sparse(path))


def weights(count: int, zeros: float, seed: int = 0) -> bytes:
    """Noise as quantised weights are, a share of it zeros."""
    source = np.random.default_rng(seed)
    values = np.clip(np.rint(source.normal(0, 20, count)), -63, 63).astype(np.int8)
    values[source.random(count) < zeros] = 0
    return values.tobytes()


@given(
    parts=some.lists(
        some.tuples(
            some.sampled_from(ITEM_BYTES), some.lists(some.sampled_from((0, 0, 0, 0, 1, 128, 255)), max_size=40)
        )
    )
)
@settings(max_examples=60)
def test_every_file_comes_back_bit_for_bit(tmp_path_factory: pytest.TempPathFactory, parts: list) -> None:  # type: ignore[type-arg]
    extents = [Extent(len(values) // size * size, size) for size, values in parts]
    content = b"".join(bytes(v[: e.bytes]) for (_, v), e in zip(parts, extents, strict=True))
    path = stored(content, extents, tmp_path_factory.mktemp("any") / "file")
    assert read(path) == content


@pytest.mark.parametrize("size", ITEM_BYTES)
@pytest.mark.parametrize("zeros", [0, 0.4, 0.9, 0.999, 1])
def test_files_of_several_chunks_and_kinds_come_back(
    tmp_path: Path, size: int, zeros: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparse_file, "CHUNK_ITEMS", 1000)
    first, second = weights(8 * 777, zeros), weights(8 * 300, zeros, seed=1)
    extents = [Extent(len(first), size), Extent(3, 1), Extent(len(second), size)]
    content = first + b"abc" + second
    assert read(stored(content, extents, tmp_path / "file")) == content


def test_numbers_that_equal_zero_but_are_not_its_bits_are_kept(tmp_path: Path) -> None:
    numbers = np.array([0.0, -0.0, 1e-45, np.nan, 0.0] * 100, np.float32)
    assert read(stored(numbers.tobytes(), [Extent(numbers.nbytes, 4)], tmp_path / "file")) == numbers.tobytes()


@pytest.mark.parametrize("zeros", [0, 0.4, 0.6, 0.9])
def test_noise_takes_little_more_than_its_entropy(tmp_path: Path, zeros: float) -> None:
    content = weights(500_000, zeros)
    shares = np.unique(np.frombuffer(content, np.int8), return_counts=True)[1] / len(content)
    entropy = -(shares * np.log2(shares)).sum()  # bits of an item
    size = stored(content, [Extent(len(content), 1)], tmp_path / "file").stat().st_size
    assert 8 * size / len(content) == pytest.approx(entropy, rel=0.02)


@pytest.mark.parametrize(("zeros", "coding"), [(0, DENSE), (0.5, BITMAP), (0.995, GAPS)])
def test_what_is_smallest_is_kept(zeros: float, coding: int) -> None:
    items = np.frombuffer(weights(200_000, zeros), np.uint8)
    assert sparse_file._encoded(items)[0].coding == coding


def test_text_is_deflated_with_its_repetitions(tmp_path: Path) -> None:
    content = b"".join(b"name %d, " % number for number in range(20_000))
    assert stored(content, [Extent(len(content), 1)], tmp_path / "file").stat().st_size < len(content) / 4


def test_a_file_takes_the_memory_of_a_few_chunks(tmp_path: Path) -> None:
    content = bytes(5 * CHUNK_ITEMS)
    path = stored(content, [Extent(len(content), 1)], tmp_path / "file")
    assert max(map(len, read_sparse(path))) <= CHUNK_ITEMS
    assert path.stat().st_size < 10_000


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    content = weights(4000, 0.5) + weights(400, 0.99)
    return stored(content, [Extent(4000, 1), Extent(400, 4)], tmp_path / "file")


def test_a_file_that_is_cut_off_anywhere_is_refused(damaged: Path) -> None:
    content = damaged.read_bytes()
    for length in [*range(60), *range(60, len(content), 97), len(content) - 1]:
        damaged.write_bytes(content[:length])
        with pytest.raises(IntegrityError, match="file: expected a compressed file that is whole, found another"):
            read(damaged)


def test_a_header_that_claims_more_bytes_than_the_file_has_takes_no_memory(damaged: Path) -> None:
    content = damaged.read_bytes()
    damaged.write_bytes(content[:8] + b"\xff" * 4 + content[12:])
    tracemalloc.start()
    with pytest.raises(IntegrityError, match=r"found another \(a header of 4294967295 bytes in a file of \d+\)"):
        read(damaged)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_bytes_that_were_altered_are_refused_or_give_another_file_of_no_larger_size(damaged: Path) -> None:
    """The hash of what comes out has the last word; here it is that nothing else goes wrong."""
    content, right = damaged.read_bytes(), read(damaged)
    refused = 0
    for place in range(0, len(content), 7):
        damaged.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            assert len(read(damaged)) == len(right)
        except IntegrityError:
            refused += 1
    assert refused > 20


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"bytes": 5}, "extents that do not make the file"),
        ({"extents": [[-4, 1], [8, 1]]}, "-4 where a count was expected"),
        ({"extents": [[4, 3]], "chunks": {"3": []}}, "extents that do not make the file"),
        ({"chunks": {"1": [[DENSE, 5, 0, 6]]}}, "chunks that do not make the items of 1 bytes"),
        ({"chunks": {}}, "extents without chunks"),
        ({"chunks": {"1": [[7, 4, 0, 6]]}}, "an unknown coding 7"),
        ({"chunks": {"1": [[BITMAP, 4, 0, 6]]}}, "a stream that is not whole"),
        ({"chunks": {"1": [[DENSE, 2, 0, 6], [DENSE, 2, 0, 0]]}}, "a stream that is not whole"),
        ({"chunks": {"1": [[DENSE, 4, 0, 7]]}}, "expected"),
    ],
)
def test_a_header_that_says_other_things_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: dict[str, object], message: str
) -> None:
    really = json.dumps
    monkeypatch.setattr(json, "dumps", lambda raw, **options: really({**raw, **header}, **options))
    path = stored(b"\x01\x02\x03\x04", [Extent(4, 1)], tmp_path / "file")
    with pytest.raises(IntegrityError, match=message):
        read(path)


def test_more_than_a_chunk_may_hold_is_never_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stored(bytes(4 * CHUNK_ITEMS), [Extent(4 * CHUNK_ITEMS, 1)], tmp_path / "bomb")
    monkeypatch.setattr(sparse_file, "CHUNK_ITEMS", CHUNK_ITEMS // 2)
    with pytest.raises(IntegrityError, match="a chunk of too many items"):
        read(path)
