"""Compressed bundle: the form that is downloaded, and unpacked once on the device.

    name.gearshift/
      compressed.json        bytes and SHA-256 of every other file here
      manifest.json          that of the dense bundle, byte for byte: names, bytes and SHA-256 of the dense files
      int8.weights.z ...     dense files in the form of `sparse_file`
      selftest.npz ...       files that would not become smaller, unchanged
      signatures.json        those of the dense bundle, if it was signed; not listed, so that it can be signed later

Dense and compressed bundle have the same manifest, therefore the same hash, and share profiles and caches.
The bundle is unpacked into the user's cache directory, or by `gearshift unpack` into another. The directory gets its
name only when it is complete and the SHA-256 of every dense file is right: an incomplete directory is never read.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gearshift.errors import BundleError, IntegrityError, SchemaError, StorageError, is_time_limit
from gearshift.runtime.bundle.digest import stated_digest
from gearshift.runtime.bundle.integrity import check_file, check_name, check_place
from gearshift.runtime.bundle.manifest import MANIFEST, FileEntry, Manifest, stored_manifest
from gearshift.runtime.bundle.signatures import SIGNATURES, carry_signatures
from gearshift.runtime.files.atomic import replacing_directory, sha256_of
from gearshift.runtime.files.cache import cache_directory
from gearshift.runtime.files.entries import Entries
from gearshift.runtime.files.private import is_own_file
from gearshift.runtime.files.sparse_file import Extent, read_sparse, write_sparse
from gearshift.schema import Schema

COMPRESSED = "compressed.json"
SUFFIX = ".z"
"""Suffix of the name of a dense file that is stored compressed."""

CARD = "README.md"
"""Name of the card, which stays readable without unpacking."""

SCHEMA = Schema(version=1, advice="copy the bundle again", damaged=IntegrityError)

SPARE_BYTES = 1_000_000
"""Free space needed beside the dense files, for directories and partly filled blocks."""

ABANDONED_S = 600.0
"""Age in seconds from which an unfinished unpacking is deleted: a device that restarts in a loop must not fill its
disk."""

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Errors of a full disk, a full quota, and a limit on the size of files."""

_ELSEWHERE = "name another place by GEARSHIFT_CACHE_DIR, or choose one with `gearshift unpack BUNDLE -o DIR`"
_AT_ONCE = 1 << 20
_TRIES = 3


@dataclass(frozen=True)
class Compressed:
    """A compressed bundle with verified files."""

    path: Path
    manifest: Manifest
    """Manifest of the dense bundle."""
    hash: str
    """SHA-256 of `manifest`."""
    files: dict[str, FileEntry]
    """Name -> size and hash of each stored file."""
    digest: str | None = None
    """Digest that `manifest` states of itself; None for one of version 1."""

    @property
    def bytes(self) -> int:
        """Total size of all stored files: the download."""
        return sum(entry.bytes for entry in self.files.values()) + (self.path / COMPRESSED).stat().st_size

    @property
    def dense_bytes(self) -> int:
        """Total size of all files after unpacking."""
        return sum(entry.bytes for entry in self.manifest.files.values()) + self.files[MANIFEST].bytes


def is_compressed(directory: Path) -> bool:
    """Return whether a directory is a compressed bundle."""
    return (directory / COMPRESSED).is_file()


def write_compressed(source: Path, names: Iterable[str], target: Path, cuts: Mapping[str, Sequence[Extent]]) -> None:
    """Fill an empty directory with a dense bundle's manifest, its signatures, and the named files, each compressed if
    that makes it smaller.

    `cuts`: name -> extents of a file. A file without an entry is one extent of single bytes.
    """
    (target / MANIFEST).write_bytes((source / MANIFEST).read_bytes())
    for name in names:
        content = (source / name).read_bytes()
        packed = io.BytesIO()
        write_sparse(content, cuts.get(name, [Extent(len(content), 1)]), packed)
        smaller = packed.tell() < len(content) and name != CARD
        (target / (name + SUFFIX if smaller else name)).write_bytes(packed.getvalue() if smaller else content)
    carry_signatures(source, target)
    write_listing(target)


def write_listing(directory: Path) -> None:
    """Write COMPRESSED into a directory that already holds all other files."""
    files = {
        path.name: vars(FileEntry(path.stat().st_size, sha256_of(path)))
        for path in sorted(directory.iterdir())
        if path.name not in {COMPRESSED, SIGNATURES}
    }
    content = json.dumps({"schema_version": SCHEMA.version, "files": files}, indent=1, ensure_ascii=False)
    (directory / COMPRESSED).write_text(content + "\n", encoding="utf-8")


def open_compressed(directory: Path, sha256: Callable[[Path], str] = sha256_of) -> Compressed:
    """Open a compressed bundle and check every stored file by name, size and hash; raises BundleError."""
    if not is_compressed(directory):
        raise BundleError(
            f"{directory}: expected a compressed bundle, found no {COMPRESSED} in it; it needs no unpacking"
        )
    check_place(directory / COMPRESSED)
    files = _listing(directory / COMPRESSED)
    for name, entry in files.items():
        check_file(directory, name, entry, sha256)
    if MANIFEST not in files:
        raise SchemaError(f"{directory / COMPRESSED}: does not list {MANIFEST}; export the bundle again")
    content = stored_manifest(directory)
    manifest = Manifest.from_content(content, directory / MANIFEST)
    for name in manifest.files:
        check_name(directory, name)
        if not {name, name + SUFFIX} & files.keys():
            raise IntegrityError(f"{directory}: neither {name} nor {name}{SUFFIX} is listed; export the bundle again")
    return Compressed(directory, manifest, hashlib.sha256(content).hexdigest(), files, stated_digest(content))


def _listing(path: Path) -> dict[str, FileEntry]:
    return SCHEMA.read(path, lambda raw: {name: FileEntry(**entry) for name, entry in raw["files"].items()})


def unpacked_entries() -> Entries:
    """Return the dense bundles in the user's cache directory; raise StorageError if there is no such directory."""
    return Entries(cache_directory() / "unpacked", MANIFEST, ABANDONED_S)


def unpack(compressed: Compressed, target: Path) -> None:
    """Write the dense bundle to a directory, atomically, with its signatures.

    Raises IntegrityError if a dense file does not match the manifest, StorageError if there is no room.
    """
    _require_room(compressed, target.parent)
    with replacing_directory(target, marker=MANIFEST) as fresh:
        _fill(compressed, fresh)
        carry_signatures(compressed.path, fresh)


def unpack_into_cache(compressed: Compressed, entries: Entries) -> Path:
    """Return the directory of the dense bundle in the cache, unpacking it first if needed; raises as `unpack` does.

    A directory that exists already is not checked here but by the caller: it was complete when it got its name. What
    another process removes while it is being filled is filled anew.
    """
    place = entries.directory / compressed.hash[:32]
    for left in reversed(range(_TRIES)):
        if entries.has(place):
            break
        try:
            with entries.adding(place) as fresh:
                _require_room(compressed, entries.directory)
                _fill(compressed, fresh)
        except FileExistsError:
            continue  # another process was first
        except FileNotFoundError as error:
            if not left:
                raise StorageError(_not_unpacked(compressed, entries.directory, error)) from error
        except OSError as error:
            if is_time_limit(error):
                raise
            raise StorageError(_not_unpacked(compressed, entries.directory, error)) from error
    return place


def check_copy(place: Path, expected_hash: str) -> None:
    """Raise IntegrityError unless an unpacked copy has the manifest with this SHA-256, and nothing in it is a link."""
    linked = next((path for path in place.iterdir() if not is_own_file(path)), None)
    if linked is not None:
        raise IntegrityError(f"{linked}: expected a regular file of this user in an unpacked bundle")
    found = hashlib.sha256(stored_manifest(place)).hexdigest()
    if found != expected_hash:
        raise IntegrityError(f"{place / MANIFEST}: expected sha256 {expected_hash}, found {found}; of another bundle")


def remove_damaged_copies() -> dict[Path, str]:
    """Read every unpacked bundle in the user's cache directory, all of it, and remove those that are damaged.

    Returns directory -> what was wrong; raises StorageError if there is no such directory.
    """
    wrong, entries = {}, unpacked_entries()
    for place in entries.listed():
        state = entries.state(place)
        try:
            content = stored_manifest(place)
            if not hashlib.sha256(content).hexdigest().startswith(place.name):
                raise IntegrityError(f"{place / MANIFEST}: is not of this bundle")
            for name, entry in Manifest.from_content(content, place / MANIFEST).files.items():
                check_file(place, name, entry, sha256_of)
        except (BundleError, OSError) as error:
            if is_time_limit(error):
                raise
            entries.remove(place, state)
            wrong[place] = str(error)
    return wrong


def _fill(compressed: Compressed, fresh: Path) -> None:
    """Write the manifest and the dense files; raise IntegrityError if one does not match the manifest."""
    (fresh / MANIFEST).write_bytes((compressed.path / MANIFEST).read_bytes())
    for name, expected in compressed.manifest.files.items():
        stored = compressed.path / name
        if name in compressed.files:
            _write(fresh / name, _blocks(stored), expected, stored)
        else:
            packed = stored.with_name(name + SUFFIX)
            _write(fresh / name, read_sparse(packed), expected, packed)


def _blocks(path: Path) -> Iterable[bytes]:
    with path.open("rb") as file:
        while block := file.read(_AT_ONCE):
            yield block


def _write(target: Path, blocks: Iterable[bytes], expected: FileEntry, source: Path) -> None:
    """Write a dense file, never more than its expected size, and check it."""
    digest, size = hashlib.sha256(), 0
    with target.open("wb") as file:
        for block in blocks:
            size += len(block)
            if size > expected.bytes:
                raise IntegrityError(f"{source}: expected {expected.bytes} bytes unpacked, found more; copy it again")
            digest.update(block)
            file.write(block)
    if size != expected.bytes or digest.hexdigest() != expected.sha256:
        raise IntegrityError(
            f"{source}: expected {expected.bytes} bytes of sha256 {expected.sha256} unpacked, "
            f"found {size} of {digest.hexdigest()}; export the bundle again"
        )


def _require_room(compressed: Compressed, directory: Path) -> None:
    existing = next(place for place in (directory, *directory.resolve().parents) if place.exists())
    free = shutil.disk_usage(existing).free
    if free < compressed.dense_bytes + SPARE_BYTES:
        raise StorageError(_no_room(compressed, directory, f"found {free / 1e6:.1f} MB free"))


def _not_unpacked(compressed: Compressed, directory: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    if error.errno in NO_ROOM:
        return _no_room(compressed, directory, reason)
    return f"{compressed.path}: could not be unpacked into {directory} ({reason}); {_ELSEWHERE}"


def _no_room(compressed: Compressed, directory: Path, found: str) -> str:
    needed = (compressed.dense_bytes + SPARE_BYTES) / 1e6
    return (
        f"{compressed.path}: could not be unpacked: expected {needed:.1f} MB free in {directory}, {found}; free some "
        f"space, {_ELSEWHERE}"
    )
