"""Zero-shot classification: labels of the caller, each as a hypothesis that a net for inference holds against the text.

Yin, Hay and Roth 2019, Benchmarking Zero-shot Text Classification; the scores are those of transformers' pipeline.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from gearshift.errors import InputError
from gearshift.number_checks import shown
from gearshift.runtime.bundle.manifest import Manifest
from gearshift.runtime.inference.answers import RunFacts
from gearshift.runtime.inference.session import Outputs
from gearshift.runtime.inference.text import Encoded, Text
from gearshift.runtime.reading.reading import Read

HYPOTHESIS = "This text is about {}."
"""Default hypothesis; the label takes the place of the braces."""

ENTAILMENT, CONTRADICTION = "entail", "contradict"
"""Beginnings, in lower case, of the names of the labels that say that the first text implies, or denies, the second."""


@dataclass(frozen=True, kw_only=True)
class ZeroShot(RunFacts):
    """Labels of the caller for one text. `tokens`: number of tokens of the text with each hypothesis, together."""

    label: str
    """Most probable label."""
    score: float
    """Probability of `label`, from 0 to 1."""
    scores: dict[str, float]
    """Probability of every label, the most probable first; they add up to 1 unless several labels may apply."""


@dataclass(frozen=True)
class NliHead:
    """Places of two labels of a net for natural language inference."""

    entailment: int
    contradiction: int

    @classmethod
    def of(cls, manifest: Manifest) -> NliHead:
        """Find the labels by their names; raise InputError if there is no label, or more than one, for entailment.

        Without a name for contradiction it is the last label if entailment is the first, else the first, as in
        transformers' pipeline.
        """
        labels = [label.lower() for label in manifest.labels]
        entailment = [place for place, label in enumerate(labels) if label.startswith(ENTAILMENT)]
        if manifest.task != "classification" or len(labels) < 2 or len(entailment) != 1:
            raise InputError(
                f"classify: expected a classifier of pairs with one label named {ENTAILMENT}..., found "
                f"{manifest.task} with {', '.join(manifest.labels[:9]) or 'no labels'}; use a net that was trained on "
                "natural language inference, and give its labels their names"
            )
        named = [place for place, label in enumerate(labels) if label.startswith(CONTRADICTION)]
        other = named[0] if named else len(labels) - 1 if entailment[0] == 0 else 0
        return cls(entailment[0], other)


class ZeroShotReading:
    """Reading of texts with some labels: a row for each text with each hypothesis."""

    def __init__(
        self, head: NliHead, texts: Sequence[str], labels: Sequence[str], hypothesis: str, *, multi_label: bool
    ) -> None:
        self._head, self._labels = head, tuple(labels)
        self._several = multi_label or len(labels) == 1
        hypotheses = [hypothesis.format(label) for label in labels]
        self.prompts: None = None
        self.rows: list[Text] = [(text, each) for text in texts for each in hypotheses]

    def read(self, subnet: str, outputs: Outputs, encoded: Encoded) -> list[Read]:
        """Read one answer for each text."""
        count = len(self._labels)
        starts = range(0, len(outputs), count)
        return [self._read(outputs[start : start + count], encoded, start) for start in starts]

    def _read(self, outputs: Outputs, encoded: Encoded, start: int) -> Read:
        rows = slice(start, start + len(outputs))
        entailed = [float(output[self._head.entailment]) for output in outputs]
        if self._several:
            denied = [float(output[self._head.contradiction]) for output in outputs]
            shares = [_softmax(pair)[0] for pair in zip(entailed, denied, strict=True)]
        else:
            shares = _softmax(entailed)
        scores = dict(sorted(zip(self._labels, shares, strict=True), key=lambda each: -each[1]))
        label = next(iter(scores))
        finish = functools.partial(ZeroShot, label=label, score=scores[label], scores=scores)
        return Read(finish, sum(encoded.tokens[rows]), any(encoded.truncated[rows]))


def zero_shot_reading(
    manifest: Manifest, texts: Sequence[object], labels: object, hypothesis: object, multi_label: object
) -> ZeroShotReading:
    """Return the reading of texts with some labels; raise InputError for what cannot be read so."""
    head = NliHead.of(manifest)
    for text in texts:
        if not isinstance(text, str):
            raise InputError(f"text: expected a text (str), got {type(text).__name__}")
    known = [label.strip() for label in labels.split(",")] if isinstance(labels, str) else labels
    if not isinstance(known, list | tuple) or not all(isinstance(label, str) and label.strip() for label in known):
        raise InputError(f"labels: expected a list of texts, or one with commas between them, got {shown(labels)}")
    if not known or len(set(known)) < len(known):
        raise InputError(f"labels: expected at least one, and no two equal, got {shown(labels)}")
    if not isinstance(hypothesis, str) or not _has_one_place(hypothesis):
        raise InputError(f"hypothesis: expected a text with {{}} where the label goes, got {shown(hypothesis)}")
    if not isinstance(multi_label, bool):
        raise InputError(f"multi_label: expected True or False, got {shown(multi_label)}")
    return ZeroShotReading(head, [str(text) for text in texts], known, hypothesis, multi_label=multi_label)


def _has_one_place(hypothesis: str) -> bool:
    """Return whether a text has a place for one label, and no other."""
    try:
        return hypothesis.format("\0") == hypothesis.replace("{}", "\0") != hypothesis
    except (IndexError, KeyError, ValueError):
        return False


def _softmax(logits: Sequence[float]) -> list[float]:
    highest = max(logits)
    exponents = [math.exp(logit - highest) for logit in logits]
    total = sum(exponents)
    return [exponent / total for exponent in exponents]
