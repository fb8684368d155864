"""A tokenizer that makes other tokens than the one that a bundle was exported with is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from gearshift.errors import BundleError, SchemaError, SelfTestError
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.bundle.manifest import TOKEN_VECTORS
from gearshift.runtime.engine import Engine
from gearshift.runtime.files.known import Known
from gearshift.runtime.inference.self_test import checked_encoder
from gearshift.runtime.inference.text import TextEncoder
from gearshift.runtime.inference.token_vectors import (
    MOST_CHARACTERS,
    MOST_VECTORS,
    TokenVector,
    read_token_vectors,
    write_token_vectors,
)
from gearshift.runtime.inference.words import Words
from gearshift.runtime.trust.trust import trusted
from tests.runtime.altered import change_manifest, edit_json, set_field


def edited(directory: Path, edit: Callable[[dict[str, Any]], object]) -> Bundle:
    """The bundle with an edit of its tokenizer, and hashes that are right."""
    edit_json(directory / "tokenizer.json", edit)
    change_manifest(directory)
    return open_bundle(directory)


def exchange_two_words(raw: dict[str, Any]) -> None:
    words = raw["model"]["vocab"]
    words["lights"], words["off"] = words["off"], words["lights"]


def exchange_two_rare_pieces(raw: dict[str, Any]) -> None:
    words = raw["model"]["vocab"]
    one, other = sorted(words, key=lambda word: -words[word])[:2]
    words[one], words[other] = words[other], words[one]


ALTERED: dict[str, Callable[[dict[str, Any]], object]] = {
    "capitals are kept": set_field("normalizer", "lowercase", to=False),
    "accents are kept": set_field("normalizer", "strip_accents", to=False),
    "Chinese characters are no words": set_field("normalizer", "handle_chinese_chars", to=False),
    "control characters are kept": set_field("normalizer", "clean_text", to=False),
    "another normalizer": set_field("normalizer", to={"type": "NFKC"}),
    "no normalizer": set_field("normalizer", to=None),
    "words between blanks": set_field("pre_tokenizer", to={"type": "WhitespaceSplit"}),
    "words and marks": set_field("pre_tokenizer", to={"type": "Whitespace"}),
    "shorter words": set_field("model", "max_input_chars_per_word", to=99),
    "longer words": set_field("model", "max_input_chars_per_word", to=101),
    "another mark of pieces": set_field("model", "continuing_subword_prefix", to="@@"),
    "two words": exchange_two_words,
    "two rare pieces": exchange_two_rare_pieces,
    "a single text has no end": lambda raw: raw["post_processor"]["single"].pop(),
    "a pair has no end": lambda raw: raw["post_processor"]["pair"].pop(),
    "types of a pair": lambda raw: raw["post_processor"]["pair"][-1]["SpecialToken"].update(type_id=0),
    "special tokens in a text": lambda raw: raw.update(added_tokens=[]),
    "the beginning is cut": set_field(
        "truncation", to={"direction": "Left", "max_length": 32, "strategy": "LongestFirst", "stride": 0}
    ),
}


@pytest.mark.parametrize("name", ALTERED)
def test_a_tokenizer_that_makes_other_tokens_is_refused(bundle_copy: Path, name: str) -> None:
    bundle = edited(bundle_copy, ALTERED[name])
    TextEncoder(bundle)  # which finds no fault in it
    with pytest.raises(SelfTestError, match="self-test of the tokenizer: expected other tokens for") as said:
        checked_encoder(bundle)
    assert "\n" not in str(said.value)


def test_an_engine_does_not_load_with_such_a_tokenizer(bundle_copy: Path) -> None:
    edited(bundle_copy, exchange_two_words)
    for cache in (True, False):
        with pytest.raises(SelfTestError, match="expected other tokens for 'turn the lights off'"):
            Engine.load(bundle_copy, threads=1, precision="fp32", sensors=False, cache=cache)


def test_a_tokenizer_that_was_saved_again_is_taken(bundle_copy: Path) -> None:
    path = bundle_copy / "tokenizer.json"
    tokenizers.Tokenizer.from_file(str(path)).save(str(path), pretty=False)
    change_manifest(bundle_copy)
    assert checked_encoder(open_bundle(bundle_copy)).encode(["turn the lights off"]).tokens == (6,)


def test_a_bundle_without_vectors_is_not_tested(bundle_copy: Path) -> None:
    (bundle_copy / TOKEN_VECTORS).unlink()
    checked_encoder(edited(bundle_copy, exchange_two_words))


def test_vectors_are_tried_once_for_each_version_of_the_library(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[object] = []
    encoding = TextEncoder.encoding

    def counting(encoder: TextEncoder, text: Any) -> Any:
        encoded.append(text)
        return encoding(encoder, text)

    monkeypatch.setattr(TextEncoder, "encoding", counting)
    known = trusted(bundle, Known(tmp_path))
    counts = []
    for version in ("1.0", "1.0", "2.0"):
        monkeypatch.setattr(tokenizers, "__version__", version)
        checked_encoder(known)
        counts.append(len(encoded))
    vectors = len(read_token_vectors(bundle.path / TOKEN_VECTORS))
    assert counts == [vectors, vectors, 2 * vectors]


def test_vectors_are_read_as_they_were_written(tmp_path: Path) -> None:
    vectors = [
        TokenVector('a \u6f22 "b"\\\n', (2, 5, 3), (0, 0, 0), None),
        TokenVector(("one", "other"), (2, 7, 3, 8, 3), (0, 0, 0, 1, 1), ((0, 0), (0, 3), (0, 0), (0, 5), (0, 0))),
        TokenVector(Words(["one", "two three"]), (2,), (0,), None),
    ]
    write_token_vectors(tmp_path, vectors)
    assert read_token_vectors(tmp_path / TOKEN_VECTORS) == vectors


def text(**fields: Any) -> dict[str, Any]:
    return {"schema_version": 1, "tokens": [{"text": ["a"], "ids": [1], **fields}]}


WRONG: dict[str, Any] = {
    "nothing": {},
    "no list": {"schema_version": 1, "tokens": {}},
    "no texts": {"schema_version": 1, "tokens": []},
    "too many texts": {"schema_version": 1, "tokens": [{"text": ["a"], "ids": [1]}] * (MOST_VECTORS + 1)},
    "too many characters": text(text=["a" * (MOST_CHARACTERS + 1)]),
    "three texts": text(text=["a", "b", "c"]),
    "no text": text(text=[]),
    "a number as a text": text(text=[1]),
    "a text as a list": text(text=7),
    "no words": text(words=[]),
    "a number as a word": text(words=[1]),
    "no ids": {"schema_version": 1, "tokens": [{"text": ["a"]}]},
    "ids of another kind": text(ids=["1"]),
    "negative ids": text(ids=[-1]),
    "fewer types": text(types=[]),
    "more places": text(places=[[0, 1], [1, 2]]),
    "places of three": text(places=[[0, 1, 2]]),
    "a later version": {**text(), "schema_version": 2},
}


@pytest.mark.parametrize("name", WRONG)
def test_vectors_of_another_form_are_refused_in_one_line(bundle_copy: Path, name: str) -> None:
    (bundle_copy / TOKEN_VECTORS).write_text(json.dumps(WRONG[name]))
    change_manifest(bundle_copy)
    with pytest.raises(SchemaError, match=r"selftest\.json: ") as said:
        checked_encoder(open_bundle(bundle_copy))
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, '{"schema_version": 1, "tokens": [1e999]}', "\0" * 99])
def test_vectors_that_are_no_json_are_refused_in_one_line(bundle_copy: Path, content: str) -> None:
    (bundle_copy / TOKEN_VECTORS).write_text(content)
    change_manifest(bundle_copy)
    with pytest.raises(BundleError, match=r"selftest\.json: ") as said:
        checked_encoder(open_bundle(bundle_copy))
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("given", ["", "  ", "\ud800", ["a", " "]])
def test_a_vector_of_a_text_that_is_none_is_refused(bundle_copy: Path, given: Any) -> None:
    content = text(text=given if isinstance(given, list) else [given])
    (bundle_copy / TOKEN_VECTORS).write_text(json.dumps(content))
    change_manifest(bundle_copy)
    with pytest.raises(SelfTestError, match="expected other tokens for"):
        checked_encoder(open_bundle(bundle_copy))
