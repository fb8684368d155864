"""Packed-weight cache: graphs saved with their weights in the layout that ONNX Runtime chose for this CPU.

Weights mapped from the file take memory only when a subnet touches them, processes share them, and the kernel may
reclaim them. An entry holds all weights twice, as they were and packed (`making`), and is valid for one bundle, one
version of ONNX Runtime and one kind of CPU. ONNX Runtime still packs at every load, once for every branch that uses a
weight, compares with the saved form, and then drops its own copy: this saves memory, not time.

An entry is made in a directory of its own, and renamed once it is complete and passed the bundle's self-test, so that
processes that start at the same time find a complete entry or none. `entry` tells what is checked of one that is
found; one of its subnets must also give the answer that it gave when the entry was made. On any failure the bundle
itself is loaded, and one line of the log says why.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime as ort

from gearshift.device_profiles import Fingerprint, read_fingerprint
from gearshift.errors import BundleError, IntegrityError, StorageError, is_time_limit
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.bundle.integrity import check_file
from gearshift.runtime.files.atomic import flush, sha256_of
from gearshift.runtime.files.cache import HashMemory, cache_directory
from gearshift.runtime.files.entries import Entries
from gearshift.runtime.inference.self_test import check_self_test
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.packed.entry import (
    FORMAT,
    MARKER,
    Marker,
    describe,
    require_intact,
    require_whole,
    write_marker,
)
from gearshift.runtime.packed.making import GRAPH, closed_on_error, packed_session
from gearshift.runtime.packed.opening import Opening
from gearshift.runtime.packed.probe import probe, require_same_answer
from gearshift.runtime.packed.watch import PackedWatch

RESERVED_BYTES = 1_000_000_000
"""Bytes that must stay free on the disk besides an entry."""

logger = logging.getLogger(__name__)


class PackedCache:
    """Packed-weight cache in one directory.

    `first`: return a session with one thread when its smallest subnet is open, and open the others behind it.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        first: bool = False,
        device: Fingerprint | None = None,
        free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        self._directory = directory
        self._first = first
        self._device = device
        self._free_bytes = free_bytes
        self._told: set[str] = set()

    @property
    def directory(self) -> Path:
        """Directory of the entries; raises StorageError if the user has no cache directory."""
        return self._directory or cache_directory() / "packed"

    def open(self, bundle: Bundle, precision: str, *, threads: int) -> ElasticSession | None:
        """Open a session over the entry of a bundle, and make the entry if there is none; return None if that fails.

        Raises IntegrityError if the bundle itself turns out to have changed since its hashes were taken.
        """
        bundle.check_graph_files([precision])  # packed weights of a bundle that has changed since are not used
        try:
            session = self._found(bundle, precision, threads) or self._made(bundle, precision, threads)
        except IntegrityError:
            raise
        except (OSError, ValueError, BundleError, StorageError) as error:
            if is_time_limit(error):
                raise
            if str(error) not in self._told:  # once, not for every precision
                logger.warning("%s: packed weights not kept (%s); loading the bundle itself", bundle.path, error)
            self._told.add(str(error))
            return None
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

    def remove_damaged(self) -> dict[Path, str]:
        """Read every entry, all of it, and remove those that are damaged; return directory -> what was wrong."""
        return {place: wrong for place in self.entries() if (wrong := self._removed_if_damaged(place)) is not None}

    def remove_if_damaged(self, bundle: Bundle, precision: str) -> str | None:
        """Read the entry of a bundle, if there is one, and remove it if it is damaged; return what was wrong."""
        place, _ = self._place(bundle, precision)
        return self._removed_if_damaged(place) if self.kept.has(place) else None

    def _removed_if_damaged(self, place: Path) -> str | None:
        state = self.kept.state(place)
        try:
            require_whole(place)
        except (OSError, ValueError) as error:
            if is_time_limit(error):
                raise
            self.kept.remove(place, state)
            return str(error)
        return None

    def _place(self, bundle: Bundle, precision: str) -> tuple[Path, dict[str, Any]]:
        """Return the directory of the entry of a bundle, and what it is made for."""
        device = self._device or read_fingerprint({})
        made_for = {
            "bundle": bundle.hash,
            "precision": precision,
            "onnxruntime": ort.__version__,
            "cpu": [device.cpu_model, *device.cpu_features, device.machine, device.system],
        }
        named = json.dumps([FORMAT, made_for])
        return self.directory / hashlib.sha256(named.encode()).hexdigest()[:32], made_for

    def _found(self, bundle: Bundle, precision: str, threads: int) -> ElasticSession | None:
        place, made_for = self._place(bundle, precision)
        if not self.kept.has(place):
            return None
        state = self.kept.state(place)
        try:
            marker = require_intact(place, made_for, HashMemory().sha256_of)
            session = ElasticSession(bundle, precision, threads=threads, graph=place / GRAPH, first=self._first)
            with closed_on_error(session):
                require_same_answer(session, bundle, marker)
                self._watch(session, bundle, place, marker)
        except (OSError, ValueError, BundleError) as error:
            if is_time_limit(error):
                raise
            logger.warning("%s: packed weights are damaged (%s); making them anew", place, error)
            self.kept.remove(place, state)
            return None
        self.kept.used(place)
        return session

    def _made(self, bundle: Bundle, precision: str, threads: int) -> ElasticSession:
        from gearshift.runtime.graph.check import check_graph  # most starts make no entry

        place, made_for = self._place(bundle, precision)
        try:
            with contextlib.ExitStack() as until_kept:
                with self.kept.adding(place) as fresh:
                    _require_same_bytes(bundle, precision)
                    check_graph(bundle, precision)
                    session = packed_session(bundle, precision, fresh, threads, self._require_room)
                    until_kept.enter_context(closed_on_error(session))
                    flush(fresh)  # before the marker, which must not name bytes that never came to the disk
                    marker = describe(fresh, made_for, *probe(session, bundle))
                    write_marker(fresh, marker, bundle.path)
                session.path = place / GRAPH
                session.drop_pages()  # the self-test has run all of it
                self._watch(session, bundle, place, marker)
        except FileExistsError:
            found = self._found(bundle, precision, threads)
            if found is None:
                raise
            return found
        return session

    def _watch(self, session: ElasticSession, bundle: Bundle, place: Path, marker: Marker) -> None:
        """Have all of an entry checked now and then while its session is open; the thread does not keep that alive."""
        remove = functools.partial(self.kept.remove, place, self.kept.state(place))
        damaged = functools.partial(_leave, weakref.ref(session), bundle, place, remove)
        watch = PackedWatch(place, marker.files, damaged)
        watch.start()
        session.until_closed(watch.close)
        if not session.whole:
            opening = Opening(session, damaged)
            opening.start()
            session.until_closed(opening.close)

    def _require_room(self, size: int) -> None:
        needed, free = size + RESERVED_BYTES, self._free_bytes(self.directory)
        if free < needed:
            raise OSError(f"expected {needed / 1e6:.0f} MB free, found {free / 1e6:.0f} MB")


def _require_same_bytes(bundle: Bundle, precision: str) -> None:
    """Hash a graph and its weights now, unless this very load has: an entry outlives the load that makes it, and would
    keep what a failing disk did to them since their hashes were remembered. Raises IntegrityError."""
    for name, entry in bundle.graph_files(precision).items():
        if bundle.hashes is None or not bundle.hashes.computed_now(bundle.path / name):
            check_file(bundle.path, name, entry, sha256_of)


def _leave(
    reference: weakref.ref[ElasticSession], bundle: Bundle, place: Path, remove: Callable[[], None], wrong: str
) -> None:
    """Let a session answer from the bundle itself, since its packed weights turned out to be damaged, or not at all if
    the bundle is damaged too: its bytes are hashed now, since those of the load may have been days ago."""
    logger.warning("%s: packed weights are damaged (%s); answering from %s itself", place, wrong, bundle.path)
    remove()
    session = reference()
    if session is None:
        return
    try:
        for name, entry in bundle.graph_files(session.precision).items():
            check_file(bundle.path, name, entry, sha256_of)
        plain = ElasticSession(bundle, session.precision, threads=session.threads)
        check_self_test(plain, bundle)
    except (BundleError, OSError) as error:
        logger.error("%s; no further request is answered", error)
        session.refuse(f"the packed weights in use are damaged, and the bundle too ({error}); load the engine again")
        return
    session.go_on_as(plain)
