"""Tokenizers of checkpoints, as transformers reads them.

A tokenizer is a `tokenizers.Tokenizer`, the library that the device uses, so that both see the same ids. What
tokenizer_config.json and special_tokens_map.json say besides, it carries as a tokenizer.json does: the pad token in its
`padding`, the side that a long text is cut on and the longest text in its `truncation`. `cutting` cuts and `whole` does
not; neither pads, since rows are padded by the batch.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, Protocol

import transformers
from tokenizers import Tokenizer

from gearshift.errors import InputError, ModelError, first_line
from gearshift.runtime.inference.tokenizer_file import tokens_beyond

CONFIG = "tokenizer_config.json"

FILES = (CONFIG, "special_tokens_map.json", "vocab.txt", "vocab.json", "merges.txt")
"""Files of a tokenizer besides tokenizer.json, copied if present."""

NO_LIMIT = 2**31 - 1
"""Maximum length of a tokenizer that cuts on the left and names no limit."""

_PAD_TOKENS = ("[PAD]", "<pad>")
"""Padding tokens of BERT and RoBERTa, for a tokenizer that names none."""

_NAMED = 5
"""Number of tokens that an error names."""


class Tokenized(Protocol):
    """Object with a tokenizer, and the directory `source` of its files."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def source(self) -> Path: ...


def load_tokenizer(path: Path, vocabulary: int | None = None) -> Tokenizer:
    """Load the tokenizer of a checkpoint; raises ModelError.

    `vocabulary`: rows of the model's word table, which must hold every token; None if there is no model yet.
    """
    try:
        loaded = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True, use_fast=True)
    except Exception as error:  # a damaged file raises any error of its parser
        raise ModelError(f"{path}: no tokenizer that transformers can read ({first_line(error)})") from error
    if not loaded.is_fast:
        raise ModelError(f"{path}: no tokenizer.json, and none can be made from its tokenizer; add one")
    if not set(loaded.get_vocab()) - set(loaded.all_special_tokens):  # transformers 5 makes one without any word
        raise ModelError(f"{path}: no tokenizer, expected tokenizer.json or the vocabulary of one; add it")
    tokenizer = from_transformers(loaded, path)
    if vocabulary is not None:
        check_ids(tokenizer, vocabulary, path)
    return tokenizer


def from_transformers(loaded: Any, path: Path) -> Tokenizer:
    """Convert a fast tokenizer of transformers; raises ModelError, which names `path`."""
    if getattr(loaded, "split_special_tokens", False):
        raise ModelError(
            f"{path}: {CONFIG}: split_special_tokens is not supported, as a tokenizer.json cannot hold it; remove it, "
            "and special tokens in a text are taken as such"
        )
    tokenizer = Tokenizer.from_str(loaded.backend_tokenizer.to_str())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if loaded.pad_token_id is not None:
        tokenizer.enable_padding(
            direction=loaded.padding_side,
            pad_id=loaded.pad_token_id,
            pad_type_id=loaded.pad_token_type_id,
            pad_token=loaded.pad_token,
        )
    limit = min(int(loaded.model_max_length), NO_LIMIT)
    if limit < NO_LIMIT or loaded.truncation_side != "right":
        tokenizer.enable_truncation(max(limit, 1), direction=loaded.truncation_side)
    return tokenizer


def check_ids(tokenizer: Any, vocabulary: int, path: Path) -> None:
    """Raise ModelError, which names `path`, for tokens beyond the rows of the model's word table.

    `tokenizer`: of tokenizers or of transformers.
    Such tokens were added without resizing the model. A row that is made up here would be a guess that no training
    has seen; whoever added them knows whether to train them.
    """
    beyond = tokens_beyond(tokenizer, vocabulary)
    if beyond:
        named = ", ".join(f"{token!r} ({number})" for number, token in beyond[:_NAMED])
        more = f" and {len(beyond) - _NAMED} more" if len(beyond) > _NAMED else ""
        raise ModelError(
            f"{path}: expected tokens for the {vocabulary} rows of the model's word table, found {named}{more} beyond; "
            "call model.resize_token_embeddings(len(tokenizer)) in transformers, train, and save both, or remove them "
            "from the tokenizer"
        )


def save_tokenizer(checkpoint: Tokenized, target: Path) -> None:
    """Write the files of a tokenizer in the form that transformers reads, even where there is no config.json."""
    source = checkpoint.source
    with tempfile.TemporaryDirectory() as scratch:
        if not _names_its_class(source / CONFIG):
            named = transformers.AutoTokenizer.from_pretrained(source, local_files_only=True, use_fast=True)
            source = Path(scratch)
            named.save_pretrained(source)
        for name in FILES:
            if (source / name).is_file():
                # `shutil.copyfile` would name the source in the error if the target's disk is full.
                (target / name).write_bytes((source / name).read_bytes())
    (target / "tokenizer.json").write_text(checkpoint.tokenizer.to_str(), encoding="utf-8")


def _names_its_class(config: Path) -> bool:
    """Return whether a tokenizer_config.json names a class; its `model_max_length` is often a number of 31 digits,
    which files of ours may not have."""
    try:
        return "tokenizer_class" in json.loads(config.read_bytes())
    except (OSError, ValueError):
        return False


def whole(tokenizer: Tokenizer) -> Tokenizer:
    """Return a copy that neither cuts nor pads."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_padding()
    copy.no_truncation()
    return copy


def cutting(tokenizer: Tokenizer, max_length: int) -> Tokenizer:
    """Return a copy that cuts to `max_length` tokens, on the tokenizer's own side, and does not pad.

    Of a pair the longer text is cut first. The tokenizer's own limit does not count.
    """
    copy = whole(tokenizer)
    copy.enable_truncation(max_length, strategy="longest_first", direction=cut_side(tokenizer))
    return copy


def cut_side(tokenizer: Tokenizer) -> str:
    """Return the side that a long text is cut on, `right` or `left`."""
    return str((tokenizer.truncation or {}).get("direction", "right"))


def check_length(tokenizer: Tokenizer, max_length: int) -> None:
    """Raise InputError for a setting `max_length` beyond the tokenizer's own limit."""
    limit = int((tokenizer.truncation or {}).get("max_length", NO_LIMIT))
    if max_length > limit:
        raise InputError(
            f"settings: expected max_length of at most {limit}, the model_max_length of {CONFIG}, got {max_length}; "
            "lower it, or raise that if the model was trained on longer texts"
        )


def pad_id_of(tokenizer: Tokenizer) -> int:
    """Return the id of the tokenizer's padding; raise InputError if it has none."""
    if tokenizer.padding is not None:
        return int(tokenizer.padding["pad_id"])
    for token in _PAD_TOKENS:
        found = tokenizer.token_to_id(token)
        if found is not None:
            return int(found)
    raise InputError(
        f"tokenizer: no pad token; expected {' or '.join(_PAD_TOKENS)}, or another that {CONFIG} names, or pass pad_id"
    )
