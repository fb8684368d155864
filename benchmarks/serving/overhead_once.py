"""One measurement of what is not the graph, by whatever gearshift stands first on the path; run by `overhead`.

    PYTHONPATH=CHECKOUT/src python overhead_once.py STATEMENT
    PYTHONPATH=CHECKOUT/src python overhead_once.py run BUNDLE

prints JSON: the milliseconds of CPU of an import, or the microseconds of CPU of each part of a call.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Callable
from typing import Any

TEXT = "turn the lights off in the kitchen and play some music now please"
CALLS, BLOCKS = 500, 5


def import_ms(statement: str) -> dict[str, float]:
    """Measure an import."""
    began = time.process_time_ns()
    exec(statement, {})
    return {statement: (time.process_time_ns() - began) / 1e6}


def parts_us(bundle: str) -> dict[str, float]:
    """Measure the parts of a call around the graph, whose output is given at once."""
    from gearshift.runtime import Engine

    with Engine.load(bundle, threads=1, precision="fp32", cache=False, sensors=False) as engine:
        encoder, answering = engine._opened.texts, engine._answering
        encoded = encoder.encode([TEXT])
        outputs = {name: run(encoded, None) for name, run in engine._opened.executors.items()}
        answering._executors = {name: functools.partial(_given, found) for name, found in outputs.items()}
        return {
            "text to tokens": _us(lambda: encoder.encode([TEXT])),
            "of that, the library": _us(lambda: encoder._tokenizer.encode(TEXT)),
            "text to answer without the graph": _us(lambda: engine.run(TEXT)),
            "the same with a deadline": _us(lambda: engine.run(TEXT, deadline_ms=1000.0)),
        }


def _given(found: Any, *_: object) -> Any:
    return found


def _us(call: Callable[[], object]) -> float:
    """Return the least mean over some blocks of calls."""
    means = []
    for _ in range(1 + BLOCKS):
        began = time.thread_time_ns()
        for _ in range(CALLS):
            call()
        means.append((time.thread_time_ns() - began) / CALLS / 1e3)
    return min(means[1:])


if __name__ == "__main__":
    given = sys.argv[1:]
    print(json.dumps(parts_us(given[1]) if given[0] == "run" else import_ms(given[0])))
