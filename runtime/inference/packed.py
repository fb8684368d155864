"""The packed-weight cache: a graph saved as ONNX Runtime laid its weights out for this CPU.

Mapped from the file, weights take memory only when a subnet touches them, processes share them, and the kernel
may take them back. An entry holds all weights twice, as they were and packed, and is good for one bundle, one
version of ONNX Runtime and one kind of CPU. ONNX Runtime packs at every load all the same, once for every branch
that uses a weight, compares with the saved form, and then drops its own copy: memory is saved, and not the time.

An entry is made in a directory of its own and renamed when it is whole and passed the bundle's self-test, so
that processes which start at once each find a whole entry or none. Whatever goes wrong, the bundle itself is
loaded, and one line of the log says why.
"""

from __future__ import annotations

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
from gearshift.errors import BundleError, StorageError
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.files.atomic import flush
from gearshift.runtime.files.cache import PRIVATE, Entries, become, cache_directory
from gearshift.runtime.inference.self_test import check_self_test
from gearshift.runtime.inference.session import ElasticSession, save_packed

GRAPH = "graph.onnx"
MARKER = "entry.json"
"""Written last: names the other files with their sizes and times of change."""

SIZE_FACTOR = 2.2
"""An entry in bytes / the weights file of the bundle: everything twice, and some padding."""

RESERVED_BYTES = 1_000_000_000
"""What must be left free on the disk beside an entry."""

logger = logging.getLogger(__name__)


class PackedCache:
    """The entries of one directory."""

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
        """Where the entries are; raises StorageError where the user has no such place."""
        return self._directory or cache_directory() / "packed"

    def open(self, bundle: Bundle, precision: str, *, threads: int) -> ElasticSession | None:
        """A session over the entry of a bundle, made now where there is none; None where that cannot be.

        An entry was self-tested when it was made, and is not tested again.
        """
        try:
            session = self._found(bundle, precision, threads) or self._made(bundle, precision, threads)
        except (OSError, BundleError, StorageError) as error:
            logger.warning("%s: packed weights not kept (%s); loading the bundle itself", bundle.path, error)
            return None
        session.release_pages()  # packing has read all of the file; what a subnet needs comes back when it runs
        return session

    @property
    def kept(self) -> Entries:
        """All entries; raises StorageError as `directory` does."""
        return Entries(self.directory, MARKER)

    def entries(self) -> dict[Path, int]:
        """Directory -> bytes of every entry, the one used last first."""
        return self.kept.listed()

    def clear(self) -> int:
        """Remove every entry, as `Entries.clear`."""
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
        self.kept.prepare()
        self._require_room(bundle, precision)
        place = self._place(bundle, precision)
        fresh = self.kept.fresh()
        try:
            source = bundle.path / next(iter(bundle.pool(precision).values())).file
            save_packed(source, fresh / GRAPH, bundle.manifest.session_options)
            session = ElasticSession(bundle, precision, threads=threads, graph=fresh / GRAPH)
            try:
                check_self_test(session, bundle)
                flush(fresh)  # else a power cut could leave a marker that names bytes which never came to the disk
                files = {path.name: _state(path) for path in fresh.iterdir()}
                (fresh / MARKER).write_text(json.dumps({"bundle": str(bundle.path), "files": files}))
                become(fresh, place)
                session.path = place / GRAPH
            except BaseException:
                session.close()
                raise
        except FileExistsError:
            found = self._found(bundle, precision, threads)
            if found is None:
                raise
            return found
        finally:
            shutil.rmtree(fresh, ignore_errors=True)  # gone already where it became the entry
        return session

    def _require_room(self, bundle: Bundle, precision: str) -> None:
        graph = Path(next(iter(bundle.pool(precision).values())).file)
        stored = bundle.manifest.files
        weights = sum(entry.bytes for name, entry in stored.items() if Path(name).stem == graph.stem)
        needed, free = int(SIZE_FACTOR * weights) + RESERVED_BYTES, self._free_bytes(self.directory)
        if free < needed:
            raise OSError(f"expected {needed / 1e6:.0f} MB free, found {free / 1e6:.0f} MB")


def _is_whole(place: Path) -> bool:
    """Whether an entry is ours alone to write, and has every file as it was when the entry was made."""
    try:
        marker = json.loads((place / MARKER).read_text())
        files = {path.name: _state(path) for path in place.iterdir() if path.name != MARKER}
        return bool(_is_ours(place) and GRAPH in files and files == marker["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _state(path: Path) -> list[int]:
    status = path.lstat()
    return [status.st_size, status.st_mtime_ns]


def _is_ours(place: Path) -> bool:
    """Whether nobody else could have put other files into an entry (users as Unix has them; elsewhere True)."""
    if not hasattr(os, "getuid"):
        return True
    statuses = [path.lstat() for path in (place, *place.iterdir())]
    return stat.S_IMODE(statuses[0].st_mode) == PRIVATE and all(status.st_uid == os.getuid() for status in statuses)
