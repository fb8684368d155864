"""The bundle: the directory that is shipped.

    name.gearshift/
      manifest.json    description of the bundle, with bytes and SHA-256 of every other file
      fp32.onnx  fp32.weights  int8.onnx  int8.weights     one elastic graph per precision
      tokenizer.json   read with the `tokenizers` package
      selftest.npz     a few inputs and the logits that every pool subnet must give for them
      selftest.json    a few hundred texts and the tokens that each must have
      signatures.json  signatures of the manifest's digest, if the bundle was signed (`signatures`)

The reader owns the format: the exporter writes through `write_manifest`.
No file but the manifest is parsed before its size and hash are checked, and nothing is ever unpickled. Hashing takes
most of a first load on a CPU without instructions for it: an engine hashes a graph and its weights when it opens them
(`whole=False`), and those of a precision that it does not use never.
`compressed` has the form in which a bundle is downloaded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gearshift.errors import (
    BundleError,
    GearshiftError,
    InputError,
    SchemaError,
    UnknownSubnetError,
    is_time_limit,
)
from gearshift.number_checks import is_number, shown
from gearshift.runtime.bundle.compressed import (
    Compressed,
    check_copy,
    is_compressed,
    open_compressed,
    unpack_into_cache,
    unpacked_entries,
)
from gearshift.runtime.bundle.digest import stated_digest
from gearshift.runtime.bundle.integrity import check_files, check_place
from gearshift.runtime.bundle.known_values import check_known_values
from gearshift.runtime.bundle.later import LaterFiles
from gearshift.runtime.bundle.manifest import (
    DAN_EXECUTOR,
    MANIFEST,
    PRECISIONS,
    SELF_TEST,
    TOKEN_VECTORS,
    TOKENIZER,
    FileEntry,
    Manifest,
    PoolEntry,
    stored_manifest,
    weights_of,
)
from gearshift.runtime.bundle.signatures import SIGNATURES, Signature
from gearshift.runtime.bundle.signers import ANYBODY, Signers
from gearshift.runtime.files.atomic import replace_file, sha256_of
from gearshift.runtime.files.cache import HashMemory
from gearshift.runtime.files.given_path import is_directory, named, path_of
from gearshift.runtime.files.known import Known
from gearshift.runtime.space.subnet import Subnet

CHECKS = 3
"""Version of the checks of contents; those that passed another version are made again."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bundle:
    """A verified bundle on disk."""

    path: Path
    manifest: Manifest
    hash: str
    """SHA-256 of the manifest. The manifest holds the hashes of all other files, so this identifies the exact
    contents."""
    compressed: Compressed | None = None
    """Compressed bundle that this one was unpacked from, into `path`; None if it was not."""
    digest: str | None = None
    """Digest that the manifest states of itself (`digest`); None for one of version 1, and before it is written."""
    signature: Signature | None = None
    """Signature that the bundle was accepted for (`signers`); None if no keys were given."""
    known: bool = False
    """Whether nothing in it need be checked, since it was made here."""
    memory: Known | None = None
    """Memory of the checks that bundles passed; None: each check is made every time."""
    later: LaterFiles | None = field(default=None, compare=False)
    """Files of graphs that are hashed before they are opened; None: all were."""
    hashes: HashMemory | None = None
    """Memory that gave the hashes of its files, or computed them; None: another function did."""

    def passed(self, check: str) -> bool:
        """Return whether the contents passed a check before: these very ones, in this version of the checks."""
        return self.known or (self.memory is not None and self.memory.has(self._remembered(check)))

    def remember(self, check: str) -> None:
        """Remember that the contents passed a check."""
        if self.memory is not None:
            self.memory.add(self._remembered(check))

    def _remembered(self, check: str) -> str:
        return f"{CHECKS} {check}: {self.hash}"

    def check_graph_files(self, precisions: Iterable[str]) -> None:
        """Compare the hashes of graphs and weights of these precisions, unless they were compared before.

        Raises IntegrityError, or BundleError if the bundle lacks a precision.
        """
        if self.later is not None:
            names = {name for precision in precisions for name in self.graph_files(precision)}
            with _told(self.path):
                self.later.check(names)

    def graph_files(self, precision: str) -> dict[str, FileEntry]:
        """Return name -> entry of the graph of a precision and of its weights; raise BundleError if there is none."""
        return _graph_files(self.manifest, self.pool(precision).values())

    @property
    def origin(self) -> Path:
        """Directory that was opened."""
        return self.path if self.compressed is None else self.compressed.path

    @property
    def precisions(self) -> tuple[str, ...]:
        """Precisions of the bundle's graphs, in the order of PRECISIONS."""
        found = {entry.precision for entry in self.manifest.pool if entry.executor != DAN_EXECUTOR}
        return tuple(precision for precision in PRECISIONS if precision in found)

    def pool(self, precision: str) -> dict[str, PoolEntry]:
        """Return name -> pool entry of the graph of one precision; raise BundleError if the bundle has no such
        graph."""
        entries = {
            entry.name: entry
            for entry in self.manifest.pool
            if entry.precision == precision and entry.executor != DAN_EXECUTOR
        }
        if not entries:
            raise BundleError(f"{self.path}: no {precision} graph in this bundle; it has {', '.join(self.precisions)}")
        return entries

    def entries(self, precision: str) -> dict[str, PoolEntry]:
        """Return name -> pool entry of all that an engine may switch between: subnets of one precision, and the DAN if
        any."""
        dan = self.dan
        return self.pool(precision) if dan is None else {**self.pool(precision), dan.name: dan}

    @property
    def dan(self) -> PoolEntry | None:
        """Pool entry of the DAN, the executor below the subnets of every precision; None if the bundle has none."""
        return next((entry for entry in self.manifest.pool if entry.executor == DAN_EXECUTOR), None)

    def entry(self, name: str, precision: str) -> PoolEntry:
        """Return a pool entry by name; raise UnknownSubnetError, which lists the known names."""
        entries = self.entries(precision)
        if name not in entries:
            raise UnknownSubnetError(f"unknown subnet {name!r}; this bundle has {', '.join(entries)}")
        return entries[name]

    def with_null_threshold(self, threshold: float) -> Bundle:
        """Return the bundle with this threshold of no answer for every subnet, in place of each one's own.

        Raises InputError for anything but a number, and if the bundle never says that there is no answer.
        """
        if not is_number(threshold) or all(entry.null_threshold is None for entry in self.manifest.pool):
            raise InputError(
                f"null_threshold: expected a number, for a bundle that was trained on questions without an answer, got "
                f"{shown(threshold)} for {self.manifest.name} ({self.manifest.task})"
            )
        bounded = max(-sys.float_info.max, min(sys.float_info.max, float(threshold)))
        pool = tuple(dataclasses.replace(entry, null_threshold=bounded) for entry in self.manifest.pool)
        return dataclasses.replace(self, manifest=dataclasses.replace(self.manifest, pool=pool))


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write the manifest, with sizes and hashes of all other files, into a directory that already holds these."""
    files = {
        path.name: FileEntry(path.stat().st_size, sha256_of(path))
        for path in sorted(directory.iterdir())
        if path.name not in {MANIFEST, SIGNATURES}
    }
    replace_file(directory / MANIFEST, dataclasses.replace(manifest, files=files).to_content())


def open_bundle(
    path: str | Path,
    *,
    sha256: Callable[[Path], str] = sha256_of,
    signers: Signers = ANYBODY,
    whole: bool = True,
) -> Bundle:
    """Open the bundle in a directory and check every file by name, size and SHA-256; raises a BundleError.

    The files may be links in a cache of the Hugging Face hub (`integrity.check_place`).
    A compressed bundle is first unpacked into the user's cache directory, unless it is there already. Raises
    StorageError if it cannot be unpacked.
    `sha256`: function that gives the hash of a file, computed now or remembered (`cache.HashMemory`).
    `signers`: those who must have signed it; else SignatureError, before anything but the manifest is parsed.
    `whole`: hash all files now; otherwise a graph and its weights are hashed when a session opens them.
    """
    directory = path_of(path)
    if not _is_utf8(directory):
        raise BundleError(f"{directory}: expected a path in UTF-8, since onnxruntime takes no other; rename it")
    if not os.path.lexists(directory / MANIFEST):
        found = f"no {MANIFEST} in it" if is_directory(directory) else "no such directory"
        raise BundleError(
            f"{named(directory)}: expected a bundle directory, found {found}; make one with `gearshift export`"
        )
    with _told(directory):
        opening = _open_unpacked if is_compressed(directory) else _open_verified
        return opening(directory, sha256, signers, whole)


@contextlib.contextmanager
def _told(directory: Path) -> Iterator[None]:
    """Raise BundleError in place of the system's own errors while files of a bundle are read."""
    try:
        yield
    except OSError as error:
        if is_time_limit(error):
            raise
        raise BundleError(
            f"{directory}: could not be read ({error.strerror or error}); check its permissions"
        ) from error


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:  # a byte of the name stands for itself
        return False
    return True


def _open_unpacked(directory: Path, sha256: Callable[[Path], str], signers: Signers, whole: bool) -> Bundle:
    compressed = open_compressed(directory, sha256)
    signature = signers.check(directory, compressed.manifest.name, compressed.digest)
    entries = unpacked_entries()
    place = unpack_into_cache(compressed, entries)
    state = entries.state(place)
    try:
        opened = _open_copy(place, compressed, sha256, whole)
    except (BundleError, OSError) as error:
        if is_time_limit(error):
            raise
        logger.warning("%s; unpacking %s anew", error, directory)
        entries.remove(place, state)
        opened = _open_copy(unpack_into_cache(compressed, entries), compressed, sha256, whole)
    entries.used(place)
    return dataclasses.replace(opened, compressed=compressed, signature=signature)


def _open_copy(place: Path, compressed: Compressed, sha256: Callable[[Path], str], whole: bool) -> Bundle:
    """Open an unpacked copy, whose manifest must be that of the compressed bundle; raise BundleError."""
    check_copy(place, compressed.hash)
    return _open_verified(place, sha256, ANYBODY, whole)


def _open_verified(directory: Path, sha256: Callable[[Path], str], signers: Signers, whole: bool) -> Bundle:
    check_place(directory / MANIFEST)
    content = stored_manifest(directory)
    manifest, digest = Manifest.from_content(content, directory / MANIFEST), stated_digest(content)
    signature = signers.check(directory, manifest.name, digest)
    check_known_values(manifest, directory)
    graphs = _graph_files(manifest, [each for each in manifest.pool if each.executor != DAN_EXECUTOR])
    for name in sorted(graphs.keys() & _others(manifest)):
        raise SchemaError(
            f"{directory}: {name!r} is a graph and something else in the manifest; export the bundle again"
        )
    graphs = {} if whole else graphs
    later = LaterFiles(directory, graphs, sha256)
    check_files(directory, {name: entry for name, entry in manifest.files.items() if name not in graphs}, sha256)
    _verify_references(directory, manifest)
    key = hashlib.sha256(content).hexdigest()
    return Bundle(directory, manifest, key, digest=digest, signature=signature, later=later)


def _graph_files(manifest: Manifest, entries: Iterable[PoolEntry]) -> dict[str, FileEntry]:
    """Return name -> entry of the graphs of pool entries, and of their weights."""
    names = {name for graph in {entry.file for entry in entries} for name in (graph, weights_of(Path(graph)).name)}
    return {name: entry for name, entry in manifest.files.items() if name in names}


def _others(manifest: Manifest) -> set[str]:
    """Return the names of files that are opened, but are no graph nor its weights."""
    return {TOKENIZER, SELF_TEST, TOKEN_VECTORS} | {
        each.file for each in manifest.pool if each.executor == DAN_EXECUTOR
    }


def _verify_references(directory: Path, manifest: Manifest) -> None:
    if not manifest.pool:
        raise SchemaError(f"{directory}: the pool is empty; export the bundle again")
    needed = {SELF_TEST, *([] if manifest.images is not None else [TOKENIZER])} | {
        entry.file for entry in manifest.pool
    }
    for name in sorted(needed - manifest.files.keys()):
        raise SchemaError(f"{directory}: the manifest does not list {name!r}; export the bundle again")
    seen = set()
    for entry in manifest.pool:
        if (entry.name, entry.precision) in seen:
            raise SchemaError(
                f"{directory}: the pool lists {entry.name} at {entry.precision} twice; export the bundle again"
            )
        seen.add((entry.name, entry.precision))
        if entry.executor == DAN_EXECUTOR:
            if entry.choice or entry.subnet != Subnet(()):
                raise SchemaError(f"{directory}: {entry.name}: a DAN has no layers to choose; export the bundle again")
            continue
        try:
            made = manifest.space.subnet(entry.choice)
        except GearshiftError as error:
            raise SchemaError(f"{directory}: {entry.name}: {error}; export the bundle again") from error
        if made != entry.subnet:
            raise SchemaError(
                f"{directory}: choice {list(entry.choice)} of {entry.name} makes another subnet; export again"
            )
