"""More rows out of those there are: words replaced by words that are like them (TinyBERT, algorithm 1; DynaBERT).

Each copy of a row has every word that may be replaced replaced with a probability, by one of its candidates, all
equally likely. A word's candidates are its nearest neighbours among the word embeddings of the model, or, where a
masked language model is given, what that would put in its place (`masked_words`). Words of several tokens, function
words, numbers and the answers to questions stay.

The copies are there to be distilled on, by the teacher's answers to them; they keep the label of their row, which may
no longer be right.
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

from gearshift.trainer.data.rows import Row, Span, Tags

SHARE = 0.4
"""Probability of a word to be replaced, and how many candidates it has; both as in TinyBERT and DynaBERT."""
CANDIDATES = 15

_LETTERS = r"[^\W\d_]{3,}"
_WORD = re.compile(rf"""(?<![^\s"'(\[-]){_LETTERS}(?![^\s.,;:!?"')\]-]|'[^\W_])(?!\S*[/@#])""")
"""Letters between blanks or marks of punctuation: no part of an address or of `don't`."""
_AT_ONCE = 1024

Candidates = Callable[[str, str, int], Sequence[str]]
"""What may stand for a word, from the word, its text and its place there."""


def augment(rows: Sequence[Row], candidates: Candidates, *, copies: int, seed: int, share: float = SHARE) -> list[Row]:
    """`copies` of each row, with words replaced; the same seed gives the same. Shows a bar on a terminal."""
    made = []
    for copy in range(copies):
        for number, row in enumerate(tqdm(rows, desc="augmentation", unit="row", disable=None, leave=False)):
            made.append(_changed(row, candidates, share, random.Random(f"{seed}/{copy}/{number}")))
    return made


def near_words(rows: Iterable[Row], tokenizer: Tokenizer, embeddings: Tensor) -> Candidates:
    """The nearest neighbours, by cosine, of the words of these rows in a word table (vocabulary, width)."""
    words = _words_of_one_token(tokenizer)
    unit = F.normalize(embeddings.detach().float().cpu(), dim=-1)
    places = torch.tensor(list(words.values()))
    names = list(words)
    asked = sorted({word.lower() for row in rows for word in _replaceable(row)} & words.keys())
    near: dict[str, Sequence[str]] = {}
    for start in range(0, len(asked), _AT_ONCE):
        part = asked[start : start + _AT_ONCE]
        likeness = unit[[words[word] for word in part]] @ unit[places].T
        best = likeness.topk(min(CANDIDATES + 1, len(names))).indices.tolist()  # the word itself is one of them
        near |= {
            word: [names[i] for i in row if names[i] != word][:CANDIDATES] for word, row in zip(part, best, strict=True)
        }
    return lambda word, text, place: near.get(word.lower(), ())


def is_word(text: str) -> bool:
    """Whether this may be put into a text: letters, and not too few of them."""
    return re.fullmatch(_LETTERS, text) is not None


def _replaceable(row: Row) -> list[str]:
    """The words of a row that may be replaced."""
    return [text[start:end] for text, regions in _texts(row) for start, end in _words(text, regions)]


def _texts(row: Row) -> list[tuple[str, list[tuple[int, int]]]]:
    """The texts of a row with their regions that must stay."""
    answers = [span for span in row.label if isinstance(span, Span)] if isinstance(row.label, tuple) else []
    kept = [(span.start, span.start + len(span.text)) for span in answers]
    return [(row.text, [])] + ([] if row.pair is None else [(row.pair, kept)])


def _words(text: str, kept: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Where the words are that may be replaced."""
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
        label = Tags(tuple(moves[0](start) for start in label.starts), label.tags)
    elif isinstance(label, tuple):
        label = tuple(Span(moves[1](span.start), span.text) for span in label)
    return dataclasses.replace(row, text=texts[0], pair=texts[1] if len(texts) > 1 else None, label=label)


def _replaced(
    text: str, kept: Sequence[tuple[int, int]], candidates: Candidates, share: float, source: random.Random
) -> tuple[str, Callable[[int], int]]:
    """The text with words replaced, and what moves a place of the old one to the same place of the new one."""
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
    """Another word, with a capital letter where this one has one."""
    return other.capitalize() if word[:1].isupper() and other.islower() else other


def _words_of_one_token(tokenizer: Tokenizer) -> Mapping[str, int]:
    """Word -> token, of the words that are one token where they follow another."""
    texts = {tokenizer.decode([token]).strip(): token for token in range(tokenizer.get_vocab_size())}
    words = [text for text in texts if is_word(text)]
    encoded = tokenizer.encode_batch([f"a {word}" for word in words], add_special_tokens=False)
    first = len(tokenizer.encode("a", add_special_tokens=False).ids)
    single = {word: found.ids[first] for word, found in zip(words, encoded, strict=True) if len(found.ids) == first + 1}
    return {word: token for word, token in single.items() if word.lower() == word}
