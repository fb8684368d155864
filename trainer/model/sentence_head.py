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

    def tokenizer(self, tokenizer: Tokenizer) -> Tokenizer:
        """Return the encoder's tokenizer, which lower-cases if the settings say so."""
        return lower_cased(tokenizer) if self.settings.lower_case else tokenizer

    @property
    def skips_prompt(self) -> bool:
        """Whether the pooling leaves out the tokens of a prompt that is before every text."""
        return bool(self.settings.prompt) and not self.settings.include_prompt

    def skipped(self, tokenizer: Tokenizer) -> int:
        """Return the number of tokens at the start of each text that the pooling leaves out."""
        return prompt_tokens(tokenizer, self.settings.prompt) if self.skips_prompt else 0


def read_sentence_head(path: Path, encoder: Path, hidden: int) -> SentenceHead:
    """Read the head in a model's directory.

    `encoder`: directory of the encoder's files, `hidden`: its width. Raises ModelError for anything that cannot be
    followed.
    """
    modules = read_modules(path, hidden)
    settings = read_sentence_settings(path, encoder)
    settings = dataclasses.replace(settings, include_prompt=modules.include_prompt)
    if settings.truncated is not None:
        modules = dataclasses.replace(modules, steps=(*modules.steps, Truncate(settings.truncated)))
    head = SentenceHead(modules, settings)
    if head.skips_prompt and "first" in modules.pooling.split("+"):
        # The first token of the text or the first behind the prompt: releases differ.
        raise ModelError(
            f"{path}: {CLS} pooling that leaves the prompt out is not supported; set include_prompt to true, or "
            "default_prompt_name to null"
        )
    return head
