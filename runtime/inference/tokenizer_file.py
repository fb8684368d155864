"""Opening of a bundle's tokenizer.json by the tokenizers package, whose failures become a BundleError."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from gearshift.errors import SchemaError, one_line
from gearshift.json_reader import parse_json, read_limited
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.bundle.manifest import TOKENIZER
from gearshift.runtime.inference.tokenizer_parts import check_parts

TRIED = ("turn the lights off", "x" * 200, "\u6f22\u5b57 \U0001f600 \ufdfa \u0e01\u0e33 \x07", " . , ' \" \t\n-" * 20)
"""Texts that every tokenizer must take: known and unknown words and characters."""


def open_tokenizer(bundle: Bundle) -> Tokenizer:
    """Open the tokenizer of a bundle without padding, cutting texts at the bundle's length.

    Unless the bundle is known, its parts are checked before (`check_parts`), and it is tried on a few texts. Raises
    SchemaError in one line.
    """
    path = bundle.path / TOKENIZER
    if not bundle.known:
        _check(path, bundle)
    try:
        tokenizer = Tokenizer.from_file(str(path))
        side = str((tokenizer.truncation or {}).get("direction", "right"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(bundle.manifest.max_length, direction=side)
        for text in () if bundle.known else TRIED:
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


def _check(path: Path, bundle: Bundle) -> None:
    try:
        raw = parse_json(read_limited(path))
        check_parts(raw, bundle.manifest.space.shape.vocabulary, bundle.manifest.max_length)
    except (ValueError, OSError) as error:
        raise SchemaError(
            f"{path}: expected a tokenizer of an encoder, found {one_line(error)}; "
            "do not use this bundle, or install a newer gearshift if it was exported with one"
        ) from error
