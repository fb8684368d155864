"""Spans of text found from tokens: words, entities over them, and the answer to a question."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from gearshift.runtime.bundle.tag_schemes import OUTSIDE, Scheme, Tag, begins
from gearshift.runtime.bundle.words import Place

LONGEST_ANSWER = 30
"""Largest number of tokens of an answer, as in BERT's own evaluation on SQuAD."""

NULL_TOKEN = 0
"""Token that is the first and the last one of the answer to a question without an answer: `[CLS]`, as in BERT."""


@dataclass(frozen=True)
class Word:
    """Word of a text and its label."""

    text: str
    start: int
    """Offset in the text in characters; `end` is the offset after the last character."""
    end: int
    label: str
    score: float
    """Probability of `label`, from 0 to 1, from the word's first token."""


@dataclass(frozen=True)
class Entity:
    """Run of words that form one entity."""

    text: str
    start: int
    end: int
    label: str
    """Label without the prefix of its scheme, such as `B-`."""
    score: float
    """Mean of the words' scores."""


def first_tokens(encoding: Encoding, text: str) -> Iterator[tuple[int, str, int, int]]:
    """Yield (index of the first token, word, start, end) of each word of the first text, as the tokenizer cuts it.

    For bundles that do not record how words are cut.
    """
    words: dict[int, list[int]] = {}
    for token, (word, sequence) in enumerate(zip(encoding.word_ids, encoding.sequence_ids, strict=True)):
        if word is not None and sequence == 0:
            words.setdefault(word, []).append(token)
    for tokens in words.values():
        start, end = encoding.offsets[tokens[0]][0], encoding.offsets[tokens[-1]][1]
        found = text[start:end]
        start += len(found) - len(found.lstrip())  # a byte-level tokenizer counts the blank before a word to it
        if found.strip():
            yield tokens[0], found.strip(), start, start + len(found.strip())


def word_tokens(encoding: Encoding, places: Iterable[Place]) -> list[int | None]:
    """Return the first token of each word of the first text; None for one that was cut off, or that has no token.

    A tokenizer drops some characters, such as control characters, and may leave two words in one token.
    """
    tokens: set[int] = set()
    found: list[int | None] = []
    for start, end in places:
        of_each = (encoding.char_to_token(place, 0) for place in range(start, end))
        token = next((token for token in of_each if token is not None), None)
        found.append(None if token in tokens else token)
        if token is not None:
            tokens.add(token)
    return found


def entities(words: Sequence[Word], text: str, scheme: Scheme) -> Iterator[Entity]:
    """Yield the entities that labelled words form by the scheme of their labels."""
    run: list[Word] = []
    last: Tag = (OUTSIDE, "")
    for word in words:
        tag = scheme.read(word.label)
        if run and (tag[0] == OUTSIDE or begins(last, tag)):
            yield _entity(run, text, last[1])
            run = []
        if tag[0] != OUTSIDE:
            run.append(word)
        last = tag
    if run:
        yield _entity(run, text, last[1])


def _entity(run: Sequence[Word], text: str, kind: str) -> Entity:
    start, end = run[0].start, run[-1].end
    return Entity(text[start:end], start, end, kind, sum(word.score for word in run) / len(run))


class Placed(Protocol):
    """Tokens with their offsets in the text, such as `tokenizers.Encoding`."""

    @property
    def sequence_ids(self) -> Sequence[int | None]: ...

    @property
    def offsets(self) -> Sequence[tuple[int, int]]: ...


@dataclass(frozen=True)
class FoundAnswer:
    """Answer to a question, or its absence, as logits tell it."""

    start: int
    """Offset in the second text in characters; `end` is the offset after the last character. Both 0 for no answer."""
    end: int
    score: float
    """Probability of this first token x probability of this last one; for no answer that of NULL_TOKEN as both."""
    answerable: bool
    null_score_diff: float | None = None
    """Logits of NULL_TOKEN less those of the best answer; None without a threshold, or without tokens to choose
    from."""


def find_answer(logits: NDArray[np.float32], encoding: Placed, null_threshold: float | None = None) -> FoundAnswer:
    """Find the answer in the second text by logits (tokens, 2), those of each token as its first and as its last.

    There is none if `null_score_diff` is above `null_threshold`, as in BERT's own evaluation on SQuAD 2.0, or if the
    second text has no tokens. With a threshold, probabilities are over NULL_TOKEN and the tokens of the second text.
    """
    if null_threshold is None:
        start, end, score = best_span(logits, encoding)
        return FoundAnswer(start, end, score, answerable=1 in encoding.sequence_ids)
    places = _second(encoding)
    logs = _log_softmax(logits[np.insert(places, 0, NULL_TOKEN)])
    null = float(logs[0].sum())
    if not len(places):
        return FoundAnswer(0, 0, float(np.exp(null)), answerable=False)
    first, last, best = _best(logs[1:])
    diff = null - best
    if diff > null_threshold:
        return FoundAnswer(0, 0, float(np.exp(null)), answerable=False, null_score_diff=diff)
    start, end = encoding.offsets[places[first]][0], encoding.offsets[places[last]][1]
    return FoundAnswer(start, end, float(np.exp(best)), answerable=True, null_score_diff=diff)


def best_span(logits: NDArray[np.float32], encoding: Placed) -> tuple[int, int, float]:
    """Find (start, end, probability) of the answer in the second text; (0, 0, 0) if that has no tokens.

    `logits` (tokens, 2): logits of each token as the first and as the last token of the answer. An answer has 1 to
    LONGEST_ANSWER tokens. Probabilities are over the tokens of the second text.
    """
    places = _second(encoding)
    if not len(places):
        return 0, 0, 0.0
    first, last, best = _best(_log_softmax(logits[places]))
    return encoding.offsets[places[first]][0], encoding.offsets[places[last]][1], float(np.exp(best))


class WindowSpan(NamedTuple):
    """Best answer in one window of a long text."""

    start: int
    """Offset in the second text in characters; `end` is the offset after the last character."""
    end: int
    probability: float
    """Probability of the first token x probability of the last one, over NULL_TOKEN and the tokens of the window."""
    logits: float
    """Sum of the two logits."""
    null_probability: float
    """Probability of NULL_TOKEN as both."""
    null_logits: float


def window_span(logits: NDArray[np.float32], encoding: Placed) -> WindowSpan:
    """Find the best answer in a window by logits (tokens, 2), as transformers' question-answering pipeline does."""
    places = _second(encoding)
    rows = np.insert(places, 0, NULL_TOKEN)
    logs = _log_softmax(logits[rows])
    first, last, best = _best(logs[1:])
    start, end = encoding.offsets[places[first]][0], encoding.offsets[places[last]][1]
    own = float(logits[places[first], 0]) + float(logits[places[last], 1])
    null = float(logs[0].sum())
    return WindowSpan(start, end, float(np.exp(best)), own, float(np.exp(null)), float(logits[NULL_TOKEN].sum()))


def answer_of_windows(spans: Sequence[WindowSpan], text: str, null_threshold: float | None = None) -> FoundAnswer:
    """Find the answer in the second text by the best of each window, as transformers' question-answering pipeline does.

    Equal answers, in any case of letters, add up; the first of them is taken. So the score may be above 1 where windows
    that share an answer are sure of it. With a threshold there is no answer if the least score of no answer in any
    window, less the best score of the answer in any, is above it, both as sums of two logits, as in BERT's own
    evaluation on SQuAD 2.0.
    """
    equal: dict[str, list[WindowSpan]] = {}
    for span in spans:
        equal.setdefault(text[span.start : span.end].lower(), []).append(span)
    found = max(equal.values(), key=lambda those: sum(span.probability for span in those))
    first, score = found[0], sum(span.probability for span in found)
    if null_threshold is None:
        return FoundAnswer(first.start, first.end, score, answerable=True)
    diff = min(span.null_logits for span in spans) - max(span.logits for span in found)
    if diff > null_threshold:
        least = min(span.null_probability for span in spans)
        return FoundAnswer(0, 0, least, answerable=False, null_score_diff=diff)
    return FoundAnswer(first.start, first.end, score, answerable=True, null_score_diff=diff)


def _second(encoding: Placed) -> NDArray[np.int64]:
    """Return the tokens of the second text."""
    return np.array([token for token, sequence in enumerate(encoding.sequence_ids) if sequence == 1], dtype=np.int64)


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the logarithms of the probabilities of each token to be the first, and to be the last."""
    chosen = logits.astype(np.float64)
    shifted: NDArray[np.float64] = chosen - np.log(np.exp(chosen - chosen.max(0)).sum(0)) - chosen.max(0)
    return shifted


def _best(logs: NDArray[np.float64]) -> tuple[int, int, float]:
    """Return the first and last token of the best answer, and the logarithm of its probability."""
    total = logs[:, None, 0] + logs[None, :, 1]  # (first token, last token)
    gap = np.arange(len(logs))[None, :] - np.arange(len(logs))[:, None]
    total[(gap < 0) | (gap >= LONGEST_ANSWER)] = -np.inf
    first, last = np.unravel_index(int(total.argmax()), total.shape)
    return int(first), int(last), float(total[first, last])
