"""The engine's controller and rival policies over the simulator's traces: a table and a plot.

    python -m benchmarks.serving.policies            measure with the committed settings
    python -m benchmarks.serving.policies --tune     choose the settings anew, on seeds of their own

Ladders are those of benchmarks.serving.subjects, with accuracies of pools.json. An interrupted run goes on. Half of the
traces are the simulator's, the other half was drawn up from recorded logs and published studies (recorded/README.md).
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from benchmarks.report import RESULTS, save
from benchmarks.serving import tuning
from benchmarks.serving.days import DURATION_S, SEEDS, measure, shares_after
from benchmarks.serving.days_report import lines_of, plot, verdicts
from benchmarks.serving.subjects import SUBJECTS

TUNED = Path(__file__).parent / "policies-tuned.json"
KEPT = Path("build") / "policies"
"""Folder of the days that are done."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--tune", action="store_true", help="choose the rivals' settings anew, and keep them")
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)), help="seeds of the days, for a trial")
    parser.add_argument("--subjects", default=",".join(SUBJECTS), help="models with their ladders")
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    if options.tune:
        where = tuning.cases()
        tuned = {policy: tuning.tune(policy, grid, where)[0] for policy, grid in tuning.GRIDS.items()}
        TUNED.write_text(json.dumps(tuned, indent=1) + "\n")
    settings = json.loads(TUNED.read_text())
    found = measure(settings, options.subjects.split(","), seeds, KEPT)
    verdict = verdicts(found)
    steps = {name: shares_after(those) for name, those in found.after_steps.items()}
    facts = {
        "command": f"python -m benchmarks.serving.policies --seeds {options.seeds} --subjects {options.subjects}",
        "seeds": seeds,
        "duration_s": DURATION_S,
        "settings": settings,
        "tuning": {"seeds": tuning.SEEDS, "duration_s": tuning.DURATION_S, "grids": tuning.GRIDS},
        "verdicts": verdict,
        "coverage_after_steps": {
            name: [None if math.isnan(share) else share for share in shares] for name, shares in steps.items()
        },
        "cells": [
            {key: None if value != value else value for key, value in vars(cell).items()} for cell in found.cells
        ],
        "states": [vars(cell) for cell in found.states],
    }
    save("policies", facts, lines_of(found, verdict))
    plot(found.cells, RESULTS / "policies.png")


if __name__ == "__main__":
    main()
