"""Trial of a bundle: it is loaded in a child process with limits first, so that a fault of a library ends the child.

    python -m gearshift.runtime.trust.trial BUNDLE

loads the bundle, runs its self-test at every precision that a CPU has, and answers with it; it ends with 0, or with 3
and the reason.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from gearshift.errors import BundleError, GearshiftError, StorageError
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.bundle.manifest import CPU_PRECISIONS
from gearshift.runtime.inference.opened import Opened
from gearshift.runtime.inference.self_test import check_dan, check_self_test, checked_encoder
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.inference.tokenizer_file import TRIED

LIMIT_S = 60
"""Seconds of CPU that a trial may take, and twice as many by the clock: a slow board loads for some seconds."""

LIMIT_BYTES = 2_000_000_000
"""Bytes of address space that a trial may take besides four times the bundle: weights are packed beside the file."""

REFUSED = 3
"""Exit code of a child that refused the bundle itself."""


def try_bundle(bundle: Bundle) -> None:
    """Load a bundle in a child process; raise BundleError if it is refused there, ends the child, or takes too long.

    Raises StorageError if no child can be started.
    """
    if not sys.executable:
        raise StorageError(f"{bundle.path}: could not be tried in a process of its own (this Python has no executable)")
    # Modules come from where this program has them, and never from the working directory, which may be the bundle.
    command = [sys.executable, "-P", "-m", "gearshift.runtime.trust.trial", str(bundle.path.absolute())]
    paths = [str(Path(path).absolute()) for path in sys.path if path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    try:
        with tempfile.TemporaryDirectory() as empty:
            done = subprocess.run(
                command,
                env=environment,
                cwd=empty,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=2 * LIMIT_S,
                check=False,
            )
    except subprocess.TimeoutExpired as error:
        raise _failed(bundle, f"took more than {2 * LIMIT_S} s") from error
    except (OSError, ValueError) as error:
        raise StorageError(f"{bundle.path}: could not be tried in a process of its own ({error})") from error
    if done.returncode == REFUSED:
        raise BundleError(done.stdout.decode(errors="replace").strip().splitlines()[-1])
    if done.returncode < 0:
        raise _failed(bundle, f"ended its process by {signal.Signals(-done.returncode).name}")
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise _failed(bundle, f"ended its process with {done.returncode} ({' '.join(last)[:200]})")


def _failed(bundle: Bundle, told: str) -> BundleError:
    return BundleError(f"{bundle.path}: tried in a process of its own, it {told}; do not use this bundle")


def main(path: str) -> int:
    """Load and use a bundle within the limits; return the exit code."""
    try:
        bundle = open_bundle(path)
        _limit(4 * sum(entry.bytes for entry in bundle.manifest.files.values()) + LIMIT_BYTES)
        dan = check_dan(bundle)
        checked_encoder(bundle)
        for precision in (precision for precision in bundle.precisions if precision in CPU_PRECISIONS):
            session = ElasticSession(bundle, precision, threads=1)
            check_self_test(session, bundle)
            opened = Opened.of(bundle, session, dan)
            for text in TRIED if bundle.manifest.images is None else ():
                for execute in opened.executors.values():
                    execute(opened.encoder.encode([text]), None)
            session.close()
    except GearshiftError as error:
        sys.stdout.write(f"{error}\n")
        return REFUSED
    return 0


def _limit(more: int) -> None:
    """Limit this process to `more` bytes than it has, and to LIMIT_S of CPU (Unix; no limits on other systems)."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # not on Windows

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_CPU, (LIMIT_S, LIMIT_S))
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
