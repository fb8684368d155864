"""Dedicated graph of one subnet of a bundle: the same operators, without switches, one segment per layer."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gearshift.export.rewrite.join import segments_run
from gearshift.export.rewrite.read import read_graphs
from gearshift.export.trim import Trimming
from gearshift.runtime.bench.dedicated import Rival, Rivals
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.inference.self_test import check_self_test
from gearshift.runtime.inference.session import ElasticSession


def dedicated_graphs(bundle: Bundle) -> Rivals:
    """Return a function that opens the dedicated graph of a subnet; in fp32 its answers are checked.

    Raises InputError for a bundle of several heads, and for one of images, whose segments cannot be joined yet.
    """
    bundle.manifest.require_one_head("a comparison with dedicated graphs")
    bundle.manifest.require_texts("compare with dedicated graphs")

    @contextlib.contextmanager
    def rival(precision: str, name: str, threads: int) -> Iterator[Rival]:
        entry = bundle.entry(name, precision)
        model = read_graphs(bundle)[entry.file]
        with tempfile.TemporaryDirectory(prefix="gearshift-") as scratch:
            Trimming(bundle, [precision]).of([name], joined=True).write(Path(scratch), bundle.path)
            alone = open_bundle(scratch)
            with contextlib.closing(ElasticSession(alone, precision, threads=threads)) as session:
                if precision == "fp32":  # int8 rounds the same weights differently
                    check_self_test(session, alone)
                choice = alone.entry(name, precision).choice
                segments = segments_run(model, bundle.manifest.space.shape.stored(entry.subnet.layers))
                yield Rival(session, choice, segments)

    return rival
