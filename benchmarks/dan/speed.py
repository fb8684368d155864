"""Speed of a DAN against its teacher and the smallest subnet, on the same texts, tokenizing included, on one core.

    OMP_NUM_THREADS=1 taskset -c 0 python -m benchmarks.dan.speed NAME --bundle BUNDLE --run RUN --data DATA

RUN is the supernet that BUNDLE was exported from, with a DAN: PyTorch runs it as loaded by Hugging Face.
Texts are spread over the test rows. Each candidate answers all of them one after another, the candidates in turns, in a
new order each round. A second table has the DAN on the first words of the same texts.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks.report import markdown, save
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.dan.model import Dan, open_dan
from gearshift.runtime.dan.ngrams import keys, words
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.inference.text import TextEncoder
from gearshift.trainer.dan.train import text_of
from gearshift.trainer.data.splits import read_data

WARM_UP = 3
SHORT_WORDS = (5, 10, 20, 50)
SHORT_RUNS = 30
Candidate = Callable[[str], object]


def main() -> None:
    """Time, print the tables, and save them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    for option in ("--bundle", "--run", "--data"):
        parser.add_argument(option, type=Path, required=True)
    parser.add_argument("--texts", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = read_data(options.data).splits["test"]
    texts = [str(text_of(row)) for row in rows[:: max(1, len(rows) // options.texts)]][: options.texts]
    bundle = open_bundle(options.bundle)
    assert bundle.dan is not None, f"{options.bundle} has no DAN"
    dan = open_dan(bundle.path / bundle.dan.file)
    with contextlib.ExitStack() as stack:
        candidates = {"DAN int8": dan.logits, **_graphs(bundle, stack), **_torch(options.run, bundle)}
        times = in_turns(candidates, texts, options.rounds)
    short = [_short(dan, texts, count) for count in SHORT_WORDS]
    facts = {
        "texts": len(texts),
        "rounds": options.rounds,
        "max_length": bundle.manifest.max_length,
        "dan_bytes": bundle.manifest.files[bundle.dan.file].bytes,
        "words": float(np.mean([len(words(text)) for text in texts])),
        "us": {name: _summary(values) for name, values in times.items()},
        "short": short,
    }
    save(f"dan-speed-{options.name}", facts, _lines(options.name, facts))


def _graphs(bundle: Bundle, stack: contextlib.ExitStack) -> dict[str, Candidate]:
    """Return the largest and the smallest subnet in onnxruntime, at each precision."""
    encoder = TextEncoder(bundle)
    found: dict[str, Candidate] = {}
    for precision in bundle.precisions:
        session = stack.enter_context(contextlib.closing(ElasticSession(bundle, precision, threads=1)))
        ranked = sorted(bundle.pool(precision).values(), key=lambda entry: entry.macs)
        for what, entry in (("teacher", ranked[-1]), (f"{ranked[0].name}", ranked[0])):

            def run(text: str, session: ElasticSession = session, choice: Sequence[int] = entry.choice) -> object:
                return session.run(encoder.encode([text]).calls[0].inputs, choice)

            found[f"{what}, onnxruntime {precision}"] = run
    return found


def _torch(path: Path, bundle: Bundle) -> dict[str, Candidate]:
    """Return the teacher as a user of Hugging Face runs it."""
    model: Any = transformers.AutoModelForSequenceClassification.from_pretrained(path, local_files_only=True).eval()
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)
    length = bundle.manifest.max_length

    @torch.inference_mode()
    def run(text: str) -> object:
        return model(**tokenizer(text, truncation=True, max_length=length, return_tensors="pt"))

    return {"teacher, PyTorch fp32": run}


def in_turns(candidates: Mapping[str, Candidate], texts: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """Measure the microseconds of each call: all texts through each candidate, `rounds` times."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    shuffle, order = random.Random(0).shuffle, list(candidates)
    for _ in range(rounds):
        shuffle(order)
        for name in order:
            for text in texts[:WARM_UP]:
                candidates[name](text)
            times[name] += [_timed(candidates[name], text) for text in texts]
    return times


def _timed(run: Candidate, text: str) -> float:
    began = time.perf_counter_ns()
    run(text)
    return (time.perf_counter_ns() - began) / 1e3


def _short(dan: Dan, texts: Sequence[str], count: int) -> dict[str, float]:
    """Time the DAN in a loop of its own on the first words of each text."""
    cut = [" ".join(text.split()[:count]) for text in texts]
    times = [_timed(dan.logits, text) for _ in range(SHORT_RUNS) for text in cut][len(cut) :]
    known = np.mean([dan.logits(text)[1] for text in cut])
    ngrams = np.mean([len(keys(text, dan.longest)) for text in cut])
    return {"words": count, "ngrams": float(ngrams), "known": float(known), **_summary(times)}


def _summary(times: Sequence[float]) -> dict[str, float]:
    return {
        "mean": float(np.mean(times)),
        "median": float(np.median(times)),
        "p95": float(np.percentile(times, 95)),
        "runs": len(times),
    }


def _lines(name: str, facts: Mapping[str, Any]) -> list[str]:
    mine = facts["us"]["DAN int8"]
    rows = [
        [what, f"{us['median']:.0f}", f"{us['p95']:.0f}", f"{us['mean']:.0f}", f"{us['mean'] / mine['mean']:.1f}"]
        for what, us in facts["us"].items()
    ]
    short = [
        [
            f"{row['words']}",
            f"{row['ngrams']:.0f}",
            f"{row['known']:.0f}",
            f"{row['median']:.1f}",
            f"{row['p95']:.1f}",
        ]
        for row in facts["short"]
    ]
    return [
        f"### Speed of a DAN on {name}",
        "",
        f"Microseconds a text, tokenising included; {facts['texts']} test texts of {facts['words']:.0f} words and "
        f"marks on average, {facts['rounds']} rounds in turns; the transformer reads {facts['max_length']} tokens at "
        f"most, the DAN ({facts['dan_bytes'] / 1e6:.1f} MB) all of the text. One core, one thread, batch 1.",
        "",
        *markdown(["", "median", "p95", "mean", "mean / DAN's"], rows),
        "",
        f"The DAN on the first words of these texts, {SHORT_RUNS - 1} times each:",
        "",
        *markdown(["words", "n-grams", "known", "median", "p95"], short),
    ]


if __name__ == "__main__":
    main()
