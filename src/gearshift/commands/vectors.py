"""`gearshift vectors`: what a client in another language must give for a bundle."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gearshift.errors import StorageError
from gearshift.runtime import Bundle, open_bundle
from gearshift.terminal.options import command
from gearshift.terminal.output import progress_line, show

if TYPE_CHECKING:
    from gearshift.runtime.inference.opened import Opened


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    command(parser, vectors)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="folder to write them to")


def vectors(options: argparse.Namespace) -> int:
    """Write the text vectors and the decision vectors of a bundle to a folder."""
    from gearshift.runtime.conformance.decisions import make_decision_vectors, write_decision_vectors
    from gearshift.runtime.conformance.texts import make_text_vectors, refusals, write_text_vectors

    bundle = open_bundle(options.bundle)
    bundle.manifest.require_one_head("vectors, which are for clients with one output,")
    bundle.manifest.require_texts("vectors")
    with opened_precisions(bundle) as opened, progress_line() as progress:
        texts = make_text_vectors(opened, progress)
        refused = refusals(next(iter(opened.values())))
    decisions = make_decision_vectors()
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{options.output}: could not be made ({error.strerror}); name another folder") from error
    write_text_vectors(options.output, bundle, texts, refused)
    write_decision_vectors(options.output, decisions)
    steps = sum(len(scenario["steps"]) for scenario in decisions["scenarios"])
    result = {"bundle": str(bundle.origin), "texts": len(texts), "refused": len(refused), "decisions": steps}
    line = f"{options.output}: {len(texts)} texts, {len(refused)} refusals, {steps} decisions of {bundle.origin}"
    show(options, result, [line])
    return 0


@contextlib.contextmanager
def opened_precisions(bundle: Bundle) -> Iterator[dict[str, Opened]]:
    """Open a bundle at each of its precisions, with one thread."""
    from gearshift.runtime.inference.opened import Opened
    from gearshift.runtime.inference.session import ElasticSession

    with contextlib.ExitStack() as stack:
        opened = {}
        for precision in bundle.precisions:
            session = stack.enter_context(contextlib.closing(ElasticSession(bundle, precision, threads=1)))
            opened[precision] = Opened.of(bundle, session)
        yield opened
