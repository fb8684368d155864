from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from gearshift.errors import InputError, SchemaError
from gearshift.runtime.batches import group, work_of
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.inference.text import CHARACTERS_PER_TOKEN, TextEncoder
from tests.runtime.altered import change_manifest


@pytest.fixture(scope="module")
def encoder(bundle: Bundle) -> TextEncoder:
    return TextEncoder(bundle)


def test_a_text_becomes_integer_arrays_of_one_row(encoder: TextEncoder, bundle: Bundle) -> None:
    encoded = encoder.encode(["turn the lights off"])
    assert set(encoded.calls[0].inputs) == set(bundle.manifest.inputs)
    (call,) = encoded.calls
    for array in call.inputs.values():
        assert array.dtype == np.int64
        assert array.shape == (1, encoded.tokens[0])
    assert call.inputs["attention_mask"].tolist() == [[1] * encoded.tokens[0]]
    assert encoded.work == ((encoded.tokens[0], 1),)
    assert encoded.truncated == (False,)


def test_texts_of_like_length_run_together_padded_to_the_longest_of_them(encoder: TextEncoder, bundle: Bundle) -> None:
    texts = ["off " * 9, "turn the lights off please", "the lights", "off " * 8, "off"]
    encoded = encoder.encode(texts)
    assert [call.rows for call in encoded.calls] == [*map(tuple, group(encoded.tokens))]
    assert len(encoded.calls) > 1
    assert encoded.work == work_of(encoded.tokens)
    for call, (longest, count) in zip(encoded.calls, encoded.work, strict=True):
        assert len(call.rows) == count
        for place, row in enumerate(call.rows):
            alone = encoder.encode([texts[row]])
            tokens = encoded.tokens[row]
            assert alone.tokens == (tokens,)
            ids, mask = call.inputs["input_ids"][place], call.inputs["attention_mask"][place]
            assert ids[:tokens].tolist() == alone.calls[0].inputs["input_ids"][0].tolist()
            assert (ids[tokens:] == bundle.manifest.pad_id).all()
            assert mask.tolist() == [1] * tokens + [0] * (longest - tokens)


def test_a_pair_is_one_row_of_two_types(encoder: TextEncoder) -> None:
    encoded = encoder.encode([("turn the lights off", "now")])
    types = encoded.calls[0].inputs["token_type_ids"][0]
    assert types[0] == 0
    assert types[-1] == 1
    assert (np.diff(types) >= 0).all()


def test_only_the_inputs_of_the_graph_are_given(bundle_copy: Path) -> None:
    change_manifest(bundle_copy, inputs=("input_ids", "attention_mask"))
    encoded = TextEncoder(open_bundle(bundle_copy)).encode(["the lights"])
    assert set(encoded.calls[0].inputs) == {"input_ids", "attention_mask"}


def test_a_long_text_is_cut_to_the_longest_that_the_graph_takes(encoder: TextEncoder, bundle: Bundle) -> None:
    encoded = encoder.encode(["off " * bundle.manifest.max_length])
    assert encoded.tokens == (bundle.manifest.max_length,)
    assert encoded.truncated == (True,)


def test_a_text_that_just_fits_is_not_cut(encoder: TextEncoder, bundle: Bundle) -> None:
    special = encoder.encode(["a"]).tokens[0] - 1
    longest = bundle.manifest.max_length - special
    assert encoder.encode([" ".join("a" * longest)]).truncated == (False,)
    assert encoder.encode([" ".join("a" * (longest + 1))]).truncated == (True,)


def test_100_000_characters_give_the_tokens_of_their_beginning(encoder: TextEncoder, bundle: Bundle) -> None:
    long = "turn the lights off " * 5000
    assert len(long) == 100_000
    encoded = encoder.encode([long])
    beginning = encoder.encode([long[: bundle.manifest.max_length * CHARACTERS_PER_TOKEN]])
    assert encoded.calls[0].inputs["input_ids"].tolist() == beginning.calls[0].inputs["input_ids"].tolist()
    assert encoded.truncated == (True,)


@pytest.mark.parametrize("text", ["x" * 100_000, "\u00e4" * 100_000, "\U0001f600" * 100_000, "?!" * 50_000])
def test_100_000_characters_of_any_kind_are_taken(encoder: TextEncoder, bundle: Bundle, text: str) -> None:
    encoded = encoder.encode([text])
    assert 0 < encoded.tokens[0] <= bundle.manifest.max_length
    assert encoded.truncated == (True,)


def test_blanks_do_not_push_the_words_out(encoder: TextEncoder) -> None:
    spread = "turn the" + " " * 50_000 + "lights off"
    encoded = encoder.encode([" " * 100_000 + spread])
    assert (
        encoded.calls[0].inputs["input_ids"].tolist()
        == encoder.encode(["turn the lights off"]).calls[0].inputs["input_ids"].tolist()
    )
    assert encoded.truncated == (False,)


@pytest.mark.parametrize("text", ["", " ", "\n\t \u2003", ("a", ""), ("", "a")])
def test_an_empty_text_is_refused(encoder: TextEncoder, text: Any) -> None:
    with pytest.raises(InputError, match="empty text; expected at least one word"):
        encoder.encode([text])


@pytest.mark.parametrize(
    ("text", "found"),
    [(3, "int"), (None, "NoneType"), (b"off", "bytes"), (["off"], "list"), (("a", 1), "int"), (1.5, "float")],
)
def test_what_is_no_text_is_refused_by_its_type(encoder: TextEncoder, text: Any, found: str) -> None:
    with pytest.raises(InputError, match=rf"^expected a text \(str\) or a pair of texts, got {found}$"):
        encoder.encode([text])


@pytest.mark.parametrize("text", [(), ("a",), ("a", "b", "c")])
def test_a_tuple_of_other_than_two_is_refused(encoder: TextEncoder, text: Any) -> None:
    with pytest.raises(InputError, match=f"expected a text or a pair of texts, got a tuple of {len(text)}"):
        encoder.encode([text])


def test_in_a_list_the_wrong_text_is_numbered(encoder: TextEncoder) -> None:
    with pytest.raises(InputError, match=r"^text 1: empty text"):
        encoder.encode(["off", "", "on"])


def test_half_a_character_is_refused(encoder: TextEncoder) -> None:
    with pytest.raises(InputError, match="not valid Unicode"):
        encoder.encode(["lights \ud800 off"])


def test_padding_and_truncation_that_the_tokenizer_brings_along_do_not_count(bundle_copy: Path) -> None:
    tokenizer = Tokenizer.from_file(str(bundle_copy / "tokenizer.json"))
    tokenizer.enable_padding(length=20)
    tokenizer.enable_truncation(5)
    tokenizer.save(str(bundle_copy / "tokenizer.json"))
    change_manifest(bundle_copy)
    opened = open_bundle(bundle_copy)
    encoder = TextEncoder(opened)
    assert encoder.encode(["a"]).tokens[0] < 5
    assert encoder.encode(["a " * 100]).tokens[0] == opened.manifest.max_length


def cut_on_the_left(directory: Path) -> Bundle:
    """Let the tokenizer of a bundle cut the beginning of long texts."""
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.enable_truncation(512, direction="left")
    tokenizer.save(str(directory / "tokenizer.json"))
    change_manifest(directory)
    return open_bundle(directory)


def ids_of(encoder: TextEncoder, text: str) -> list[int]:
    """Return the ids of one text."""
    ids: list[int] = encoder.encode([text]).calls[0].inputs["input_ids"][0].tolist()
    return ids


@pytest.mark.parametrize("words", [40, 100_000])
def test_a_tokenizer_that_cuts_on_the_left_keeps_the_end(bundle_copy: Path, words: int) -> None:
    cut = cut_on_the_left(bundle_copy)
    encoder = TextEncoder(cut)
    encoded = encoder.encode(["the " * words + "lights off"])
    assert encoded.truncated == (True,)
    assert encoded.tokens == (cut.manifest.max_length,)
    end = ids_of(encoder, "lights off")[1:]
    assert ids_of(encoder, "the " * words + "lights off")[-len(end) :] == end


def test_an_answer_in_a_text_cut_on_the_left_is_in_its_place(bundle_copy: Path) -> None:
    cut = cut_on_the_left(bundle_copy)
    tagging = Bundle(cut.path, dataclasses.replace(cut.manifest, task="token-classification"), hash="")
    text = "the " * 10_000 + "lights"
    encoded = TextEncoder(tagging).encode([text])
    assert encoded.truncated == (True,)
    (part,), (start,) = encoded.parts[0], encoded.starts[0]
    begin, end = encoded.encodings[0].offsets[-2]
    assert part[begin:end] == text[start + begin : start + end] == "lights"
    assert start + end == len(text)


def test_a_token_without_a_row_in_the_word_table_is_refused(bundle_copy: Path) -> None:
    rows = open_bundle(bundle_copy).manifest.space.shape.vocabulary
    tokenizer = Tokenizer.from_file(str(bundle_copy / "tokenizer.json"))
    tokenizer.add_tokens(["<URL>", "<USER>"])
    tokenizer.save(str(bundle_copy / "tokenizer.json"))
    change_manifest(bundle_copy)
    wanted = (
        rf"tokenizer\.json: expected tokens for the {rows} rows of the word table, found 2 beyond, the first '<URL>' "
        rf"\({rows}\); resize the model or remove the tokens, and export again$"
    )
    with pytest.raises(SchemaError, match=wanted):
        TextEncoder(open_bundle(bundle_copy))


def test_a_tokenizer_that_cannot_be_read_is_named(bundle_copy: Path) -> None:
    (bundle_copy / "tokenizer.json").write_text("{}")
    change_manifest(bundle_copy)
    with pytest.raises(SchemaError, match=r"tokenizer\.json: expected a tokenizer of an encoder, found no model"):
        TextEncoder(open_bundle(bundle_copy))
