"""Tests of what each row teaches, token by token, against a search through all offsets."""

import random

import numpy as np
import pytest
from tokenizers import Encoding, Tokenizer, models, normalizers, pre_tokenizers, processors

from gearshift.errors import DataError
from gearshift.trainer.data.batches import encode
from gearshift.trainer.data.rows import Row, Span, Tags
from gearshift.trainer.data.targets import IGNORED

PIECES = (
    "un",
    "##believ",
    "##able",
    "snow",
    "##man",
    "ice",
    "the",
    "a",
    ".",
    "u",
    "s",
    "##s",
    "was",
    "caf",
    "##e",
    "?",
)


def word_pieces() -> Tokenizer:
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    made = Tokenizer(models.WordPiece({piece: n for n, piece in enumerate((*special, *PIECES))}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


def byte_level() -> Tokenizer:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: n for n, letter in enumerate(("<s>", "<pad>", "</s>", "<unk>", *letters))}
    made = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True)
    return made


TOKENIZERS = {"word pieces": word_pieces, "bytes": byte_level}


def tagged(*words: str, tags: tuple[str, ...] = ()) -> Row:
    starts = tuple(sum(len(word) + 1 for word in words[:place]) for place in range(len(words)))
    return Row(" ".join(words), None, Tags(starts, tags or ("O",) * len(words)))


def test_the_first_piece_of_each_word_has_its_label_and_nothing_else_has_one() -> None:
    row = tagged("unbelievable", "U.S.", "\x00", "snowman", tags=("B-x", "I-x", "O", "B-x"))
    encoded = encode([row], ("B-x", "I-x", "O"), word_pieces(), max_length=20, task="token-classification")
    # [CLS] un ##believ ##able u . s . snow ##man [SEP]; the tokenizer leaves nothing of the third word
    expected = [IGNORED, 0, IGNORED, IGNORED, 1, IGNORED, IGNORED, IGNORED, 0, IGNORED, IGNORED]
    assert encoded.labels[0].tolist() == expected
    assert encoded.places[0].tolist() == [1, 4, -1, 8]


def test_words_that_are_cut_off_have_no_place_and_padding_no_label() -> None:
    rows = [tagged("the", "unbelievable", "snowman", "a"), tagged("ice")]
    encoded = encode(rows, ("O",), word_pieces(), max_length=5, task="token-classification")
    assert [places.tolist() for places in encoded.places] == [[1, 2, -1, -1], [1]]
    (batch,) = encoded.batches(2, seed=0)
    by_row = dict(zip(batch.indices.tolist(), batch.labels.tolist(), strict=True))
    assert by_row == {0: [-100, 0, 0, -100, -100], 1: [-100, 0, -100, -100, -100]}
    assert encoded.truncated == 1


@pytest.mark.parametrize("make", TOKENIZERS.values(), ids=TOKENIZERS)
def test_the_words_of_many_rows_lie_where_a_search_through_the_offsets_finds_them(make: type[Tokenizer]) -> None:
    source, tokenizer = random.Random(0), make()
    words = ("unbelievable", "U.S.", "café", "snowman", "ice", "?", "the")
    rows = [tagged(*source.choices(words, k=source.randint(1, 9))) for _ in range(60)]
    encoded = encode(rows, ("O",), tokenizer, max_length=128, task="token-classification")
    for row, places in zip(rows, encoded.places, strict=True):
        assert isinstance(row.label, Tags)
        offsets = tokenizer.encode(row.text).offsets
        for start, place in zip(row.label.starts, places, strict=True):
            assert place == next(n for n, (low, high) in enumerate(offsets) if low <= start < high)


def brute_force(encoding: Encoding, span: Span) -> tuple[int, int]:
    """The first and last token of the second text that shares a character with an answer."""
    end = span.start + len(span.text)
    inside = [
        token
        for token, (sequence, (low, high)) in enumerate(zip(encoding.sequence_ids, encoding.offsets, strict=True))
        if sequence == 1 and low < end and high > span.start
    ]
    return inside[0], inside[-1]


@pytest.mark.parametrize("make", TOKENIZERS.values(), ids=TOKENIZERS)
@pytest.mark.parametrize("max_length", [24, 40, 128])
def test_every_answer_begins_and_ends_with_the_tokens_that_touch_it(make: type[Tokenizer], max_length: int) -> None:
    tokenizer, context = make(), "the café was unbelievable. a snowman? U.S. ice"
    blanks = [place for place, letter in enumerate(context) if letter == " "]
    starts, ends = [0, *(place + 1 for place in blanks)], [*blanks, len(context)]
    spans = [Span(start, context[start:end]) for start in starts for end in ends if end > start]
    rows = [Row("was the", context, (span,)) for span in spans]
    encoded = encode(rows, (), tokenizer, max_length=max_length, task="question-answering")
    cutting = Tokenizer.from_str(tokenizer.to_str())
    cutting.enable_truncation(max_length)
    cut = cutting.encode("was the", context)
    reach = max(high for sequence, (_, high) in zip(cut.sequence_ids, cut.offsets, strict=True) if sequence == 1)
    for span, values in zip(spans, encoded.labels, strict=True):
        whole = span.start + len(span.text) <= reach
        assert tuple(values.tolist()) == (brute_force(cut, span) if whole else (IGNORED, IGNORED))
    learnt = encode(rows, (), tokenizer, max_length=max_length, task="question-answering", drop_cut=True)
    assert learnt.dropped == sum(span.start + len(span.text) > reach for span in spans)
    assert (learnt.dropped > 0) == (reach < len(context))
    assert len(learnt) == len(rows) - learnt.dropped == len(learnt.places)
    assert (np.asarray(learnt.labels) != IGNORED).all()


def test_of_several_right_answers_the_first_that_is_not_cut_off_is_learnt() -> None:
    row = Row("was", "the ice was a snowman", (Span(14, "snowman"), Span(4, "ice")))
    one = encode([row], (), word_pieces(), max_length=30, task="question-answering")
    other = encode([row], (), word_pieces(), max_length=7, task="question-answering")
    assert (np.asarray(one.labels).tolist(), np.asarray(other.labels).tolist()) == ([[7, 8]], [[4, 4]])


@pytest.mark.parametrize("max_length", [7, 30])
def test_a_question_without_an_answer_is_answered_by_the_first_token_and_never_left_out(max_length: int) -> None:
    rows = [Row("was", "the ice was a snowman", ()), Row("was", "the ice", (Span(4, "ice"),))]
    encoded = encode(rows, (), word_pieces(), max_length=max_length, task="question-answering", drop_cut=True)
    assert np.asarray(encoded.labels).tolist() == [[0, 0], [4, 4]]
    assert encoded.dropped == 0 and encoded.null_threshold is None


def test_answers_that_are_all_cut_off_are_an_error() -> None:
    row = Row("was", "the ice was a snowman", (Span(14, "snowman"),))
    with pytest.raises(DataError, match="the answers of all 1 rows are cut off at 6 tokens; raise max_length"):
        encode([row], (), word_pieces(), max_length=6, task="question-answering", drop_cut=True)


def test_a_number_is_a_float_and_an_embedding_has_no_label() -> None:
    (batch,) = encode([Row("ice", None, 2.5)], (), word_pieces(), max_length=9, task="regression").batches(1)
    assert (batch.labels.tolist(), str(batch.labels.dtype)) == ([2.5], "torch.float32")
    (batch,) = encode([Row("ice", None, None)], (), word_pieces(), max_length=9, task="embedding").batches(1)
    assert batch.labels.shape == (1, 0)


def test_a_tag_that_is_not_known_is_an_error() -> None:
    with pytest.raises(DataError, match="row 0: label 'O' is not among B-x"):
        encode([tagged("ice")], ("B-x",), word_pieces(), max_length=9, task="token-classification")
