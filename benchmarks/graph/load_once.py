"""One load of a bundle in a process of its own, by whatever gearshift stands first on the path; run by `loading`.

    PYTHONPATH=CHECKOUT/src python load_once.py BUNDLE PRECISION CACHE PROFILE

prints the milliseconds of the load as JSON: by the clock, and of this process's CPU. CACHE: 1 with the cache directory,
0 without. A PROFILE that is not there is measured and saved first.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from gearshift.runtime import Engine


def main(bundle: str, precision: str, cache: str, profile: str) -> None:
    """Load, and print the times."""
    kept = cache == "1"
    if not Path(profile).exists():
        with Engine.load(bundle, threads=1, precision=precision, cache=kept) as engine:
            engine.save_profile(profile)
        return
    began, used = time.perf_counter_ns(), time.process_time_ns()
    engine = Engine.load(bundle, threads=1, precision=precision, profile=profile, cache=kept)
    times = {"wall_ms": (time.perf_counter_ns() - began) / 1e6, "cpu_ms": (time.process_time_ns() - used) / 1e6}
    engine.close()
    print(json.dumps(times))


if __name__ == "__main__":
    main(*sys.argv[1:])
