"""Replacement words predicted by a masked language model (TinyBERT, algorithm 1)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from gearshift.errors import ModelError, first_line
from gearshift.trainer.data.augment import CANDIDATES, Candidates, is_word
from gearshift.trainer.data.tokenizer import check_ids
from gearshift.trainer.model.loading import load_transformers, quiet

_AT_ONCE = 64
"""Number of masked copies of a text that are computed together."""


def masked_words(path: Path, *, device: torch.device | str = "cpu") -> Candidates:
    """Return a function that gives the likeliest words by the masked language model in a directory; none for words of
    several tokens.

    Raises ModelError if there is no such model, or some of its weights are missing: transformers would draw them at
    random.
    """
    loaded = load_transformers("AutoModelForMaskedLM", path, what="masked language model")
    if loaded.missing:
        raise ModelError(
            f"{path}: is no masked language model: {len(loaded.missing)} of its weights are missing "
            f"({loaded.missing[0]}); give one that was trained to fill in masks"
        )
    try:
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True, use_fast=True)
    except Exception as error:  # a damaged file raises any error of its parser
        raise ModelError(f"{path}: no tokenizer that transformers can read ({first_line(error)})") from error
    if tokenizer.mask_token_id is None:
        raise ModelError(f"{path}: its tokenizer has no mask token, which a masked language model needs")

    check_ids(tokenizer, loaded.model.config.vocab_size, path)
    model = loaded.model.to(device).eval()

    @functools.cache
    def of_text(text: str) -> dict[int, Sequence[str]]:
        return _candidates(model, tokenizer, text)

    return lambda word, text, place: of_text(text).get(place, ())


@torch.no_grad()
def _candidates(model: Any, tokenizer: Any, text: str) -> dict[int, Sequence[str]]:
    """Return place in the text -> likely words, for every word of the text that is one token."""
    longest = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 512) - 2)
    encoded = tokenizer(text, return_offsets_mapping=True, truncation=True, max_length=longest)
    spans: dict[int, list[int]] = {}
    for token, word in enumerate(encoded.word_ids()):
        if word is not None:
            spans.setdefault(word, []).append(token)
    single = [tokens[0] for tokens in spans.values() if len(tokens) == 1]
    found: dict[int, Sequence[str]] = {}
    for start in range(0, len(single), _AT_ONCE):
        part = single[start : start + _AT_ONCE]
        ids = torch.tensor([encoded["input_ids"]] * len(part), device=model.device)
        rows = torch.arange(len(part))
        ids[rows, part] = tokenizer.mask_token_id
        best = model(input_ids=ids).logits[rows, part].topk(min(4 * CANDIDATES, model.config.vocab_size)).indices
        for token, choices in zip(part, best.tolist(), strict=True):
            begin, end = encoded["offset_mapping"][token]
            words = [tokenizer.decode([choice]).strip() for choice in choices]
            kept = [word for word in words if is_word(word) and word.lower() != text[begin:end].lower()]
            found[begin + len(text[begin:end]) - len(text[begin:end].lstrip())] = kept[:CANDIDATES]
    return found
