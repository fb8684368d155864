"""Shrinking of a tokenizer's vocabulary: keep the pieces of given texts, and those that spell all other text.

1. A text whose pieces all stay is cut into the same pieces as before. WordPiece takes the longest piece that fits,
   which is still there; Unigram takes the likeliest cut, which is still possible; for BPE, all merges that lead to a
   kept piece stay.
2. All other text is spelt by smaller pieces: every piece of one character stays. A piece with a character that has no
   piece of its own stays too, as nothing else could spell it.
3. Ids are renumbered, in the old order. Special and added tokens stay.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

from gearshift.errors import ExportError
from gearshift.trainer.data.tokenizer import whole

_TEXTS_AT_ONCE = 1000

Raw = dict[str, Any]
"""Section of a tokenizer.json, such as its model."""


@dataclass(frozen=True)
class SmallVocabulary:
    """Tokenizer with fewer pieces."""

    tokenizer: Tokenizer
    kept: tuple[int, ...]
    """Old id of each new id."""


def used_pieces(tokenizer: Tokenizer, texts: Collection[str]) -> set[str]:
    """Return the pieces that texts are cut into."""
    return {piece for pieces in _cut(tokenizer, texts) for piece in pieces}


def respelt(old: Tokenizer, new: Tokenizer, texts: Collection[str]) -> int:
    """Return the number of texts that the new tokenizer cuts into other pieces."""
    return sum(one != other for one, other in zip(_cut(old, texts), _cut(new, texts), strict=True))


def _cut(tokenizer: Tokenizer, texts: Collection[str]) -> Iterable[list[str]]:
    ordered, tokenizer = list(texts), whole(tokenizer)
    for start in range(0, len(ordered), _TEXTS_AT_ONCE):
        for encoding in tokenizer.encode_batch(ordered[start : start + _TEXTS_AT_ONCE]):
            yield encoding.tokens


def shrink(tokenizer: Tokenizer, needed: Collection[str]) -> SmallVocabulary:
    """Shrink a tokenizer to these pieces and those of rules 1 to 3; raises ExportError for an unsupported kind."""
    raw = json.loads(tokenizer.to_str())
    model = raw["model"]
    if model["type"] not in _KINDS:
        raise ExportError(
            f"vocabulary: expected a tokenizer of {', '.join(_KINDS)}, found {model['type']}; "
            "export without a vocabulary"
        )
    added = {token["content"]: token["id"] for token in raw["added_tokens"]}
    special = {*added, *([model["unk_token"]] if model.get("unk_token") is not None else [])}
    ids, rebuild = _KINDS[model["type"]](model, {*needed, *special})
    kept = sorted({*ids, *added.values()})
    new = {old: place for place, old in enumerate(kept)}
    rebuild(new)
    for token in raw["added_tokens"]:
        token["id"] = new[token["id"]]
    _renumber(raw.get("post_processor"), new)
    if raw.get("padding") is not None:
        raw["padding"]["pad_id"] = new[raw["padding"]["pad_id"]]
    return SmallVocabulary(Tokenizer.from_str(json.dumps(raw, ensure_ascii=False)), tuple(kept))


Rebuild = Callable[[Mapping[int, int]], None]
"""Function that replaces the vocabulary of the model by the kept pieces, given old id -> new id."""


def _wordpiece(model: Raw, needed: Collection[str]) -> tuple[list[int], Rebuild]:
    prefix = model["continuing_subword_prefix"]
    stems = {piece: piece.removeprefix(prefix) for piece in model["vocab"]}
    spelt = {stem for stem in stems.values() if len(stem) == 1 and {stem, prefix + stem} <= model["vocab"].keys()}
    kept = {piece for piece, stem in stems.items() if piece in needed or len(stem) < 2 or not spelt.issuperset(stem)}

    def rebuild(new: Mapping[int, int]) -> None:
        model["vocab"] = _of(model["vocab"], kept, new)

    return [model["vocab"][piece] for piece in kept], rebuild


def _bpe(model: Raw, needed: Collection[str]) -> tuple[list[int], Rebuild]:
    vocabulary = model["vocab"]
    prefix, suffix = model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or ""
    merges = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
    parts: dict[str, set[str]] = {}
    for first, second in merges:
        parts.setdefault(first + second.removeprefix(prefix), set()).update((first, second))
    kept: set[str] = set()
    # A piece that no merge makes is a character, or a byte of one.
    waiting = [piece for piece in vocabulary if piece in needed or piece not in parts]
    waiting += [piece for piece in vocabulary if len(piece.removeprefix(prefix).removesuffix(suffix)) < 2]
    while waiting:
        piece = waiting.pop()
        if piece not in kept:
            kept.add(piece)
            waiting += parts.get(piece, ())

    def rebuild(new: Mapping[int, int]) -> None:
        model["vocab"] = _of(vocabulary, kept, new)
        model["merges"] = [
            merge
            for merge, (first, second) in zip(model["merges"], merges, strict=True)
            if {first, second, first + second.removeprefix(prefix)} <= kept
        ]

    return [vocabulary[piece] for piece in kept], rebuild


def _unigram(model: Raw, needed: Collection[str]) -> tuple[list[int], Rebuild]:
    pieces = [piece for piece, _ in model["vocab"]]
    spelt = {piece for piece in pieces if len(piece) == 1}
    kept = [
        place
        for place, piece in enumerate(pieces)
        if piece in needed or place == model["unk_id"] or len(piece) < 2 or not spelt.issuperset(piece)
    ]

    def rebuild(new: Mapping[int, int]) -> None:
        model["vocab"] = [model["vocab"][place] for place in kept]
        model["unk_id"] = None if model["unk_id"] is None else new[model["unk_id"]]

    return kept, rebuild


_KINDS = {"WordPiece": _wordpiece, "BPE": _bpe, "Unigram": _unigram}


def _of(vocabulary: Mapping[str, int], kept: Collection[str], new: Mapping[int, int]) -> dict[str, int]:
    ordered = sorted(kept, key=vocabulary.__getitem__)
    return {piece: new[vocabulary[piece]] for piece in ordered}


def _renumber(processor: Raw | None, new: Mapping[int, int]) -> None:
    """Replace the ids of special tokens in a post-processor by the new ones."""
    if processor is None:
        return
    for inner in processor.get("processors", []):
        _renumber(inner, new)
    for token in (processor.get("special_tokens") or {}).values():
        token["ids"] = [new[old] for old in token["ids"]]
    for name in ("sep", "cls"):
        if name in processor:
            text, old = processor[name]
            processor[name] = [text, new[old]]
