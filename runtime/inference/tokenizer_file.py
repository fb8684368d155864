"""Opening of a bundle's tokenizer.json by the tokenizers package, whose failures become a BundleError."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from gearshift.errors import SchemaError, one_line
from gearshift.json_reader import parse_json, read_limited
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.bundle.manifest import TOKENIZER
from gearshift.runtime.inference.tokenizer_parts import check_parts

CHECK = "tokenizer"
"""Name under which a bundle remembers that its tokenizer passed."""

TRIED = ("turn the lights off", "x" * 200, "\u6f22\u5b57 \U0001f600 \ufdfa \u0e01\u0e33 \x07", " . , ' \" \t\n-" * 20)
"""Texts that every tokenizer must take: known and unknown words and characters."""


def open_tokenizer(bundle: Bundle) -> Tokenizer:
    """Open the tokenizer of a bundle without padding, cutting texts at the bundle's length.

    Unless it passed before, its parts are checked first (`check_parts`), then its ids, and it is tried on a few texts.
    Raises SchemaError in one line.
    """
    path = bundle.path / TOKENIZER
    if bundle.passed(CHECK):
        return _opened(path, bundle, ())
    largest = _largest_id(path, bundle)
    tokenizer = _opened(path, bundle, TRIED)
    _check_ids(tokenizer, largest, bundle)
    bundle.remember(CHECK)
    return tokenizer


def tokens_beyond(tokenizer: Any, rows: int) -> list[tuple[int, str]]:
    """Return id and text of the tokens that a word table of `rows` rows lacks, in the order of their ids."""
    return sorted((number, token) for token, number in tokenizer.get_vocab().items() if number >= rows)


def _opened(path: Path, bundle: Bundle, tried: Sequence[str]) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
        side = str((tokenizer.truncation or {}).get("direction", "right"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(bundle.manifest.max_length, direction=side)
        for text in tried:
            tokenizer.encode(text)
            tokenizer.encode(text, text)
    except BaseException as error:
        raise failure(path, error) from error
    return tokenizer


def failure(path: Path, error: BaseException) -> SchemaError:
    """Return the error to raise for one of the package's own: plain exceptions, and panics of its Rust code, which are
    no exceptions to Python. Others, such as an interrupt, are raised again.
    """
    if type(error) is not Exception and type(error).__name__ != "PanicException":  # of a signal handler
        raise error
    return SchemaError(f"{path}: not a tokenizer that can be read ({one_line(error)}); export the bundle again")


def _check_ids(tokenizer: Tokenizer, largest: int, bundle: Bundle) -> None:
    """Raise SchemaError if a token has no row in the word table, so that texts with it could not be answered.

    `largest`: largest id of a piece. All texts of a vocabulary are asked for where one is beyond alone, as that takes
    as long as opening the tokenizer.
    """
    rows = bundle.manifest.space.shape.vocabulary
    if max([largest, *tokenizer.get_added_tokens_decoder()]) < rows:
        return
    beyond = tokens_beyond(tokenizer, rows)
    if beyond:
        number, token = beyond[0]
        raise SchemaError(
            f"{bundle.path / TOKENIZER}: expected tokens for the {rows} rows of the word table, found {len(beyond)} "
            f"beyond, the first {token!r} ({number}); resize the model or remove the tokens, and export again"
        )


def _largest_id(path: Path, bundle: Bundle) -> int:
    """Return the largest id of a piece, after the parts of the file were checked."""
    try:
        raw = parse_json(read_limited(path))
        return check_parts(raw, bundle.manifest.space.shape.vocabulary, bundle.manifest.max_length)
    except (ValueError, OSError) as error:
        raise SchemaError(
            f"{path}: expected a tokenizer of an encoder, found {one_line(error)}; "
            "do not use this bundle, or install a newer gearshift if it was exported with one"
        ) from error
