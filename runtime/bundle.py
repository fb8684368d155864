"""The bundle: the directory that is shipped, and the manifest that says what is in it.

    name.gearshift/
      manifest.json    what follows, and bytes and sha256 of every other file
      fp32.onnx  fp32.weights  int8.onnx  int8.weights     one elastic graph per precision
      tokenizer.json   read with the `tokenizers` package
      selftest.npz     a few inputs and the logits that every pool subnet must give for them

The reader owns the format: the exporter writes through `write_manifest`. Nothing is parsed before its
size and hash were checked, except the manifest itself, and nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gearshift.runtime.errors import (
    BundleError,
    GearshiftError,
    InputError,
    IntegrityError,
    SchemaError,
    UnknownSubnetError,
)
from gearshift.runtime.space import Space, Subnet
from gearshift.runtime.storage import replace_file, sha256_of

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
SELF_TEST = "selftest.npz"
TOKENIZER = "tokenizer.json"
PRECISIONS = ("fp32", "int8")
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""What a graph may take besides `choice`."""


@dataclass(frozen=True)
class FileEntry:
    """Size and hash that a file of the bundle must have."""

    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        _require(_whole(self.bytes), "bytes of a file", self.bytes)
        _require(isinstance(self.sha256, str), "sha256 of a file", self.sha256)


@dataclass(frozen=True)
class PoolEntry:
    """A subnet that ships measured, and how it is run."""

    name: str
    subnet: Subnet
    executor: str
    """`elastic`: the graph in `file` takes `choice` as an input."""
    file: str
    choice: tuple[int, ...]
    precision: str
    accuracy: float
    """Share of held-out rows answered right, from 0 to 1, measured at this precision."""
    parameters: int
    macs: int
    """Multiply-accumulates for a text of `Manifest.macs_tokens` tokens."""

    def __post_init__(self) -> None:
        for name in ("name", "executor", "file", "precision"):
            _require(isinstance(getattr(self, name), str), f"{name} of a pool entry", getattr(self, name))
        for name in ("parameters", "macs"):
            _require(_whole(getattr(self, name)), f"{name} of {self.name}", getattr(self, name))
        _require(all(map(_whole, self.choice)), f"choice of {self.name}", self.choice)
        share = isinstance(self.accuracy, int | float) and 0 <= self.accuracy <= 1  # no NaN
        _require(share, f"accuracy of {self.name} (a share from 0 to 1)", self.accuracy)

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
        return {
            **vars(self),
            "subnet": [list(layer) for layer in self.subnet.layers],
            "choice": list(self.choice),
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> PoolEntry:
        """The entry that `to_dict` wrote."""
        subnet = Subnet(tuple((heads, neurons) for heads, neurons in raw["subnet"]))
        return cls(**{**raw, "subnet": subnet, "choice": tuple(raw["choice"])})


@dataclass(frozen=True)
class Manifest:
    """What a bundle holds."""

    name: str
    task: str
    """`classification` so far."""
    labels: tuple[str, ...]
    max_length: int
    """Tokens of a text, the special ones included; longer texts are cut."""
    pad_id: int
    inputs: tuple[str, ...]
    """Names of the graph's token inputs, each int64 of shape (batch, tokens)."""
    space: Space
    pool: tuple[PoolEntry, ...]
    macs_tokens: int
    session_options: dict[str, str]
    """Configuration entries that ONNX Runtime must be given for this graph."""
    minimum_onnxruntime: str
    accuracy_rows: int
    """Held-out rows that the accuracies of the pool were measured on."""
    licence: str
    made_by: str
    files: dict[str, FileEntry]

    def __post_init__(self) -> None:
        for name in ("name", "task", "minimum_onnxruntime", "licence", "made_by"):
            _require(isinstance(getattr(self, name), str), name, getattr(self, name))
        for name in ("max_length", "pad_id", "macs_tokens", "accuracy_rows"):
            _require(_whole(getattr(self, name)), name, getattr(self, name))
        _require(_texts(self.labels), "labels (different texts)", self.labels)
        _require(_texts(self.inputs) and set(self.inputs) <= set(INPUTS), f"inputs (out of {INPUTS})", self.inputs)
        options = self.session_options
        whole = isinstance(options, dict) and all(isinstance(text, str) for pair in options.items() for text in pair)
        _require(whole, "session_options (text by text)", options)

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
        return {
            "schema_version": SCHEMA_VERSION,
            **vars(self),
            "labels": list(self.labels),
            "inputs": list(self.inputs),
            "space": self.space.to_dict(),
            "pool": [entry.to_dict() for entry in self.pool],
            "files": {name: vars(entry) for name, entry in sorted(self.files.items())},
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Manifest:
        """The manifest that `to_dict` wrote; raises SchemaError where the form is another."""
        version = raw.get("schema_version")
        if not _whole(version) or version != SCHEMA_VERSION:
            hint = (
                "install a newer gearshift"
                if isinstance(version, int) and version > SCHEMA_VERSION
                else "export it again"
            )
            raise SchemaError(f"manifest: expected schema version {SCHEMA_VERSION}, found {version!r}; {hint}")
        fields = {key: value for key, value in raw.items() if key != "schema_version"}
        try:
            return cls(
                **{
                    **fields,
                    "labels": _tuple(fields["labels"]),
                    "inputs": _tuple(fields["inputs"]),
                    "space": Space.from_dict(fields["space"]),
                    "pool": tuple(PoolEntry.from_dict(entry) for entry in fields["pool"]),
                    "files": {name: FileEntry(**entry) for name, entry in fields["files"].items()},
                }
            )
        except (KeyError, TypeError, ValueError, AttributeError, GearshiftError) as error:
            raise SchemaError(
                f"manifest: not of schema version {SCHEMA_VERSION} ({error}); export the bundle again"
            ) from error


def _require(holds: bool, what: str, found: object) -> None:
    if not holds:
        raise InputError(f"{what}: not usable: {found!r}")


def _whole(value: object) -> bool:
    """Whether this is a whole number from 0 on; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _texts(values: tuple[object, ...]) -> bool:
    """Whether these are texts, one at least, none twice."""
    return bool(values) and all(isinstance(value, str) for value in values) and len(set(values)) == len(values)


def _tuple(raw: object) -> tuple[Any, ...]:
    if not isinstance(raw, list):  # a text would fall into its letters
        raise TypeError(f"expected a list, found {raw!r}")
    return tuple(raw)


@dataclass(frozen=True)
class Bundle:
    """A verified bundle on disk."""

    path: Path
    manifest: Manifest
    hash: str
    """sha256 of the manifest, which holds the hashes of all other files: names these exact contents."""

    @property
    def precisions(self) -> tuple[str, ...]:
        """Precisions that the pool has, in the order of PRECISIONS."""
        found = {entry.precision for entry in self.manifest.pool}
        return tuple(precision for precision in PRECISIONS if precision in found)

    def pool(self, precision: str) -> dict[str, PoolEntry]:
        """Name -> pool entry at one precision; raises BundleError where the bundle has none."""
        entries = {entry.name: entry for entry in self.manifest.pool if entry.precision == precision}
        if not entries:
            raise BundleError(f"{self.path}: no {precision} graph in this bundle; it has {', '.join(self.precisions)}")
        return entries

    def entry(self, name: str, precision: str) -> PoolEntry:
        """One pool entry by name; raises UnknownSubnetError that lists the names there are."""
        entries = self.pool(precision)
        if name not in entries:
            raise UnknownSubnetError(f"unknown subnet {name!r}; this bundle has {', '.join(entries)}")
        return entries[name]


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write the manifest into a directory that holds all other files, whose sizes and hashes it takes."""
    files = {
        path.name: FileEntry(path.stat().st_size, sha256_of(path))
        for path in sorted(directory.iterdir())
        if path.name != MANIFEST
    }
    complete = Manifest(**{**vars(manifest), "files": files})
    text = json.dumps(complete.to_dict(), indent=1, ensure_ascii=False) + "\n"
    replace_file(directory / MANIFEST, text.encode())


def open_bundle(path: str | Path) -> Bundle:
    """The bundle in a directory, every file checked by name, size and sha256; raises a BundleError."""
    directory = Path(path)
    manifest_path = directory / MANIFEST
    if not manifest_path.is_file():
        found = "no such directory" if not directory.exists() else f"no {MANIFEST} in it"
        raise BundleError(f"{directory}: expected a bundle directory, found {found}; make one with `gearshift export`")
    try:
        return _open_verified(directory)
    except OSError as error:
        raise BundleError(
            f"{directory}: could not be read ({error.strerror or error}); check its permissions"
        ) from error


def _open_verified(directory: Path) -> Bundle:
    manifest_path = directory / MANIFEST
    content = manifest_path.read_bytes()
    try:
        raw = json.loads(content)
    except ValueError as error:
        raise IntegrityError(f"{manifest_path}: not readable as JSON ({error}); copy the bundle again") from error
    if not isinstance(raw, dict):
        raise SchemaError(
            f"{manifest_path}: expected a JSON object, found a {type(raw).__name__}; export the bundle again"
        )
    manifest = Manifest.from_dict(raw)
    for name, entry in manifest.files.items():
        _verify_file(directory, name, entry)
    _verify_references(directory, manifest)
    return Bundle(directory, manifest, hashlib.sha256(content).hexdigest())


def _verify_file(directory: Path, name: str, expected: FileEntry) -> None:
    if name != Path(name).name or name in {"", ".", ".."} or "\\" in name:
        raise IntegrityError(f"{directory}: the manifest names {name!r}; expected a plain file name inside the bundle")
    path = directory / name
    if path.is_symlink():
        raise IntegrityError(f"{path}: expected a file, found a symbolic link; copy the bundle with its files")
    if not path.is_file():
        raise IntegrityError(f"{path}: missing; copy the bundle again")
    size = path.stat().st_size
    if size != expected.bytes:
        raise IntegrityError(f"{path}: expected {expected.bytes} bytes, found {size}; copy the bundle again")
    found = sha256_of(path)
    if found != expected.sha256:
        raise IntegrityError(f"{path}: expected sha256 {expected.sha256}, found {found}; copy the bundle again")


def _verify_references(directory: Path, manifest: Manifest) -> None:
    if not manifest.pool:
        raise SchemaError(f"{directory}: the pool is empty; export the bundle again")
    needed = {TOKENIZER, SELF_TEST} | {entry.file for entry in manifest.pool}
    for name in sorted(needed - manifest.files.keys()):
        raise SchemaError(f"{directory}: the manifest does not list {name!r}; export the bundle again")
    seen = set()
    for entry in manifest.pool:
        if entry.precision not in PRECISIONS:
            raise SchemaError(
                f"{directory}: {entry.name}: expected precision {' or '.join(PRECISIONS)}, "
                f"found {entry.precision!r}; install a newer gearshift"
            )
        if (entry.name, entry.precision) in seen:
            raise SchemaError(
                f"{directory}: the pool lists {entry.name} at {entry.precision} twice; export the bundle again"
            )
        seen.add((entry.name, entry.precision))
        try:
            made = manifest.space.subnet(entry.choice)
        except GearshiftError as error:
            raise SchemaError(f"{directory}: {entry.name}: {error}; export the bundle again") from error
        if made != entry.subnet:
            raise SchemaError(
                f"{directory}: choice {list(entry.choice)} of {entry.name} makes another subnet; export again"
            )
