"""Run the fuzzers for a while, and keep what fails."""

from __future__ import annotations

import argparse
import collections
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.bundles import FAILURES, attempt, changed
from tests.fuzz.kinds import KINDS, TINY


def main() -> int:
    """Run cases until the time is up; return 1 if one failed, whose changed file is then kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--seed", type=int, default=None, help="of the first case; a new one unless given")
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"some of {', '.join(KINDS)}")
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"), help="folder of what fails")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    counts: collections.Counter[str] = collections.Counter()
    deadline, kinds = time.monotonic() + options.seconds, options.kinds.split(",")
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < deadline:
            kind = KINDS[kinds[seed % len(kinds)]]
            content = kind.change((TINY / kind.name).read_bytes(), random.Random(seed))
            result = attempt(changed(TINY, Path(folder) / "case.gearshift", kind.name, content))
            counts[f"{kind.label}: {result.outcome.value}"] += 1
            if result.outcome in FAILURES:
                failed += 1
                options.keep.mkdir(parents=True, exist_ok=True)
                (options.keep / f"{seed}-{kind.name}").write_bytes(content)
                print(f"{seed} {kind.label}: {result.outcome.value}: {result.told.strip()[-600:]}", flush=True)
            seed += 1
    for told, count in sorted(counts.items()):
        print(f"{count:7} {told}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
