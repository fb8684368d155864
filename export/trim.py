"""Trimming of a bundle: keep only the subnets that a class of devices needs, and the weights that they use.

It needs no checkpoint and no torch. The graphs lose the options, layers and segments that no kept subnet uses. All
other operators and weights stay unchanged, so that every kept subnet gives exactly the same answers.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx

from gearshift.errors import InputError
from gearshift.export.card import model_card
from gearshift.export.checks.guard import check_packed
from gearshift.export.rewrite.first_token import pick_first_early
from gearshift.export.rewrite.join import join_segments
from gearshift.export.rewrite.options import keep_options
from gearshift.export.rewrite.read import read_graphs, rewriting
from gearshift.export.rewrite.weights_file import LaidOut, lay_out, weights_location
from gearshift.runtime.bundle.bundle import Bundle, open_bundle, write_manifest
from gearshift.runtime.bundle.compressed import CARD
from gearshift.runtime.bundle.manifest import CPU_PRECISIONS, MANIFEST, SELF_TEST, FileEntry, Manifest, PoolEntry
from gearshift.runtime.files.atomic import replacing_directory
from gearshift.runtime.graph.check import check_graph
from gearshift.runtime.inference.self_test import check_self_test, checked_encoder
from gearshift.runtime.inference.self_test_file import Arrays, read_self_test
from gearshift.runtime.inference.session import ElasticSession

MEGABYTE = 1_000_000
UNKNOWN_HASH = "0" * 64
"""Placeholder of the length of a SHA-256, so that the size of the manifest is known before the files are written."""


def trim_bundle(
    bundle: Bundle,
    out: Path,
    *,
    keep: Sequence[str] | None = None,
    max_mb: float | None = None,
    precisions: Sequence[str] | None = None,
) -> Bundle:
    """Write the bundle of the kept subnets, atomically, check it, and return it.

    `keep`: names of the subnets. `max_mb`, in its place: largest size of all files in MB (1,000,000 bytes); `fitting`
    then chooses the subnets. `precisions`: precisions to keep; None keeps all. Raises UnknownSubnetError, InputError if
    the size cannot be reached, StorageError if `out` cannot be written.
    """
    bundle.manifest.require_texts("trim")
    if (keep is None) == (max_mb is None):
        raise InputError("trim: expected either names of subnets to keep or a largest size in MB, not both")
    bundle.manifest.require_one_head("trim")
    trimming = Trimming(bundle, precisions)
    names = trimming.checked(keep) if keep is not None else trimming.fitting(max_mb or 0)
    trimmed = trimming.of(names, out.name.removesuffix(".gearshift"))
    with replacing_directory(out, marker=MANIFEST) as fresh:
        trimmed.write(fresh, bundle.path)
        written = open_bundle(fresh)
        checked_encoder(written)
        for precision in written.precisions:
            check_graph(written, precision)
            if precision in CPU_PRECISIONS:  # weights are not packed on a GPU
                check_packed(fresh / next(iter(written.pool(precision).values())).file)
            session = ElasticSession(written, precision, threads=1)
            check_self_test(session, written)
            session.close()
    return dataclasses.replace(written, path=out)


@dataclass(frozen=True)
class Trimmed:
    """Trimmed bundle before it is written."""

    manifest: Manifest
    """Manifest with the sizes of its `files`, and UNKNOWN_HASH for their hashes."""
    graphs: dict[str, LaidOut]
    others: dict[str, bytes]
    """Name -> content of the files other than graphs."""

    @property
    def bytes(self) -> int:
        """Size of all files together, including the manifest."""
        return len(self.manifest.to_content()) + sum(file.bytes for file in self.manifest.files.values())

    def write(self, directory: Path, old: Path) -> None:
        """Write all files into an empty directory, with weights from the old bundle."""
        for name, graph in self.graphs.items():
            graph.write(directory / name, old)
        for name, content in self.others.items():
            (directory / name).write_bytes(content)
        write_manifest(directory, self.manifest)


class Trimming:
    """Trimming of one bundle to any of its subnets."""

    def __init__(self, bundle: Bundle, precisions: Sequence[str] | None = None) -> None:
        self.bundle = bundle
        chosen = bundle.precisions if precisions is None else precisions
        self.entries = {precision: bundle.pool(precision) for precision in bundle.precisions if precision in chosen}
        for precision in chosen:
            bundle.pool(precision)  # raises if the bundle lacks it
        if not self.entries:
            raise InputError(f"precisions: expected some of {', '.join(bundle.precisions)}, got none")
        self.dan = bundle.dan
        graph = dict.fromkeys(name for pool in self.entries.values() for name in pool)
        self.names = (*graph, *(() if self.dan is None else (self.dan.name,)))

    def checked(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the names in the bundle's order; raises UnknownSubnetError, which lists all."""
        if not any(name != self._dan_name for name in names):
            raise InputError(f"trim: expected at least one subnet to keep, of {', '.join(self.names)}; got none")
        for name in names:
            if name not in self.names:
                self.bundle.entry(name, next(iter(self.entries)))
        return tuple(name for name in self.names if name in names)

    def fitting(self, max_mb: float) -> tuple[str, ...]:
        """Return the subnets of the best bundle of at most `max_mb` MB.

        The most accurate subnet that fits comes first. The others are tried in order of the bytes that they add to its
        bundle, least first (of equals the more accurate first), and kept if they fit: a subnet within a kept one adds a
        branch and no weights. Raises InputError with the smallest possible size if not even one fits.
        """
        limit = max_mb * MEGABYTE
        alone = {name: self.of([name]).bytes for name in self.names if name != self._dan_name}
        affordable = [name for name in alone if alone[name] <= limit]
        if not affordable:
            smallest = min(alone, key=lambda name: alone[name])
            raise InputError(
                f"trim: no subnet fits into {max_mb:g} MB; expected {-(-alone[smallest] // 1000) / 1000:.3f} MB or "
                f"more, the size of {smallest} alone at {' and '.join(self.entries)}"
            )
        kept = [min(affordable, key=lambda name: (-self._accuracy(name), alone[name]))]
        others = [*affordable, *self.names[len(alone) :]]
        added = {name: self.of([*kept, name]).bytes for name in others if name not in kept}
        for name in sorted(added, key=lambda name: (added[name], -self._accuracy(name))):
            if self.of([*kept, name]).bytes <= limit:
                kept.append(name)
        return self.checked(kept)

    @property
    def _dan_name(self) -> str | None:
        return None if self.dan is None else self.dan.name

    def _accuracy(self, name: str) -> float:
        """Return the accuracy of a subnet at its best kept precision, on the rows that choose."""
        if self.dan is not None and name == self.dan.name:
            return self.dan.choosing_accuracy
        return max(pool[name].choosing_accuracy for pool in self.entries.values() if name in pool)

    def of(self, names: Sequence[str], title: str | None = None, *, joined: bool = False) -> Trimmed:
        """Trim the bundle to these subnets; `title`: its name, default that of the old bundle.

        `joined`: join neighbouring segments that every kept subnet keeps or drops together, and pick the first token as
        early as possible. That is faster, but fp32 then adds in another order, and int8 rounds differently.
        """
        old = self.bundle.manifest
        entries = [entry for pool in self.entries.values() for name, entry in pool.items() if name in names]
        options = [sorted(set(places)) for places in zip(*(entry.choice for entry in entries), strict=True)]
        space = old.space.thinned(options)
        dan = () if self.dan is None or self.dan.name not in names else (self.dan,)
        pool = (*(dataclasses.replace(entry, choice=space.choice(entry.subnet)) for entry in entries), *dan)
        int8 = "int8" in self.entries
        manifest = dataclasses.replace(
            old,
            name=title or old.name,
            space=space,
            pool=pool,
            files={},
            losses={name: loss for name, loss in old.losses.items() if int8 and name in names},
            wide_layers=old.wide_layers if int8 else (),
        )
        graphs = {name: self._graph(name, options, joined) for name in sorted({entry.file for entry in entries})}
        others = {**self._copied, **{entry.file: self._dan_content for entry in dan}, SELF_TEST: self._self_test(pool)}
        if CARD in others:
            others[CARD] = model_card(manifest).encode()
        sizes = {name: len(content) for name, content in others.items()}
        for name, graph in graphs.items():
            sizes |= graph.sizes(name)
        files = {name: FileEntry(size, UNKNOWN_HASH) for name, size in sorted(sizes.items())}
        return Trimmed(dataclasses.replace(manifest, files=files), graphs, others)

    def _graph(self, name: str, options: Sequence[Sequence[int]], joined: bool) -> LaidOut:
        model = self._models[name]
        with rewriting(self.bundle, name):
            pruned = keep_options(model, options)
            return lay_out(pick_first_early(join_segments(pruned, self.bundle.path)) if joined else pruned)

    @cached_property
    def _models(self) -> dict[str, onnx.ModelProto]:
        """Name of the file -> graph of the old bundle, with its weights left on disk."""
        return read_graphs(self.bundle)

    @property
    def _dan_files(self) -> set[str]:
        return set() if self.dan is None else {self.dan.file}

    @cached_property
    def _dan_content(self) -> bytes:
        assert self.dan is not None
        return (self.bundle.path / self.dan.file).read_bytes()

    @cached_property
    def _copied(self) -> dict[str, bytes]:
        """Name -> content of the files other than graphs, weights and the DAN."""
        weights = {weights_location(model) for model in self._models.values()}
        names = self.bundle.manifest.files.keys() - self._models.keys() - weights - self._dan_files
        return {name: (self.bundle.path / name).read_bytes() for name in names}

    @cached_property
    def _arrays(self) -> Arrays:
        """Arrays of the self-test of the old bundle."""
        return read_self_test(self.bundle)

    def _self_test(self, pool: Sequence[PoolEntry]) -> bytes:
        """Return the self-test without the answers of subnets that are not kept."""
        kept = {(entry.precision, entry.name) for entry in pool}
        gone = [(entry.precision, entry.name) for entry in self.bundle.manifest.pool]
        endings = tuple(f".{precision}.{name}" for precision, name in gone if (precision, name) not in kept)
        left = {name: array for name, array in self._arrays.items() if not name.endswith(endings)}
        content = io.BytesIO()
        np.savez_compressed(content, allow_pickle=False, **left)
        return content.getvalue()
