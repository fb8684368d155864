"""Self-test of a bundle's tokenizer: texts, and the tokens that each must have on every device.

`selftest.json` lies beside the arrays of the other self-tests. Bundles that were made before it lack it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import tokenizers

from gearshift.errors import InputError, SelfTestError
from gearshift.number_checks import is_whole
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.bundle.manifest import TOKEN_VECTORS, Manifest
from gearshift.runtime.inference.text import Text, TextEncoder
from gearshift.runtime.inference.words import Words
from gearshift.schema import Schema

MOST_VECTORS = 1024
MOST_CHARACTERS = 1 << 16
"""Texts of a self-test and their characters together; the exporter writes some hundred of some words each."""

_SHOWN = 60
"""Characters of a text that are shown in an error."""

SCHEMA = Schema(version=1, advice="export the bundle again", most_bytes=4 << 20)


@dataclass(frozen=True)
class TokenVector:
    """Text with its tokens."""

    text: Text
    ids: tuple[int, ...]
    types: tuple[int, ...]
    """Type of each token: 0, or 1 for the second text of a pair, as the tokenizer says."""
    places: tuple[tuple[int, int], ...] | None
    """Place of each token in the text that was read; None for tasks that answer without places."""

    def __post_init__(self) -> None:
        numbers = {*self.ids, *self.types, *itertools.chain.from_iterable(self.places or ())}
        same = len(self.ids) == len(self.types) == len(self.ids if self.places is None else self.places)
        if not same or not all(is_whole(number, 0) for number in numbers):
            raise InputError("tokens: expected as many whole numbers of each kind")

    @classmethod
    def of(cls, text: Text, encoder: TextEncoder, manifest: Manifest) -> Self:
        """Make the vector of a text by the encoder of a bundle; raises InputError for a text that it does not take."""
        encoding = encoder.encoding(text)
        places = tuple(encoding.offsets) if manifest.per_token else None
        return cls(text, tuple(encoding.ids), tuple(encoding.type_ids), places)

    @property
    def characters(self) -> int:
        """Number of characters of the text."""
        return len(self.text.text) if isinstance(self.text, Words) else sum(map(len, _parts(self.text)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON; types only if some are not 0."""
        words = isinstance(self.text, Words)
        given = list(self.text.words) if isinstance(self.text, Words) else list(_parts(self.text))
        plain: dict[str, Any] = {"words" if words else "text": given, "ids": list(self.ids)}
        if any(self.types):
            plain["types"] = list(self.types)
        if self.places is not None:
            plain["places"] = [list(place) for place in self.places]
        return plain

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Read the vector that `to_dict` wrote."""
        ids = tuple(raw["ids"])
        places = None if "places" not in raw else tuple((start, end) for start, end in raw["places"])
        types = tuple(raw.get("types", (0,) * len(ids)))
        if "words" in raw:
            return cls(Words(list(raw["words"])).checked(), ids, types, places)
        first, *rest = raw["text"]
        if len(rest) > 1 or not all(isinstance(part, str) for part in (first, *rest)):
            raise InputError("text: expected one text or two")
        return cls((first, rest[0]) if rest else first, ids, types, places)


def write_token_vectors(directory: Path, vectors: Iterable[TokenVector]) -> None:
    """Write the self-test of the tokenizer into the directory of a bundle, before its manifest."""
    lines = ",\n".join(json.dumps(vector.to_dict(), ensure_ascii=False) for vector in vectors)
    content = f'{{"schema_version": {SCHEMA.version}, "tokens": [\n{lines}\n]}}\n'
    (directory / TOKEN_VECTORS).write_text(content, encoding="utf-8")


def read_token_vectors(path: Path) -> list[TokenVector]:
    """Read the self-test of a tokenizer; raise SchemaError if it is of another form, or too large."""
    return SCHEMA.read(path, _vectors)


def check_token_vectors(bundle: Bundle, encoder: TextEncoder) -> None:
    """Raise SelfTestError, which shows the text, unless an encoder makes the tokens of the bundle's own self-test.

    Bundles that have none are not tested. A bundle that passed is tested again with another version of tokenizers.
    """
    check = f"tokens, tokenizers {tokenizers.__version__}"
    if TOKEN_VECTORS not in bundle.manifest.files or bundle.passed(check):
        return
    for vector in read_token_vectors(bundle.path / TOKEN_VECTORS):
        if _made(vector, encoder, bundle.manifest) != vector:
            raise SelfTestError(
                f"{bundle.path}: self-test of the tokenizer: expected other tokens for {_shown(vector.text)}; "
                "use the version of tokenizers that the bundle was made with, or export it again"
            )
    bundle.remember(check)


def _made(vector: TokenVector, encoder: TextEncoder, manifest: Manifest) -> TokenVector | None:
    try:
        return TokenVector.of(vector.text, encoder, manifest)
    except InputError:  # of a text, which the bundle's author must not choose
        return None


def _vectors(fields: dict[str, Any]) -> list[TokenVector]:
    raw = fields["tokens"]
    if not isinstance(raw, list) or not 0 < len(raw) <= MOST_VECTORS:
        raise InputError(f"tokens: expected 1 to {MOST_VECTORS} texts")
    vectors = [TokenVector.from_dict(each) for each in raw]
    if sum(vector.characters for vector in vectors) > MOST_CHARACTERS:
        raise InputError(f"tokens: expected texts of at most {MOST_CHARACTERS} characters")
    return vectors


def _parts(text: str | tuple[str, str]) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else text


def _shown(text: Text) -> str:
    shown = repr(text.text if isinstance(text, Words) else text)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
