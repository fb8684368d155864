"""Tokenizers made on purpose are refused in one line; those that encoders have are taken."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from gearshift.errors import SchemaError
from gearshift.runtime.bundle.bundle import open_bundle
from gearshift.runtime.inference.text import TextEncoder
from gearshift.runtime.inference.tokenizer_file import failure
from tests.runtime.altered import change_manifest, set_field

Edit = Callable[[dict[str, Any]], object]

WORDS = {word: number for number, word in enumerate(["[UNK]", "[CLS]", "[SEP]", "a", "b"])}


def edited(directory: Path, edit: Edit) -> TextEncoder:
    """The tokenizer of a bundle after an edit of its JSON."""
    path = directory / "tokenizer.json"
    raw = json.loads(path.read_bytes())
    edit(raw)
    path.write_text(json.dumps(raw))
    change_manifest(directory)
    return TextEncoder(open_bundle(directory))


def charsmap(units: list[int], texts: bytes = b"") -> dict[str, str]:
    content = struct.pack(f"<I{len(units)}I", 4 * len(units), *units) + texts
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(content).decode()}


def split(pattern: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}


def replace(pattern: dict[str, Any], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def in_a_row(plural: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", plural: list(parts)}


def unigram(unknown: int | None, *pieces: list[Any]) -> dict[str, Any]:
    return {"type": "Unigram", "unk_id": unknown, "vocab": list(pieces), "byte_fallback": False}


def byte_pairs(**fields: Any) -> dict[str, Any]:
    return {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": [], **fields}


WHOLE = [0] * 256  # a trie of no words: nothing leads anywhere
DOUBLING = replace({"String": "a"}, "aa")
TEMPLATE = ("post_processor", "special_tokens", "[CLS]", "ids")

REFUSED: dict[str, tuple[Edit, str]] = {
    "a pattern that tries every way": (
        set_field("pre_tokenizer", to=split({"Regex": "(a+)+$"})), "not among those of linear time"
    ),
    "patterns side by side": (
        set_field("pre_tokenizer", to=split({"Regex": r"\s*\s*\s*\s*x"})), "not among those of linear time"
    ),
    "a pattern of something behind": (
        set_field("normalizer", to=replace({"Regex": r"(?=(a*))\1b"}, "")), "not among those of linear time"
    ),
    "a pattern of nothing": (set_field("normalizer", to=replace({"String": ""}, "a")), "a pattern of no text"),
    "forty doublings": (
        set_field("normalizer", to=in_a_row("normalizers", *[DOUBLING] * 40)), "40 normalizers in a row"
    ),
    "three doublings": (
        set_field("normalizer", to=in_a_row("normalizers", *[DOUBLING] * 3)), "8 characters of one"
    ),
    "a long replacement": (
        set_field("normalizer", to=replace({"String": "a"}, "a" * 100_000)), "100000 characters of one"
    ),
    "a long prefix": (
        set_field("normalizer", to={"type": "Prepend", "prepend": "a" * 100_000}), "a long text to prepend"
    ),
    "sequences inside one another": (
        set_field("normalizer", to=in_a_row("normalizers", in_a_row("normalizers"))), "a normalizer 'Sequence'"
    ),
    "a normalizer of another package": (set_field("normalizer", to={"type": "Python"}), "a normalizer 'Python'"),
    "a byte normalizer": (set_field("normalizer", to={"type": "ByteLevel"}), "a normalizer 'ByteLevel'"),
    "no table of characters": (set_field("normalizer", to=charsmap([])), "a table of characters that is cut off"),
    "a table that is no base64": (
        set_field("normalizer", to={"type": "Precompiled", "precompiled_charsmap": "%"}), "not in base64"
    ),
    "a table that leads out of itself": (set_field("normalizer", to=charsmap([1 << 30, 7])), "leads outside of itself"),
    "a table whose texts are cut off": (
        # 'a' has a value, that of text 9, of two letters
        set_field("normalizer", to=charsmap([1 << 10 | 0, *[0] * 95, 97 | 256, *[9] * 159], b"ab\0")),
        "leads outside of itself",
    ),
    "a table that makes a thousand of one": (
        set_field("normalizer", to=charsmap(WHOLE, b"x" * 1000 + b"\0")), "makes 1000 bytes of one"
    ),
    "a table of no text": (set_field("normalizer", to=charsmap(WHOLE, b"\xff\0")), "not in UTF-8"),
    "a pre-tokenizer that is none": (set_field("pre_tokenizer", to={"type": "X"}), "a pre_tokenizer 'X'"),
    "a post-processor that is none": (set_field("post_processor", to={"type": "X"}), "a post_processor 'X'"),
    "a decoder that is none": (set_field("decoder", to={"type": "X"}), "a decoder 'X'"),
    "a model that is none": (set_field("model", "type", to="X"), "a model 'X'"),
    "a model of a list": (set_field("model", "type", to=["BPE"]), "a model \"['BPE']\""),
    "an unknown token that is a list": (set_field("model", "unk_token", to=[]), "an unknown token [] outside"),
    "an unknown pair that is a list": (set_field("model", to=byte_pairs(unk_token=[])), "an unknown token []"),
    "no model": (set_field("model", to=None), "no model"),
    "no unknown token": (set_field("model", "unk_token", to="nowhere"), "an unknown token 'nowhere' outside"),
    "a list as the kind of the model": (set_field("model", "type", to=[]), "a model '[]'"),
    "a list as the unknown token": (set_field("model", "unk_token", to=[]), "an unknown token [] outside"),
    "an object as the unknown token of pairs": (
        set_field("model", to=byte_pairs(unk_token={})), "an unknown token {} outside"
    ),
    "no unknown token at all": (set_field("model", "unk_token", to=None), "an unknown token None outside"),
    "no unknown piece": (set_field("model", to=unigram(None, ["a", -1.0])), "an unknown token None outside"),
    "an unknown piece that is not there": (set_field("model", to=unigram(9, ["a", -1.0])), "an unknown token 9"),
    "pieces without scores": (set_field("model", to=unigram(0, ["a"])), "pieces without a score"),
    "no pieces": (set_field("model", to=unigram(0)), "pieces without a score"),
    "pairs without their unknown token": (set_field("model", to=byte_pairs(unk_token="q")), "an unknown token 'q'"),
    "pairs left to chance": (set_field("model", to=byte_pairs(dropout=0.5)), "left to chance"),
    "an id of 40 bits": (set_field("model", "vocab", "the", to=1 << 40), "an id 1099511627776"),
    "an id around a text that the model has not": (set_field(*TEMPLATE, to=[10**9]), "an id 1000000000"),
    "an id below zero": (set_field("model", "vocab", "the", to=-1), "an id -1"),
    "an added token without an id": (set_field("added_tokens", 0, "id", to=None), "an id None"),
    "words without end": (set_field("model", "max_input_chars_per_word", to=10**9), "words of 1000000000 characters"),
    "a thousand tokens around a text": (set_field(*TEMPLATE, to=[2] * 1000), "a special token without an id"),
    "a template of a thousand pieces": (
        lambda raw: raw["post_processor"]["single"].extend([{"SpecialToken": {"id": "[CLS]", "type_id": 0}}] * 1000),
        "a template of 1003 pieces",
    ),
    "a text twice": (
        lambda raw: raw["post_processor"]["single"].append({"Sequence": {"id": "A", "type_id": 0}}),
        "a template of the texts",
    ),
    "a template of a token that is not there": (
        lambda raw: raw["post_processor"]["special_tokens"].pop("[CLS]"), "a template of unknown tokens"
    ),
    "nested beyond all measure": (set_field("version", to=json.loads("[" * 500 + "]" * 500)), "nested more than"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_tokenizer_made_on_purpose_is_refused_in_one_line(bundle_copy: Path, name: str) -> None:
    edit, told = REFUSED[name]
    with pytest.raises(SchemaError, match=r"tokenizer\.json: expected a tokenizer of an encoder, found") as said:
        edited(bundle_copy, edit)
    assert told in str(said.value)
    assert "\n" not in str(said.value)


def test_a_failure_of_the_package_is_one_line(bundle_copy: Path) -> None:
    with pytest.raises(SchemaError, match=r"tokenizer\.json: not a tokenizer that can be read \(") as said:
        edited(bundle_copy, set_field("model", "continuing_subword_prefix", to=3))
    assert "\n" not in str(said.value)


def test_a_panic_of_the_package_becomes_a_bundle_error(capfd: pytest.CaptureFixture[str]) -> None:
    """It is no Exception to Python: a program that caught those would have ended."""
    raw = {"model": {"type": "WordLevel", "vocab": WORDS, "unk_token": "[UNK]"}, "normalizer": charsmap([1 << 30, 7])}
    tokenizer = Tokenizer.from_str(json.dumps(raw))
    with pytest.raises(BaseException, match="index out of bounds") as panic:
        tokenizer.encode("a")
    assert not isinstance(panic.value, Exception)
    error = failure(Path("tokenizer.json"), panic.value)
    assert str(error).startswith("tokenizer.json: not a tokenizer that can be read (index out of bounds")


@pytest.mark.parametrize("other", [KeyboardInterrupt(), SystemExit(1), GeneratorExit()])
def test_an_interrupt_stays_one(other: BaseException) -> None:
    with pytest.raises(type(other)):
        failure(Path("tokenizer.json"), other)


def byte_level() -> Tokenizer:
    made = Tokenizer(
        models.BPE({letter: place for place, letter in enumerate(pre_tokenizers.ByteLevel.alphabet())}, [])
    )
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.post_processor = processors.RobertaProcessing(("!", 0), ('"', 1))
    return made


def sentence_pieces() -> Tokenizer:
    made = Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0), ("\u2581", -2.0)], 0, False))
    made.normalizer = normalizers.Sequence(
        [normalizers.Replace("``", '"'), normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    return made


def simple_patterns() -> Tokenizer:
    made = Tokenizer(models.WordLevel(WORDS, "[UNK]"))
    made.normalizer = normalizers.Replace(_regex(" {2,}"), " ")
    made.pre_tokenizer = pre_tokenizers.Split(_regex(r"\s+|[^\s]+"), "isolated")
    made.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return made


def gpt_pattern() -> Tokenizer:
    made = byte_level()
    pattern = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(_regex(pattern), "isolated"), pre_tokenizers.ByteLevel(use_regex=False)]
    )
    return made


def _regex(pattern: str) -> Any:
    from tokenizers import Regex

    return Regex(pattern)


@pytest.mark.parametrize("make", [byte_level, sentence_pieces, simple_patterns, gpt_pattern], ids=lambda f: f.__name__)
def test_a_tokenizer_of_an_encoder_is_taken(bundle_copy: Path, make: Callable[[], Tokenizer]) -> None:
    make().save(str(bundle_copy / "tokenizer.json"))
    change_manifest(bundle_copy)
    assert TextEncoder(open_bundle(bundle_copy)).encode(["a  b a"]).tokens[0] > 0


def test_a_whole_table_of_characters_is_taken(bundle_copy: Path) -> None:
    """Table of one word: 'a' becomes 'xy'. The root leads to place 1 ^ 97 = 96; what follows there is the value, 0."""
    units = [0] * 256
    units[0] = 1 << 10
    units[96] = 97 | 256 | 2 << 10  # label 'a', with a value, at 96 ^ 2
    units[98] = 1 << 31
    encoder = edited(bundle_copy, set_field("normalizer", to=charsmap(units, b"xy\0")))
    plain = TextEncoder(open_bundle(bundle_copy))
    assert encoder.encode(["a"]).calls[0].inputs["input_ids"].tolist() == plain.encode(["xy"]).calls[0].inputs[
        "input_ids"
    ].tolist()  # fmt: skip
