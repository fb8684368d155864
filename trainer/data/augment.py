"""Data augmentation: copies of rows with words replaced by similar ones (TinyBERT, algorithm 1; DynaBERT).

In each copy of a row, every replaceable word is replaced with a given probability by one of its candidates, all equally
likely.
Candidates of a word are its nearest neighbours among the model's word embeddings or, given a masked language model,
that model's predictions in its place (`masked_words`). Words of several tokens, function words, numbers and the answers
to questions stay.

The copies are for distillation by the teacher's answers to them. They keep the label of their row, which may no longer
be right.
"""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from gearshift.trainer.data.rows import HeadLabels, Row, Span, Tags
from gearshift.trainer.data.tokenizer import whole

SHARE = 0.4
"""Probability that a word is replaced; as in TinyBERT and DynaBERT."""
CANDIDATES = 15
"""Number of candidates of a word; as in TinyBERT and DynaBERT."""

_LETTERS = r"[^\W\d_]{3,}"
_WORD = re.compile(rf"""(?<![^\s"'(\[-]){_LETTERS}(?![^\s.,;:!?"')\]-]|'[^\W_])(?!\S*[/@#])""")
"""Pattern of a word: letters between blanks or punctuation marks, and no part of an address or of `don't`."""
_AT_ONCE = 1024

Candidates = Callable[[str, str, int], Sequence[str]]
"""Function from a word, its text and its place in the text to the possible replacements."""


def augment(rows: Sequence[Row], candidates: Candidates, *, copies: int, seed: int, share: float = SHARE) -> list[Row]:
    """Return `copies` of each row with words replaced; the same seed gives the same copies. Shows a bar on a
    terminal."""
    made = []
    for copy in range(copies):
        for number, row in enumerate(tqdm(rows, desc="augmentation", unit="row", disable=None, leave=False)):
            made.append(_changed(row, candidates, share, random.Random(f"{seed}/{copy}/{number}")))
    return made


def near_words(rows: Iterable[Row], tokenizer: Tokenizer, embeddings: Tensor) -> Candidates:
    """Return the nearest neighbours, by cosine in a word table (vocabulary, width), of the words of these rows."""
    words = _words_of_one_token(tokenizer)
    unit = F.normalize(embeddings.detach().float().cpu(), dim=-1)
    places = torch.tensor(list(words.values()))
    names = list(words)
    asked = sorted({word.lower() for row in rows for word in _replaceable(row)} & words.keys())
    near: dict[str, Sequence[str]] = {}
    for start in range(0, len(asked), _AT_ONCE):
        part = asked[start : start + _AT_ONCE]
        likeness = unit[[words[word] for word in part]] @ unit[places].T
        best = likeness.topk(min(CANDIDATES + 1, len(names))).indices.tolist()  # includes the word itself
        near |= {
            word: [names[i] for i in row if names[i] != word][:CANDIDATES] for word, row in zip(part, best, strict=True)
        }
    return lambda word, text, place: near.get(word.lower(), ())


def is_word(text: str) -> bool:
    """Return whether a text may replace a word: at least three letters and nothing else."""
    return re.fullmatch(_LETTERS, text) is not None


def _replaceable(row: Row) -> list[str]:
    """Return the replaceable words of a row."""
    return [text[start:end] for text, regions in _texts(row) for start, end in _words(text, regions)]


def _texts(row: Row) -> list[tuple[str, list[tuple[int, int]]]]:
    """Return the texts of a row with their regions that must stay."""
    answers = [span for span in row.label if isinstance(span, Span)] if isinstance(row.label, tuple) else []
    kept = [(span.start, span.start + len(span.text)) for span in answers]
    return [(row.text, [])] + ([] if row.pair is None else [(row.pair, kept)])


def _words(text: str, kept: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return start and end of each replaceable word."""
    found = (match.span() for match in _WORD.finditer(text))
    return [
        (start, end)
        for start, end in found
        if text[start:end].lower() not in ENGLISH_STOP_WORDS
        and not any(start < stop and end > begin for begin, stop in kept)
    ]


def _changed(row: Row, candidates: Candidates, share: float, source: random.Random) -> Row:
    texts, moves = [], []
    for text, kept in _texts(row):
        changed, move = _replaced(text, kept, candidates, share, source)
        texts.append(changed)
        moves.append(move)
    label = row.label
    if isinstance(label, Tags):
        label = _moved(label, moves[0])
    elif isinstance(label, HeadLabels):
        each = (_moved(one, moves[0]) if isinstance(one, Tags) else one for one in label.labels)
        label = HeadLabels(tuple(each))
    elif isinstance(label, tuple):
        label = tuple(Span(moves[1](span.start), span.text) for span in label)
    return dataclasses.replace(row, text=texts[0], pair=texts[1] if len(texts) > 1 else None, label=label)


def _moved(tags: Tags, move: Callable[[int], int]) -> Tags:
    return Tags(tuple(map(move, tags.starts)), tags.tags)


def _replaced(
    text: str, kept: Sequence[tuple[int, int]], candidates: Candidates, share: float, source: random.Random
) -> tuple[str, Callable[[int], int]]:
    """Replace words of a text; return the new text and a function from places in the old text to those in the new
    one."""
    pieces, ends, done, grown = [], [(0, 0)], 0, 0
    for start, end in _words(text, kept):
        if source.random() >= share:
            continue
        choice = candidates(text[start:end], text, start)
        if not choice:
            continue
        word = _spelled_like(text[start:end], source.choice(choice))
        pieces += [text[done:start], word]
        done, grown = end, grown + len(word) - (end - start)
        ends.append((end, grown))
    moved = dict(ends)
    return "".join([*pieces, text[done:]]), lambda place: place + moved[max(end for end, _ in ends if end <= place)]


def _spelled_like(word: str, other: str) -> str:
    """Return `other`, capitalised if `word` is."""
    return other.capitalize() if word[:1].isupper() and other.islower() else other


def _words_of_one_token(tokenizer: Tokenizer) -> Mapping[str, int]:
    """Return word -> token, for words that are one token when they follow another word."""
    tokenizer = whole(tokenizer)
    texts = {tokenizer.decode([token]).strip(): token for token in range(tokenizer.get_vocab_size())}
    words = [text for text in texts if is_word(text)]
    encoded = tokenizer.encode_batch([f"a {word}" for word in words], add_special_tokens=False)
    first = len(tokenizer.encode("a", add_special_tokens=False).ids)
    single = {word: found.ids[first] for word, found in zip(words, encoded, strict=True) if len(found.ids) == first + 1}
    return {word: token for word, token in single.items() if word.lower() == word}
