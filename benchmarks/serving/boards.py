"""Times of a model's subnets on boards, estimated from published constants, for simulated days on them.

    python -m benchmarks.serving.boards     writes boards.json

The middle of the roofline's range (`device_profiles.roofline`): subnets differ as their arithmetic and weights do
there. Estimates, not measurements. BERT-base stands for MPNet-base, whose layers have the same sizes.
"""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path

from benchmarks.graph.bundles import random_bundle
from benchmarks.graph.subjects import SHAPES
from gearshift.device_profiles.roofline import boards
from gearshift.runtime.bench.operators.trace import trace
from gearshift.runtime.space.uniform import uniform_grid

TIMES = Path(__file__).parent / "boards.json"
WIDTHS = (1.0, 0.75, 0.5, 0.25)
CASES = {
    "raspberry-pi-4-b": ("minilm-l6", (1.0, 0.75, 0.5)),
    "raspberry-pi-5": ("bert-base", (1.0, 0.75, 0.5, 0.25)),
}
"""Board -> shape of the model, and depths of its subnets."""

PRECISION, LENGTHS = "int8", (16, 32, 64, 128)


def main() -> None:
    """Estimate and write."""
    found = {}
    for name, (shape, depths) in CASES.items():
        pool = uniform_grid(SHAPES[shape], WIDTHS, depths)
        with tempfile.TemporaryDirectory() as folder:
            bundle = random_bundle(Path(folder) / f"{shape}.gearshift", SHAPES[shape], pool, precisions=(PRECISION,))
            entries = bundle.pool(PRECISION)
            cells = [(entries[subnet].choice, length) for subnet in pool for length in LENGTHS]
            calls = iter(trace(bundle, PRECISION, cells, warm_up=False))
        board = boards()[name]
        ranges = {
            subnet: [board.estimate_ms([one.operator for one in next(calls)[0]], PRECISION) for _ in LENGTHS]
            for subnet in pool
        }
        found[name] = {
            "shape": shape,
            "precision": PRECISION,
            "threads": 1,
            "lengths": LENGTHS,
            "median_ms": {
                subnet: [round(math.sqrt(low * high), 3) for low, high in ends] for subnet, ends in ranges.items()
            },
        }
    TIMES.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
