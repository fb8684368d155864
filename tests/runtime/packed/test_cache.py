"""The packed-weight cache: the same answers, and never a reason why a bundle does not load."""

from __future__ import annotations

import dataclasses
import json
import logging
import mmap
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gearshift.device_profiles import read_fingerprint
from gearshift.errors import IntegrityError, SelfTestError
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.engine import Engine
from gearshift.runtime.files.atomic import sha256_of
from gearshift.runtime.files.cache import HashMemory
from gearshift.runtime.files.entries import KEPT_ENTRIES
from gearshift.runtime.files.private import holding
from gearshift.runtime.inference.opened import random_inputs
from gearshift.runtime.inference.pages import resident_bytes
from gearshift.runtime.inference.providers import CPU
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.packed.cache import PackedCache
from gearshift.runtime.packed.entry import MARKER
from gearshift.runtime.packed.making import GRAPH
from gearshift.runtime.startup import start
from tests.runtime.kept import flip
from tests.runtime.serving.interrupts import at_each_point

linux = pytest.mark.skipif(sys.platform != "linux", reason="pages are counted in /proc")


@pytest.fixture
def cache(tmp_path: Path) -> PackedCache:
    return PackedCache(tmp_path / "packed")


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.WARNING, logger="gearshift"):
        yield


def opened(cache: PackedCache, bundle: Bundle, precision: str = "fp32") -> ElasticSession:
    session = cache.open(bundle, precision, threads=1)
    assert session is not None
    return session


def answers(session: ElasticSession, bundle: Bundle) -> list[np.ndarray]:
    inputs = random_inputs(bundle, 9)
    return [session.run(inputs, entry.choice) for entry in bundle.pool(session.precision).values()]


def only(cache: PackedCache) -> Path:
    (entry,) = cache.entries()
    return entry


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_every_subnet_gives_the_same_numbers_made_and_found(
    cache: PackedCache, bundle: Bundle, precision: str, caplog: pytest.LogCaptureFixture
) -> None:
    plain = answers(ElasticSession(bundle, precision, threads=1), bundle)
    made = opened(cache, bundle, precision)
    before = (only(cache) / GRAPH).stat().st_ino
    found = opened(cache, bundle, precision)
    assert (only(cache) / GRAPH).stat().st_ino == before
    first, again = answers(made, bundle), answers(found, bundle)
    for mine, its, theirs in zip(first, again, plain, strict=True):
        assert np.array_equal(mine, its)
        # Joined int8 segments are rounded together: by a small part of what the self-test allows.
        assert np.abs(mine - theirs).max() <= (0 if precision == "fp32" else 0.03 * np.std(plain))
    assert not caplog.records


def test_precisions_and_bundles_have_entries_of_their_own(
    cache: PackedCache, bundle: Bundle, bundle_copy: Path
) -> None:
    other = open_bundle(bundle_copy)
    renamed = dataclasses.replace(other, hash="0" * 64)
    for one, precision in ((bundle, "fp32"), (bundle, "int8"), (renamed, "fp32"), (other, "fp32")):
        opened(cache, one, precision)
    assert len(cache.entries()) == 3  # a copy has the hash of what it was copied from


def test_another_cpu_has_an_entry_of_its_own(bundle: Bundle, tmp_path: Path) -> None:
    device = read_fingerprint({})
    opened(PackedCache(tmp_path, device=device), bundle)
    for changes in ({"cpu_model": "another"}, {"cpu_features": ("avx",)}):
        other = PackedCache(tmp_path, device=dataclasses.replace(device, **changes))
        before = len(other.entries())
        opened(other, bundle)
        assert len(other.entries()) == before + 1


@pytest.mark.parametrize("name", [GRAPH, "graph.weights", MARKER])
@pytest.mark.parametrize("damage", ["deleted", "truncated", "overwritten"])
def test_a_damaged_entry_is_made_anew(
    cache: PackedCache, bundle: Bundle, name: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    plain = answers(opened(cache, bundle), bundle)
    entry = only(cache)
    if damage == "deleted":
        (entry / name).unlink()
    elif damage == "overwritten":  # at the same size
        (entry / name).write_bytes(bytes((entry / name).stat().st_size))
    else:
        os.truncate(entry / name, (entry / name).stat().st_size // 2)
    assert all(map(np.array_equal, answers(opened(cache, bundle), bundle), plain))
    assert only(cache) == entry
    (record,) = caplog.records
    assert re.fullmatch(rf"{entry}: packed weights are damaged \(.+\); making them anew", record.getMessage())
    opened(cache, bundle)
    assert len(caplog.records) == 1


def test_a_graph_that_cannot_be_read_is_made_anew(
    cache: PackedCache, bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    opened(cache, bundle)
    graph = only(cache) / GRAPH
    times = graph.stat()
    graph.write_bytes(b"\xff" * times.st_size)
    os.utime(graph, ns=(times.st_atime_ns, times.st_mtime_ns))  # as a disk that fails does it: no write is seen
    opened(cache, bundle)
    assert len(caplog.records) == 1
    assert "packed weights are damaged (graph.onnx has changed); making them anew" in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
@pytest.mark.parametrize("what", [".", GRAPH, MARKER])
def test_an_entry_that_somebody_else_made_is_not_used(cache: PackedCache, bundle: Bundle, what: str) -> None:
    opened(cache, bundle)
    with (only(cache) / GRAPH).open("rb") as before:  # open, so that its inode is not given again
        os.chown(only(cache) / what, 12345, -1)
        opened(cache, bundle)
        assert not os.path.samestat(os.fstat(before.fileno()), (only(cache) / GRAPH).stat())
    assert all(path.stat().st_uid == 0 for path in (only(cache), *only(cache).iterdir()))


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs users as Unix has them")
def test_an_entry_that_others_may_write_to_is_not_used(cache: PackedCache, bundle: Bundle) -> None:
    opened(cache, bundle)
    with (only(cache) / GRAPH).open("rb") as before:  # open, so that its inode is not given again
        only(cache).chmod(0o770)
        opened(cache, bundle)
        assert not os.path.samestat(os.fstat(before.fileno()), (only(cache) / GRAPH).stat())
    assert only(cache).stat().st_mode & 0o777 == 0o700


def test_a_user_without_a_home_has_no_cache(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("GEARSHIFT_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with Engine.load(tiny_bundle, precision="fp32", threads=1) as engine:
        assert engine.release_pages() == 0
    (record,) = caplog.records
    assert "no home directory to keep a cache in; set GEARSHIFT_CACHE_DIR" in record.getMessage()


def test_a_place_that_cannot_be_written_loads_the_bundle_and_says_so(
    bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    blocked = PackedCache(tmp_path / "file" / "packed")
    assert blocked.open(bundle, "fp32", threads=1) is None
    (record,) = caplog.records
    assert "packed weights not kept" in record.getMessage()
    session = start(bundle, precision="fp32", threads=1, profile=None, providers=CPU, cache=blocked).opened.session
    assert session.path == bundle.path / "fp32.onnx"


@pytest.fixture
def open_to_all(bundle: Bundle) -> Iterator[Path]:
    """A directory with a copy of the bundle that every user may read; pytest's own are private."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        shutil.copytree(bundle.path, directory / "bundle")
        (directory / "packed").mkdir(mode=0o755)
        yield directory


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs users as Unix has them")
def test_a_directory_that_may_only_be_read_takes_nothing_new(open_to_all: Path) -> None:
    """Check it as a user who does not own the directory: root writes wherever it likes."""
    code = (
        f"import os; from pathlib import Path; root = Path({str(open_to_all)!r});"
        "from gearshift.runtime.packed.cache import PackedCache; from gearshift.runtime import open_bundle;"
        # Once before, since modules come as they are needed, and may lie where the other user cannot read.
        "PackedCache(root / 'before').open(open_bundle(root / 'bundle'), 'fp32', threads=1);"
        "os.geteuid() or (os.chown(root / 'packed', 65534, -1), os.setuid(65534)); (root / 'packed').chmod(0o555);"
        "print(PackedCache(root / 'packed').open(open_bundle(root / 'bundle'), 'fp32', threads=1))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "None", done.stderr
    (line,) = (line for line in done.stderr.splitlines() if "packed" in line)
    assert "packed weights not kept ([Errno 13] Permission denied" in line
    assert list((open_to_all / "packed").iterdir()) == []


def test_a_full_disk_leaves_nothing_behind(bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    full = PackedCache(tmp_path / "packed", free_bytes=lambda path: 500_000_000)
    assert full.open(bundle, "fp32", threads=1) is None
    assert "MB free, found 500 MB" in caplog.text
    assert list(full.directory.iterdir()) == []


def test_an_entry_that_fails_the_self_test_is_not_kept(
    cache: PackedCache, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(session: ElasticSession, bundle: Bundle) -> None:
        raise SelfTestError("wrong numbers")

    monkeypatch.setattr("gearshift.runtime.packed.making.check_self_test", failing)
    assert cache.open(bundle, "fp32", threads=1) is None
    assert "wrong numbers" in caplog.text
    assert list(cache.directory.iterdir()) == []


def test_two_processes_at_once_leave_one_entry_and_both_answer(bundle: Bundle, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from gearshift.runtime import open_bundle;"
        "from gearshift.runtime.packed.cache import PackedCache;"
        f"bundle = open_bundle({str(bundle.path)!r}); sys.stdin.readline();"
        f"session = PackedCache(Path({str(tmp_path / 'packed')!r})).open(bundle, 'fp32', threads=1);"
        "from gearshift.runtime.inference.self_test import check_self_test;"
        "check_self_test(session, bundle); print('right')"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate()[0].strip() for process in processes] == ["right"] * 3
    cache = PackedCache(tmp_path / "packed")
    assert sorted(path.name for path in cache.directory.iterdir()) == [only(cache).name]


def test_an_entry_of_another_process_is_taken_as_it_is(cache: PackedCache, bundle: Bundle) -> None:
    """Check an entry that comes to be between our look for it and our rename."""
    opened(cache, bundle)
    entry = only(cache)
    before = (entry / GRAPH).stat().st_ino
    cache._made(bundle, "fp32", threads=1)
    assert (entry / GRAPH).stat().st_ino == before
    assert [path.name for path in cache.directory.iterdir()] == [entry.name]


def test_the_entry_that_was_not_used_for_longest_goes_first(cache: PackedCache, bundle: Bundle) -> None:
    opened(cache, bundle)
    first = only(cache)
    for number in range(KEPT_ENTRIES - 1):
        shutil.copytree(first, cache.directory / f"copy{number}")
        os.utime(cache.directory / f"copy{number}" / MARKER, (1000 + number, 1000 + number))
    opened(cache, bundle, "int8")
    names = {path.name for path in cache.entries()}
    assert len(names) == KEPT_ENTRIES
    assert "copy0" not in names
    assert first.name in names


def test_what_an_interrupted_process_left_goes_and_what_another_is_making_stays(
    cache: PackedCache, bundle: Bundle
) -> None:
    for name in (".new-left", ".new-running"):
        (cache.directory / name).mkdir(parents=True)
    with holding(cache.directory / ".new-running"):
        opened(cache, bundle)
        assert [path.name for path in cache.directory.glob(".new-*")] == [".new-running"]
        cache.clear()
        assert [path.name for path in cache.directory.iterdir()] == [".new-running"]


def test_clearing_leaves_what_is_not_the_caches(cache: PackedCache, bundle: Bundle) -> None:
    opened(cache, bundle)
    (cache.directory / ".new-interrupted").mkdir()
    (cache.directory / "letters").mkdir()
    (cache.directory / "letters" / "one").write_text("dear")
    cache.clear()
    assert [path.name for path in cache.directory.iterdir()] == ["letters"]
    assert (cache.directory / "letters" / "one").read_text() == "dear"


def test_clearing_removes_all_and_says_how_much(cache: PackedCache, bundle: Bundle) -> None:
    session = opened(cache, bundle)
    size = sum(path.stat().st_size for path in only(cache).iterdir())
    assert cache.clear() == size
    assert not cache.directory.exists()
    assert len(answers(session, bundle)) == len(bundle.pool("fp32"))  # whoever uses it goes on


@linux
def test_pages_that_were_given_back_come_again(cache: PackedCache, bundle: Bundle) -> None:
    opened(cache, bundle)
    session = opened(cache, bundle)
    expected = answers(session, bundle)
    weights = session.path.with_suffix(".weights")
    held = resident_bytes(weights)
    assert held > 0
    assert session.release_pages() >= held // 2
    assert resident_bytes(weights) <= held // 2
    assert all(map(np.array_equal, answers(session, bundle), expected))
    assert resident_bytes(weights) > 0


@linux
@pytest.mark.parametrize("how", ["just made", "of another process", "cleared meanwhile"])
def test_pages_are_given_back_however_the_entry_came_to_be(cache: PackedCache, bundle: Bundle, how: str) -> None:
    session = opened(cache, bundle)
    if how == "of another process":
        session = cache._made(bundle, "fp32", threads=1)
    elif how == "cleared meanwhile":
        cache.clear()
    answers(session, bundle)
    weights = session.path.with_suffix(".weights")
    held = resident_bytes(weights)
    assert held > 0
    assert session.release_pages() >= held // 2
    assert resident_bytes(weights) <= held // 2


@linux
def test_a_file_whose_path_ends_alike_is_another(tmp_path: Path) -> None:
    file = tmp_path / "graph.weights"
    file.write_bytes(bytes(8192))
    with file.open("rb") as opened_file, mmap.mmap(opened_file.fileno(), 0, access=mmap.ACCESS_READ) as held:
        assert held[0] == held[4096] == 0
        assert resident_bytes(file) == 8192
        assert resident_bytes(Path(f"/{file.name}")) == 0


@linux
def test_a_small_subnet_touches_less_than_a_large_one(cache: PackedCache, bundle: Bundle) -> None:
    opened(cache, bundle)
    session = opened(cache, bundle)
    pool = sorted(bundle.pool("fp32").values(), key=lambda entry: entry.macs)
    held = []
    for entry in (pool[0], pool[-1]):
        session.release_pages()
        session.run(random_inputs(bundle, 5), entry.choice)
        held.append(resident_bytes(session.path.with_suffix(".weights")))
    assert held[0] <= held[1]


def test_without_the_cache_nothing_is_given_back(bundle: Bundle) -> None:
    assert ElasticSession(bundle, "fp32", threads=1).release_pages() == 0


def test_the_engine_uses_the_cache_unless_told_not_to(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEARSHIFT_CACHE_DIR", str(tmp_path))
    with Engine.load(tiny_bundle, precision="fp32", threads=1, cache=False):
        pass
    assert list(tmp_path.iterdir()) == []
    with Engine.load(tiny_bundle, precision="fp32", threads=1) as engine:
        assert engine.release_pages() >= 0
    assert len(PackedCache().entries()) == 1


def test_an_entry_is_made_of_files_that_were_hashed_at_this_load_and_once(
    bundle_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEARSHIFT_CACHE_DIR", str(tmp_path / "cache"))
    # The copy counts as settled, so that its hashes are remembered.
    monkeypatch.setattr("gearshift.runtime.files.cache.SETTLED_S", -60.0)
    hashed: list[str] = []

    def counting(path: Path) -> str:
        hashed.append(path.name)
        return sha256_of(path)

    for place in ("gearshift.runtime.files.cache.sha256_of", "gearshift.runtime.packed.cache.sha256_of"):
        monkeypatch.setattr(place, counting)
    for _ in range(2):  # hashes are computed, then remembered
        with Engine.load(bundle_copy, precision="fp32", threads=1):
            assert len(PackedCache().entries()) == 1
        assert (hashed.count("fp32.weights"), hashed.count("fp32.onnx")) == (1, 1)
        hashed.clear()
        PackedCache().clear()


def test_a_file_that_changed_between_its_hash_and_its_entry_is_found(
    cache: PackedCache, bundle_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = HashMemory(tmp_path / "hashes")
    monkeypatch.setattr("gearshift.runtime.files.cache.SETTLED_S", -60.0)
    bundle = dataclasses.replace(open_bundle(bundle_copy, sha256=hashes.sha256_of), hashes=hashes)
    assert hashes.computed_now(bundle_copy / "fp32.weights")
    flip(bundle_copy / "fp32.weights", 5)
    with pytest.raises(IntegrityError, match=r"fp32\.weights: expected sha256"):
        cache.open(bundle, "fp32", threads=1)


def test_a_marker_is_readable(cache: PackedCache, bundle: Bundle) -> None:
    opened(cache, bundle)
    marker = json.loads((only(cache) / MARKER).read_text())
    assert marker["source"] == str(bundle.path)
    assert marker["made_for"]["bundle"] == bundle.hash
    assert set(marker["files"]) == {GRAPH, "graph.weights"}


def test_a_time_limit_of_a_signal_handler_comes_out_of_the_cache_as_itself(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A TimeoutError is an OSError too, and was taken for a cache that cannot be used."""

    def late(*_: object) -> None:
        raise TimeoutError("of a signal handler")

    with monkeypatch.context() as patch, pytest.raises(TimeoutError, match="of a signal handler"):
        patch.setattr(ElasticSession, "run_heads", late)
        PackedCache(tmp_path).open(open_bundle(tiny_bundle), "fp32", threads=1)
    for handled in at_each_point(lambda: late(), lambda: resident_bytes(tiny_bundle / "fp32.weights"), every=1999):
        assert not handled.reached or type(handled.raised) is TimeoutError


def test_a_session_releases_its_own_mappings_alone(bundle: Bundle, cache: PackedCache) -> None:
    """The mappings of another may be gone at any moment, and other memory be in their place."""
    first, second = (cache.open(bundle, "fp32", threads=1) for _ in range(2))
    assert first is not None and second is not None
    assert first._extents and second._extents
    assert first._extents.isdisjoint(second._extents)
    second.close()
    assert not second._extents
    second.drop_pages()
    first.close()
