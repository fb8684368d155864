"""Making of packed weights: a graph, saved as ONNX Runtime holds it, in the directory of a new entry.

In int8 the segments of every option are joined first (`graph.joined`), which takes more of the disk and saves a tenth
of the time of short texts. A graph whose joined weights fail the bundle's self-test, or have no room, stays as it is.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from gearshift.errors import BundleError, IntegrityError, is_time_limit
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.bundle.manifest import weights_of
from gearshift.runtime.inference.self_test import check_self_test
from gearshift.runtime.inference.session import ElasticSession, save_packed

GRAPH = "graph.onnx"

SIZE_FACTOR = 2.2
"""Bytes of an entry / bytes of the weights that it is made of: everything twice, and some padding."""

JOINED = ("int8",)
"""Precisions whose segments are joined. In fp32 a cut costs a few per cent, and the file four times as much."""

Room = Callable[[int], None]
"""Function that raises OSError unless the disk has so many bytes to spare."""

logger = logging.getLogger(__name__)


def packed_session(bundle: Bundle, precision: str, fresh: Path, threads: int, require_room: Room) -> ElasticSession:
    """Save the packed weights of a checked graph in a new directory, and open them.

    Raises BundleError if they cannot be saved or fail the self-test, OSError without room for them.
    """
    source = bundle.path / next(iter(bundle.pool(precision).values())).file
    if precision in JOINED:
        try:
            session = _joined(bundle, precision, source, fresh, threads, require_room)
        except IntegrityError:
            raise
        except (OSError, ValueError, BundleError) as error:
            if is_time_limit(error):
                raise
            logger.info("%s: segments stay apart (%s)", source, error)
            for name in (GRAPH, weights_of(Path(GRAPH)).name):
                (fresh / name).unlink(missing_ok=True)
        else:
            if session is not None:
                return session
    weights = sum(entry.bytes for entry in bundle.graph_files(precision).values())
    require_room(int(SIZE_FACTOR * weights))
    return _saved(bundle, precision, source, fresh, threads)


def _joined(
    bundle: Bundle, precision: str, source: Path, fresh: Path, threads: int, require_room: Room
) -> ElasticSession | None:
    """Save the packed weights of a graph with joined segments; None if it has none to join."""
    from gearshift.runtime.packed.joined_files import JoinedFiles  # most starts make no entry

    files = JoinedFiles.of(source)
    if files is None:
        return None
    require_room(int((1 + SIZE_FACTOR) * files.bytes))  # they lie beside the entry while it is made
    with tempfile.TemporaryDirectory(dir=fresh) as scratch:
        return _saved(bundle, precision, files.write(Path(scratch) / GRAPH), fresh, threads)


def _saved(bundle: Bundle, precision: str, source: Path, fresh: Path, threads: int) -> ElasticSession:
    """Save packed weights, and the graphs of single options where that can be; open what this many threads use."""
    save_packed(source, fresh / GRAPH, bundle.manifest.session_options)
    session = _tested(bundle, precision, fresh, threads)
    if _with_options(bundle, source, fresh / GRAPH) and threads == 1:
        session.close()
        session = _tested(bundle, precision, fresh, threads)
    return session


def _with_options(bundle: Bundle, source: Path, saved: Path) -> bool:
    """Write the graphs of single options; return whether there are any."""
    from gearshift.runtime.packed.option_files import write_options  # most starts make no entry

    try:
        return write_options(bundle.manifest.space, source, saved)
    except ValueError as error:
        logger.info("%s: options stay in one graph (%s)", source, error)
        return False


def _tested(bundle: Bundle, precision: str, fresh: Path, threads: int) -> ElasticSession:
    session = ElasticSession(bundle, precision, threads=threads, graph=fresh / GRAPH)
    with closed_on_error(session):
        check_self_test(session, bundle)
    return session


@contextlib.contextmanager
def closed_on_error(session: ElasticSession) -> Iterator[None]:
    """Close a session if the `with` block raises."""
    try:
        yield
    except BaseException:
        session.close()
        raise
