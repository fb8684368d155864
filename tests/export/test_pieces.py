"""Smaller vocabularies of all three kinds: known texts stay as they are, and nothing becomes unspeakable."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from gearshift.errors import ExportError
from gearshift.export.pieces import respelt, shrink, used_pieces

KNOWN = ("turn the lights off", "lights on in the hall", "the heating is on")
OTHERS = ("turning lightning ingot", "nothing to see here", "honesty")
CORPUS = [*KNOWN, *OTHERS, *("the thing in the nth inning, tin foil and lint" for _ in range(20))]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
SIZE = 90


def wordpiece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    letters = "abcdefghijklmnopqrstuvwxyz,"
    trainer = trainers.WordPieceTrainer(
        vocab_size=SIZE + 27, special_tokens=SPECIAL, initial_alphabet=list(letters), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    raw = json.loads(tokenizer.to_str())
    for letter in letters:  # as BERT's vocabulary has them, both at the beginning of a word and within
        for piece in (letter, f"##{letter}"):
            raw["model"]["vocab"].setdefault(piece, len(raw["model"]["vocab"]))
    tokenizer = Tokenizer.from_str(json.dumps(raw))
    ids = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ids
    )
    return tokenizer


def byte_bpe() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=256 + SIZE,
        special_tokens=["<s>", "<pad>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    ends = [(name, tokenizer.token_to_id(name)) for name in ("</s>", "<s>")]
    tokenizer.post_processor = processors.Sequence([processors.RobertaProcessing(*ends)])
    tokenizer.enable_padding(pad_id=1, pad_token="<pad>")
    return tokenizer


def unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=SIZE, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens(["<mask>"])  # behind the model's own, as XLM-R has it
    return tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {"WordPiece": wordpiece, "BPE": byte_bpe, "Unigram": unigram}


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return KINDS[request.param]()


@pytest.fixture(scope="module")
def small(tokenizer: Tokenizer) -> Tokenizer:
    return shrink(tokenizer, used_pieces(tokenizer, KNOWN)).tokenizer


def test_there_are_fewer_pieces_in_the_old_order(tokenizer: Tokenizer) -> None:
    found = shrink(tokenizer, used_pieces(tokenizer, KNOWN))
    assert len(found.kept) == found.tokenizer.get_vocab_size() < tokenizer.get_vocab_size()
    assert list(found.kept) == sorted(found.kept)
    for new, old in enumerate(found.kept):
        assert found.tokenizer.id_to_token(new) == tokenizer.id_to_token(old)


def test_known_texts_have_the_same_pieces_and_others_smaller_ones(tokenizer: Tokenizer, small: Tokenizer) -> None:
    assert respelt(tokenizer, small, KNOWN) == 0
    assert respelt(tokenizer, small, OTHERS) > 0
    for text in OTHERS:
        before, after = tokenizer.encode(text).tokens, small.encode(text).tokens
        assert len(after) >= len(before)
        assert "".join(after).replace("#", "") == "".join(before).replace("#", "")


def test_all_ids_follow(tokenizer: Tokenizer, small: Tokenizer) -> None:
    kept = shrink(tokenizer, used_pieces(tokenizer, KNOWN)).kept
    for pair in ((KNOWN[0],), KNOWN[:2]):
        one, other = tokenizer.encode(*pair), small.encode(*pair)
        assert [kept[new] for new in other.ids] == one.ids
        assert (other.type_ids, other.offsets) == (one.type_ids, one.offsets)
    assert small.padding is None or small.id_to_token(small.padding["pad_id"]) == "<pad>"


def test_special_and_added_tokens_stay(tokenizer: Tokenizer, small: Tokenizer) -> None:
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    assert special and special == {token.content for token in small.get_added_tokens_decoder().values()}
    for name in special:
        assert small.encode(f"the {name} lights").tokens.count(name) >= 1


def test_with_all_pieces_nothing_changes(tokenizer: Tokenizer) -> None:
    found = shrink(tokenizer, tokenizer.get_vocab())
    assert found.kept == tuple(range(tokenizer.get_vocab_size()))
    again = Tokenizer.from_str(tokenizer.to_str())  # which rounds the scores of Unigram
    assert json.loads(found.tokenizer.to_str()) == json.loads(again.to_str())


LARGE = {kind: make() for kind, make in KINDS.items()}
SMALL = {kind: shrink(large, used_pieces(large, KNOWN)).tokenizer for kind, large in LARGE.items()}
UNKNOWN = {"[UNK]", "<unk>"}


@pytest.mark.parametrize("kind", KINDS)
@given(text=some.text(some.sampled_from("aeghilnostu ,#é雪"), max_size=30))
@settings(max_examples=150)
def test_what_could_be_spelt_can_still_be_spelt(kind: str, text: str) -> None:
    before, after = (side[kind].encode(text) for side in (LARGE, SMALL))
    unknown = [offsets for token, offsets in zip(before.tokens, before.offsets, strict=True) if token in UNKNOWN]
    still = [offsets for token, offsets in zip(after.tokens, after.offsets, strict=True) if token in UNKNOWN]
    assert still == unknown


def test_a_character_without_a_piece_of_its_own_keeps_the_pieces_that_have_it() -> None:
    words, likely = (json.loads(make().to_str()) for make in (wordpiece, unigram))
    for odd in ("über", "##ß"):
        words["model"]["vocab"][odd] = len(words["model"]["vocab"])
    likely["model"]["vocab"].append(["thß", -3.0])
    likely["added_tokens"][-1]["id"] += 1  # the one behind the model's own
    for raw, kept in ((words, {"über", "##ß"}), (likely, {"thß"})):
        old = Tokenizer.from_str(json.dumps(raw))
        small = shrink(old, used_pieces(old, KNOWN)).tokenizer
        assert kept <= small.get_vocab().keys()
        assert small.get_vocab_size() < old.get_vocab_size()


def test_another_kind_is_refused() -> None:
    words = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    with pytest.raises(ExportError, match="expected a tokenizer of WordPiece, BPE, Unigram, found WordLevel"):
        shrink(words, {"a"})
