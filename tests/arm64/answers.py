"""Everything that a bundle answers on one machine, for a comparison with another: runs on both.

    python answers.py BUNDLE INPUTS.npz OUTPUTS.npz

INPUTS.npz holds the arrays `CASE/NAME` by case and by name of the graph's input. OUTPUTS.npz gets the logits
`graph/PRECISION/SUBNET/CASE`, and by the engine `scores/PRECISION/SUBNET` (texts, labels) for TEXTS.
A JSON object of facts about the machine and the run goes to the standard output.
"""

from __future__ import annotations

import ctypes
import json
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime import Bundle, Engine, open_bundle
from gearshift.runtime.inference.self_test import check_self_test
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.inference.text import Text

Arrays = dict[str, NDArray[Any]]

TEXTS: list[Text] = [
    "turn the lights off",
    "Play!",
    "wake me up at half past six, and don't forget that tomorrow is Überraschungstag 🎉",
    "vacuum " * 60,
    ("open the window", "it is warm in here"),
]
"""Words outside of the vocabulary, one text that is cut, and a pair."""

NO_HURRY_MS = 1e6
TOO_SHORT_MS = 1e-3

AT_HWCAP, HWCAP_ASIMDDP = 16, 1 << 20
"""Entry and bit by which an arm64 kernel tells a program that there are int8 dot products (Linux, asm/hwcap.h)."""


def graph_answers(bundle: Bundle, cases: Mapping[str, Arrays]) -> Arrays:
    """Logits of every subnet at every precision for every case, after the bundle's own self-test."""
    found: Arrays = {}
    for precision in bundle.precisions:
        session = ElasticSession(bundle, precision, threads=1)
        check_self_test(session, bundle)
        for name, entry in bundle.pool(precision).items():
            for case, inputs in cases.items():
                found[f"graph/{precision}/{name}/{case}"] = session.run(inputs, entry.choice)
        session.close()
    return found


def engine_answers(bundle: Bundle) -> tuple[Arrays, dict[str, Any]]:
    """Scores of every subnet for TEXTS, and what the engine chose by itself."""
    found: Arrays = {}
    chosen: dict[str, Any] = {}
    for precision in bundle.precisions:
        with Engine.load(bundle.path, precision=precision, threads=1) as engine:
            for name in engine.subnets:
                engine.pin(name)
                answers = engine.run(list(TEXTS))
                found[f"scores/{precision}/{name}"] = np.array([list(answer.scores.values()) for answer in answers])
                chosen["tokens"] = [answer.tokens for answer in answers]
            engine.pin(None)
            patient, hasty = (engine.run(TEXTS[0], deadline_ms=deadline) for deadline in (NO_HURRY_MS, TOO_SHORT_MS))
            chosen[precision] = {
                "patient": [patient.subnet, patient.reason],
                "hasty": [hasty.subnet, hasty.reason],
                "ladder": engine.ladder,
            }
    with Engine.load(bundle.path) as engine:
        answer = engine.run(TEXTS[0])
        chosen["auto"] = {"precision": engine.precision, "threads": engine.threads, "subnet": answer.subnet}
    return found, chosen


def machine() -> dict[str, Any]:
    """Return what this is by the kernel's word, and which packages were imported from beside numpy."""
    site = Path(np.__file__).parents[1]
    files = [Path(str(getattr(module, "__file__", None))) for module in list(sys.modules.values())]
    return {
        "machine": platform.machine(),
        "python": sys.version.split()[0],
        "dot_product": bool(_hardware_capabilities() & HWCAP_ASIMDDP),
        "packages": sorted({path.relative_to(site).parts[0] for path in files if path.is_relative_to(site)}),
    }


def _hardware_capabilities() -> int:
    library = ctypes.CDLL(None)
    library.getauxval.restype = ctypes.c_ulong
    return int(library.getauxval(ctypes.c_ulong(AT_HWCAP)))


def answer_all(path: Path, cases: Mapping[str, Arrays]) -> tuple[Arrays, dict[str, Any]]:
    """The outputs, and the facts."""
    bundle = open_bundle(path)
    graph = graph_answers(bundle, cases)
    scores, chosen = engine_answers(bundle)
    return {**graph, **scores}, {"chosen": chosen, **machine()}


def read_cases(path: Path) -> dict[str, Arrays]:
    """Case -> name of the graph's input -> array, as `write_cases` took them."""
    cases: dict[str, Arrays] = {}
    with np.load(path, allow_pickle=False) as arrays:
        for key in arrays.files:
            case, name = key.split("/")
            cases.setdefault(case, {})[name] = arrays[key]
    return cases


def write_cases(path: Path, cases: Mapping[str, Arrays]) -> None:
    """Keep the inputs of every case in one file."""
    named = {f"{case}/{name}": array for case, inputs in cases.items() for name, array in inputs.items()}
    np.savez(path, allow_pickle=False, **named)


def main(bundle: str, inputs: str, outputs: str) -> None:
    """See the head of this file."""
    arrays, facts = answer_all(Path(bundle), read_cases(Path(inputs)))
    np.savez(Path(outputs), allow_pickle=False, **arrays)
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
