"""Packed-weight cache: graphs saved with their weights in the layout that ONNX Runtime chose for this CPU.

Weights mapped from the file take memory only when a subnet touches them, processes share them, and the kernel may
reclaim them. An entry holds all weights twice, as they were and packed, and is valid for one bundle, one version of
ONNX Runtime and one kind of CPU. ONNX Runtime still packs at every load, once for every branch that uses a weight,
compares with the saved form, and then drops its own copy: this saves memory, not time.

An entry is made in a directory of its own, and renamed once it is complete and passed the bundle's self-test, so that
processes that start at the same time find a complete entry or none. On any failure the bundle itself is loaded, and
one line of the log says why.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import onnxruntime as ort

from gearshift.device_profiles import Fingerprint, read_fingerprint
from gearshift.errors import BundleError, StorageError, is_time_limit
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.files.atomic import flush
from gearshift.runtime.files.cache import PRIVATE, Entries, cache_directory
from gearshift.runtime.graph.check import check_graph
from gearshift.runtime.inference.self_test import check_self_test
from gearshift.runtime.inference.session import ElasticSession, save_packed
from gearshift.schema import read_if_whole

GRAPH = "graph.onnx"
MARKER = "entry.json"
"""File written last; it names the other files with their sizes and modification times."""

SIZE_FACTOR = 2.2
"""Bytes of an entry / bytes of the bundle's weights file: everything twice, and some padding."""

RESERVED_BYTES = 1_000_000_000
"""Bytes that must stay free on the disk besides an entry."""

logger = logging.getLogger(__name__)


class PackedCache:
    """Packed-weight cache in one directory."""

    def __init__(
        self,
        directory: Path | None = None,
        *,
        device: Fingerprint | None = None,
        free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        self._directory = directory
        self._device = device
        self._free_bytes = free_bytes

    @property
    def directory(self) -> Path:
        """Directory of the entries; raises StorageError if the user has no cache directory."""
        return self._directory or cache_directory() / "packed"

    def open(self, bundle: Bundle, precision: str, *, threads: int) -> ElasticSession | None:
        """Open a session over the entry of a bundle, and make the entry if there is none; return None if that fails.

        An entry was self-tested when it was made, and is not tested again.
        """
        try:
            session = self._found(bundle, precision, threads) or self._made(bundle, precision, threads)
        except (OSError, BundleError, StorageError) as error:
            if is_time_limit(error):
                raise
            logger.warning("%s: packed weights not kept (%s); loading the bundle itself", bundle.path, error)
            return None
        session.release_pages()  # packing has read all of the file; a subnet's weights are read again when it runs
        return session

    @property
    def kept(self) -> Entries:
        """Entries of the cache; raises StorageError as `directory` does."""
        return Entries(self.directory, MARKER)

    def entries(self) -> dict[Path, int]:
        """Return directory -> bytes of every entry, the last used first."""
        return self.kept.listed()

    def clear(self) -> int:
        """Remove every entry, as `Entries.clear` does."""
        return self.kept.clear()

    def _place(self, bundle: Bundle, precision: str) -> Path:
        device = self._device or read_fingerprint({})
        kind = [device.cpu_model, *device.cpu_features, device.machine, device.system]
        named = json.dumps([bundle.hash, precision, ort.__version__, kind])
        return self.directory / hashlib.sha256(named.encode()).hexdigest()[:32]

    def _found(self, bundle: Bundle, precision: str, threads: int) -> ElasticSession | None:
        place = self._place(bundle, precision)
        if not place.exists():
            return None
        if not _is_whole(place):
            logger.warning("%s: packed weights are damaged; making them anew", place)
            shutil.rmtree(place)
            return None
        try:
            session = ElasticSession(bundle, precision, threads=threads, graph=place / GRAPH)
        except BundleError as error:
            logger.warning("%s; making the packed weights anew", error)
            shutil.rmtree(place)
            return None
        self.kept.used(place)
        return session

    def _made(self, bundle: Bundle, precision: str, threads: int) -> ElasticSession:
        place = self._place(bundle, precision)
        source = bundle.path / next(iter(bundle.pool(precision).values())).file
        try:
            with contextlib.ExitStack() as until_kept:
                with self.kept.adding(place) as fresh:
                    self._require_room(bundle, precision)
                    if not bundle.known:
                        check_graph(bundle, precision)
                    save_packed(source, fresh / GRAPH, bundle.manifest.session_options)
                    session = ElasticSession(bundle, precision, threads=threads, graph=fresh / GRAPH)
                    until_kept.callback(session.close)
                    check_self_test(session, bundle)
                    flush(fresh)  # before the marker, which must not name bytes that never came to the disk
                    files = {path.name: _state(path) for path in fresh.iterdir()}
                    (fresh / MARKER).write_text(json.dumps({"bundle": str(bundle.path), "files": files}))
                until_kept.pop_all()
        except FileExistsError:
            found = self._found(bundle, precision, threads)
            if found is None:
                raise
            return found
        session.path = place / GRAPH
        return session

    def _require_room(self, bundle: Bundle, precision: str) -> None:
        graph = Path(next(iter(bundle.pool(precision).values())).file)
        stored = bundle.manifest.files
        weights = sum(entry.bytes for name, entry in stored.items() if Path(name).stem == graph.stem)
        needed, free = int(SIZE_FACTOR * weights) + RESERVED_BYTES, self._free_bytes(self.directory)
        if free < needed:
            raise OSError(f"expected {needed / 1e6:.0f} MB free, found {free / 1e6:.0f} MB")


def _is_whole(place: Path) -> bool:
    """Return whether only we can write an entry, and all its files are unchanged since it was made."""
    marked = read_if_whole(place / MARKER, lambda marker: marker["files"])
    try:
        files = {path.name: _state(path) for path in place.iterdir() if path.name != MARKER}
        return bool(_is_ours(place) and GRAPH in files and files == marked)
    except OSError:
        return False


def _state(path: Path) -> list[int]:
    status = path.lstat()
    return [status.st_size, status.st_mtime_ns]


def _is_ours(place: Path) -> bool:
    """Return whether no other user could have written into an entry (Unix users; True on other systems)."""
    if not hasattr(os, "getuid"):
        return True
    statuses = [path.lstat() for path in (place, *place.iterdir())]
    return stat.S_IMODE(statuses[0].st_mode) == PRIVATE and all(status.st_uid == os.getuid() for status in statuses)
