"""Answers, one type for each task, with the facts of the run that produced them."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from gearshift.runtime.bundle.tag_schemes import OUTSIDE, Scheme
from gearshift.runtime.bundle.tasks import TASKS
from gearshift.runtime.images.preparation import Preparation
from gearshift.runtime.inference.spans import Entity, Word, entities, find_answer, first_tokens, word_tokens
from gearshift.runtime.inference.words import SplitText

_Part = TypeVar("_Part", Word, Entity)

Output = NDArray[np.float32]
"""Output of the graph for one text, without padding: (outputs,), or (tokens, outputs) for tasks per token."""


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Facts of the run of one request; the texts of a list share them, except `tokens` and `truncated`."""

    subnet: str
    """Name of the subnet that ran."""
    reason: str
    """Reason of the choice: `fits`, `best_effort`, `no_deadline`, `pinned` and others (`policy.Decision`)."""
    latency_ms: float
    """Time in ms from the call of `run` to the finished answer, tokenizing included; for a list, of the whole list."""
    predicted_ms: float
    """Bound in ms that the graph was predicted to stay under (the tail, not the median)."""
    deadline_ms: float | None
    deadline_met: bool | None
    """Whether the answer kept the deadline; None without one."""
    tokens: int
    """Number of tokens of this text, without padding; 1 for an image."""
    truncated: bool
    """Whether the end of this text was cut off, or the beginning if the tokenizer cuts that."""
    windows: int = 1
    """Number of windows that this text was read in."""


@dataclass(frozen=True, kw_only=True)
class Classification(RunFacts):
    """One of the bundle's labels for one text or image."""

    label: str
    score: float
    """Probability of `label`, from 0 to 1."""
    scores: dict[str, float]
    """Probability of every label; they add up to 1."""


@dataclass(frozen=True, kw_only=True)
class MultiLabelClassification(RunFacts):
    """All of the bundle's labels that fit one text: any number of them, or none."""

    labels: tuple[str, ...]
    """Labels of a probability of at least 1/2, the most probable first."""
    scores: dict[str, float]
    """Probability of every label, from 0 to 1, independent of the others."""


@dataclass(frozen=True, kw_only=True)
class Regression(RunFacts):
    """A number for one text, in the unit that the model was trained on."""

    value: float


@dataclass(frozen=True, kw_only=True)
class TokenClassification(RunFacts):
    """A label for each word of one text, and the entities that they make up.

    Of a text that was cut off (`truncated`), the words behind what the model read have no label and are left out.
    """

    words: tuple[Word, ...]
    entities: tuple[Entity, ...]


@dataclass(frozen=True, kw_only=True)
class QuestionAnswering(RunFacts):
    """The part of the second text of a pair that answers the first, the question; or that none does."""

    answer: str
    """Text of the answer; empty if there is none."""
    start: int
    """Offset in characters of the answer in the second text; `end` is the offset after its last character."""
    end: int
    score: float
    """Probability of this first token x probability of this last one; without an answer, the probability of none."""
    answerable: bool = True
    """Whether the second text, as far as it was read, answers the question. Only a model that was trained on questions
    without an answer says no, and any model if truncation left no token of the second text."""
    null_score_diff: float | None = None
    """Score of no answer less that of the best answer, as sums of two logits; no answer is given where it is above the
    threshold. None for a model that was not trained on questions without an answer."""


@dataclass(frozen=True, kw_only=True)
class Embedding(RunFacts):
    """A vector for one text, compared with others by `Manifest.vectors.similarity`."""

    vector: NDArray[np.float32]
    """Vector (width,). It has length 1 if the model ends in a normalization, as most do: the dot product of two is then
    their cosine similarity."""


@dataclass(frozen=True, kw_only=True)
class ImageToImage(RunFacts):
    """An image that was made of another, at the size that the net reads."""

    image: NDArray[np.uint8]
    """Red, green and blue of each pixel, (height, width, 3)."""


HeadAnswer = (
    Classification
    | MultiLabelClassification
    | Regression
    | TokenClassification
    | QuestionAnswering
    | Embedding
    | ImageToImage
)
"""Answer of one head."""


@dataclass(frozen=True, kw_only=True)
class MultiTask(RunFacts):
    """The answers of several heads to one text, from one run; each has the facts of that run too."""

    heads: dict[str, Any]
    """Answer of each head, by its name: a Classification or a TokenClassification."""


Answer = HeadAnswer | MultiTask


def plain_answer(answer: Answer) -> dict[str, Any]:
    """Return the fields of an answer as values that JSON has; the facts of a run once, not with each head."""
    fields = vars(answer)
    if isinstance(answer, MultiTask):
        fields = {**fields, "heads": {name: _without_facts(one) for name, one in answer.heads.items()}}
    return {name: _plain(value) for name, value in fields.items()}


def _without_facts(answer: HeadAnswer) -> dict[str, Any]:
    facts = {field.name for field in dataclasses.fields(RunFacts)}
    return {name: _plain(value) for name, value in vars(answer).items() if name not in facts}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, tuple):
        return [vars(part) if isinstance(part, Word | Entity) else part for part in value]
    return value


def probabilities(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the softmax over the last axis."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    exponents = np.exp(shifted)
    return exponents / exponents.sum(axis=-1, keepdims=True)  # type: ignore[no-any-return]


def _classification(output: Output, encoding: Encoding, parts: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    logits = output.tolist()  # a few numbers: numpy's calls would cost more than the arithmetic
    highest = max(logits)
    exponents = [math.exp(logit - highest) for logit in logits]
    total = sum(exponents)
    scores = dict(zip(labels, [exponent / total for exponent in exponents], strict=True))
    label = labels[logits.index(highest)]
    return {"label": label, "score": scores[label], "scores": scores}


def _multi_label(output: Output, encoding: Encoding, parts: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    scores = {label: _sigmoid(logit) for label, logit in zip(labels, output.tolist(), strict=True)}
    found = sorted((label for label in labels if scores[label] >= 0.5), key=lambda label: -scores[label])
    return {"labels": tuple(found), "scores": scores}


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))


def _regression(output: Output, encoding: Encoding, parts: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    return {"value": float(output[0])}


def _token_classification(
    output: Output,
    encoding: Encoding,
    parts: Sequence[str],
    labels: Sequence[str],
    *,
    scheme: Scheme,
    split: SplitText | None,
    starts: Sequence[int],
) -> dict[str, Any]:
    rows = probabilities(output)
    if split is None:
        found = [
            Word(word, start, end, *_best(rows, token, labels))
            for token, word, start, end in first_tokens(encoding, parts[0])
        ]
        named = entities(found, parts[0], scheme)
        return {
            "words": tuple(_moved(word, starts[0]) for word in found),
            "entities": tuple(_moved(entity, starts[0]) for entity in named),
        }
    pieces = _labelled(rows, word_tokens(encoding, split.joined_places), split, labels, cut=bool(encoding.overflowing))
    read = [piece for piece in pieces if piece is not None]
    words = read if split.counts is None else _given(pieces, split, scheme, labels)
    return {"words": tuple(words), "entities": tuple(entities(read, split.text, scheme))}


def _moved(part: _Part, by: int) -> _Part:
    """Return a word or an entity with its places in the text that was given, of which the beginning was cut off."""
    return dataclasses.replace(part, start=part.start + by, end=part.end + by) if by else part


def _labelled(
    rows: NDArray[np.float64], tokens: Sequence[int | None], split: SplitText, labels: Sequence[str], *, cut: bool
) -> list[Word | None]:
    """Return the words of a text; None for one that the model did not read, before the first or behind the last."""
    found = [number for number, token in enumerate(tokens) if token is not None]
    read = range(min(found, default=0), max(found, default=-1) + 1) if cut else range(len(tokens))
    return [
        Word(split.text[start:end], start, end, *_best(rows, tokens[number], labels)) if number in read else None
        for number, (start, end) in enumerate(split.places)
    ]


def _best(rows: NDArray[np.float64], token: int | None, labels: Sequence[str]) -> tuple[str, float]:
    """Return the most probable label of a token, and its probability; a word that the tokenizer drops is outside."""
    if token is None:
        return OUTSIDE, 0.0
    best = int(rows[token].argmax())
    return labels[best], float(rows[token, best])


def _given(words: Sequence[Word | None], split: SplitText, scheme: Scheme, labels: Sequence[str]) -> Iterator[Word]:
    """Yield the words of the caller, each with the label of the pieces that it was cut into."""
    assert split.counts is not None
    place = 0
    for count in split.counts:
        pieces = [piece for piece in words[place : place + count] if piece is not None]
        start, end = split.places[place][0], split.places[place + count - 1][1]
        place += count
        if pieces:
            label = scheme.join([piece.label for piece in pieces], labels)
            yield Word(split.text[start:end], start, end, label, pieces[0].score)


def _question_answering(
    output: Output,
    encoding: Encoding,
    parts: Sequence[str],
    labels: Sequence[str],
    null_threshold: float | None = None,
    *,
    starts: Sequence[int],
) -> dict[str, Any]:
    found = find_answer(output, encoding, null_threshold)
    answer = parts[-1][found.start : found.end]
    by = starts[-1] if found.answerable else 0
    return {"answer": answer, **vars(found), "start": found.start + by, "end": found.end + by}


def _embedding(output: Output, encoding: Encoding, parts: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    return {"vector": output.copy()}  # not a view that keeps the whole batch


def _image_to_image(
    output: Output, encoding: Encoding, parts: Sequence[str], labels: Sequence[str], *, images: Preparation
) -> dict[str, Any]:
    return {"image": images.restored(output)}


_Reader = Callable[..., dict[str, Any]]

_ANSWERS: Mapping[str, tuple[Callable[..., Answer], _Reader]] = {
    "classification": (Classification, _classification),
    "multi-label-classification": (MultiLabelClassification, _multi_label),
    "regression": (Regression, _regression),
    "token-classification": (TokenClassification, _token_classification),
    "question-answering": (QuestionAnswering, _question_answering),
    "embedding": (Embedding, _embedding),
    "image-classification": (Classification, _classification),
    "image-to-image": (ImageToImage, _image_to_image),
}


def read_answer(
    task: str,
    output: Output,
    encoding: Encoding,
    parts: Sequence[str],
    labels: Sequence[str],
    *,
    null_threshold: float | None = None,
    scheme: Scheme | None = None,
    split: SplitText | None = None,
    starts: Sequence[int] = (0, 0),
    images: Preparation | None = None,
) -> Callable[..., Answer]:
    """Read the answer of a task for one text: a function that completes it by the fields of `RunFacts`, known later.

    `parts` are the one or two texts that `encoding` was made of; its offsets point into them.
    `null_threshold`: threshold of `find_answer`, for question answering alone.
    `starts`: places of the parts in the texts that were given, if the beginnings were cut off.
    `scheme`, of token classification: that of the labels. `split`: the words of the first text; None for those that the
    tokenizer cuts. `images`: preparation of the images that a net reads, for one that makes images.
    """
    kind, reader = _ANSWERS[task]
    of_task: dict[str, Any] = {} if null_threshold is None else {"null_threshold": null_threshold}
    if TASKS[task].per_token:
        of_task["starts"] = starts
    if TASKS[task].makes_images:
        of_task["images"] = images
    if scheme is not None:
        of_task |= {"scheme": scheme, "split": split}
    return functools.partial(kind, **reader(output, encoding, parts, labels, **of_task))
