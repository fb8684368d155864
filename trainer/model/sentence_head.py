"""Head of a sentence-transformers model, put together from its modules, its settings and its tokenizer."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from gearshift.errors import ModelError
from gearshift.trainer.model.embedding_head import Truncate
from gearshift.trainer.model.sentence_modules import CLS, SentenceModules, read_modules
from gearshift.trainer.model.sentence_settings import (
    SentenceSettings,
    lower_cased,
    prompt_tokens,
    read_sentence_settings,
)


@dataclass(frozen=True)
class SentenceHead:
    """Parts of an embedding model beside its encoder."""

    modules: SentenceModules
    settings: SentenceSettings
    tokenizer: Tokenizer
    """Tokenizer, which lower-cases if the settings say so."""
    skipped: int
    """Number of tokens at the start of each text that the pooling leaves out."""


def read_sentence_head(path: Path, encoder: Path, hidden: int, tokenizer: Tokenizer) -> SentenceHead:
    """Read the head in a model's directory.

    `encoder`: directory of the encoder's files, `hidden`: its width. Raises ModelError for anything that cannot be
    followed.
    """
    modules = read_modules(path, hidden)
    settings = read_sentence_settings(path, encoder)
    settings = dataclasses.replace(settings, include_prompt=modules.include_prompt)
    if settings.truncated is not None:
        modules = dataclasses.replace(modules, steps=(*modules.steps, Truncate(settings.truncated)))
    if settings.lower_case:
        tokenizer = lower_cased(tokenizer)
    skipped = skipped_tokens(tokenizer, settings)
    if skipped and "first" in modules.pooling.split("+"):
        # The first token of the text or the first behind the prompt: releases differ.
        raise ModelError(
            f"{path}: {CLS} pooling that leaves the prompt out is not supported; set include_prompt to true, or "
            "default_prompt_name to null"
        )
    return SentenceHead(modules, settings, tokenizer, skipped)


def skipped_tokens(tokenizer: Tokenizer, settings: SentenceSettings) -> int:
    """Return the number of tokens at the start of each text that the pooling leaves out."""
    left_out = bool(settings.prompt) and not settings.include_prompt
    return prompt_tokens(tokenizer, settings.prompt) if left_out else 0
