"""One load of a bundle in a process of its own, by whatever gearshift stands first on the path; run by `loading`.

    PYTHONPATH=CHECKOUT/src python load_once.py BUNDLE PRECISION CACHE PROFILE [AT_ONCE]

prints as JSON the milliseconds of the load and of its first answer, by the clock and of this process's CPU, and the
largest memory until then in MB. CACHE: 1 with the cache directory, 0 without. A PROFILE that is not there is measured
and saved first. AT_ONCE: 1 to wait for the smallest subnet alone; a version that cannot waits for all.
"""

from __future__ import annotations

import inspect
import json
import sys
import time
from pathlib import Path
from typing import Any

from gearshift.runtime import Engine

TEXT = "w10 w11 w12 w13 w14 w15 w16 w17"


def main(bundle: str, precision: str, cache: str, profile: str, at_once: str = "0") -> None:
    """Load, answer, and print the times."""
    kept = cache == "1"
    known = "at_once" in inspect.signature(Engine.load).parameters
    more: dict[str, Any] = {"at_once": True} if at_once == "1" and known else {}
    if not Path(profile).exists():
        with Engine.load(bundle, threads=1, precision=precision, cache=kept) as engine:
            engine.save_profile(profile)
        return
    began, used = time.perf_counter_ns(), time.process_time_ns()
    engine = Engine.load(bundle, threads=1, precision=precision, profile=profile, cache=kept, **more)
    loaded, by_then = time.perf_counter_ns(), time.process_time_ns()
    engine.run(TEXT, deadline_ms=50.0)
    found = {
        "wall_ms": (loaded - began) / 1e6,
        "cpu_ms": (by_then - used) / 1e6,
        "first_wall_ms": (time.perf_counter_ns() - loaded) / 1e6,
        "answered_cpu_ms": (time.process_time_ns() - used) / 1e6,
        "peak_mb": _peak_mb(),
    }
    engine.close()
    print(json.dumps(found))


def _peak_mb() -> float:
    """Return the largest resident set so far, in 10^6 bytes; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1.024e-3


if __name__ == "__main__":
    main(*sys.argv[1:])
