"""Faults at the writes of what is kept between runs: a kill, a full disk, several processes at once.

    python -m tests.runtime.cache_faults kill|full|limits|together COMPRESSED STEP

Every case begins with an empty cache, in a fork of this process. After the fault another fork answers from what is
left. The process ends with 0 if all is right, and prints the number of cases.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from gearshift.device_profiles.profile import LatencyTable, load_profile
from gearshift.errors import StorageError
from gearshift.runtime.bundle.bundle import open_bundle
from gearshift.runtime.files.cache import HashMemory, cache_directory
from gearshift.runtime.inference.providers import CPU
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.packed.cache import PackedCache
from gearshift.runtime.profiles.store import save_table
from tests.runtime.faults import at_write, disk_full, forked, killed, limit_files
from tests.runtime.kept import answers, flip, places

TOGETHER = 6
LIMITS = (0, 100, 2000, 40_000, 60_000, 150_000, 300_000)
"""Bytes of the largest file that may be written; the largest of an entry has half a megabyte."""


def work(shipped: Path) -> list[list[float]]:
    """Write all that an engine keeps, and return its answers."""
    bundle = open_bundle(shipped, sha256=HashMemory().sha256_of)
    session = PackedCache().open(bundle, "fp32", threads=1) or ElasticSession(bundle, "fp32", threads=1)
    found = answers(session, bundle)
    session.close()
    times: dict[str, tuple[float, ...]] = dict.fromkeys(bundle.pool("fp32"), (8.0,))
    table = LatencyTable(bundle.hash, "fp32", CPU[0], 1, (16,), times, times, 1, "by hand", "2026-01-31")
    save_table(cache_directory() / "profile.json", table)
    return found


def attempt(shipped: Path, right: list[list[float]]) -> int:
    """Return 0 for the right answers, 1 for wrong ones, 3 if what was written says that there is no room."""
    try:
        return int(work(shipped) != right)
    except StorageError:
        return 3
    except Exception as error:
        if "could not be written" in str(error):  # the profile, which is written last
            return 3
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 99


def is_clean(shipped: Path, right: list[list[float]]) -> int:
    """Return 0 if all is as it would be without a fault before."""
    if work(shipped) != right:
        return 1
    left = [path for name in ("packed", "unpacked") for path in (cache_directory() / name).iterdir()]
    load_profile(cache_directory() / "profile.json")
    return 0 if all(PackedCache().remove_damaged() == {} and len(path.name) == 32 for path in left) else 2


def check(shipped: Path, right: list[list[float]], fault: Callable[[], int], allowed: set[int]) -> int:
    """Let a fault happen to an empty cache; return how the fork ended."""
    shutil.rmtree(cache_directory(), ignore_errors=True)
    ended = forked(fault)
    assert ended in allowed, ended
    again = forked(lambda: is_clean(shipped, right))
    assert again == 0, again
    return ended


def at_each_write(shipped: Path, right: list[list[float]], step: int, fault: Callable[[], None]) -> int:
    """Check a fault at every `step`-th write; return the number of cases."""

    def counted() -> int:
        seen = at_write(-1, cache_directory(), fault)
        work(shipped)
        return len(seen)

    shutil.rmtree(cache_directory(), ignore_errors=True)
    writes = forked(counted)
    assert 20 < writes < 90, writes
    for number in range(0, writes, step):

        def case(number: int = number) -> int:
            at_write(number, cache_directory(), fault)
            return attempt(shipped, right)

        check(shipped, right, case, {-signal.SIGKILL} if fault is killed else {0, 3})
    return len(range(0, writes, step))


def at_limits(shipped: Path, right: list[list[float]]) -> int:
    """Check limits on the size of files."""
    for limit in LIMITS:

        def case(limit: int = limit) -> int:
            limit_files(limit)
            return attempt(shipped, right)

        check(shipped, right, case, {0, 3})
    return len(LIMITS)


def together(shipped: Path, right: list[list[float]]) -> int:
    """Check several processes that begin at once: with an empty cache, and with one whose every file is damaged."""

    def several() -> int:
        started = time.monotonic() + 0.5
        children = []
        for _ in range(TOGETHER):
            child = os.fork()
            if not child:
                time.sleep(max(0.0, started - time.monotonic()))
                os._exit(attempt(shipped, right))
            children.append(child)
        return max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)

    check(shipped, right, several, {0})
    for path in sorted(cache_directory().rglob("*")):
        if path.is_file():
            flip(path, places(path.stat().st_size, 3)[1])
    (cache_directory() / "profile.json").unlink()
    ended = forked(several)
    assert ended == 0, ended
    again = forked(lambda: is_clean(shipped, right))
    assert again == 0, again
    return 2 * TOGETHER


def main(kind: str, shipped: Path, step: int) -> None:
    """Check all cases of one kind."""
    really = time.time
    time.time = lambda: really() + 10  # by which the files count as settled, so that hashes are remembered
    with tempfile.TemporaryDirectory() as name:
        os.environ["GEARSHIFT_CACHE_DIR"] = str(Path(name) / "cache")
        answered = Path(name) / "answers"
        forked(lambda: answered.write_text(json.dumps(work(shipped))) * 0)  # forks need a process without threads
        right = json.loads(answered.read_text())
        if kind == "limits":
            cases = at_limits(shipped, right)
        elif kind == "together":
            cases = together(shipped, right)
        else:
            cases = at_each_write(shipped, right, step, killed if kind == "kill" else disk_full)
    sys.stdout.write(f"{cases}\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
