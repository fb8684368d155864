"""Tokenising once and batching by length, with a real tokenizer over a handful of words."""

import random
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing

from gearshift.errors import DataError, InputError
from gearshift.trainer.data.batches import Batch, EncodedRows, encode
from gearshift.trainer.data.rows import Row

# The pad id is not 0, so a batch that is padded with zeros shows.
VOCABULARY = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "[PAD]": 3} | {f"w{number}": 4 + number for number in range(20)}
LABELS = ("cold", "hot", "mild")
BATCH_SIZE = 8


def make_tokenizer(vocabulary: dict[str, int] = VOCABULARY, *, special: bool = True) -> Tokenizer:
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    if special:
        tokenizer.post_processor = TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
        )
    return tokenizer


def words(count: int) -> str:
    return " ".join(f"w{number % 20}" for number in range(count))


def make_rows(count: int) -> list[Row]:
    """Rows of 1 to 40 words; in no order of length."""
    source = random.Random(0)
    return [Row(words(source.randint(1, 40)), None, source.choice(LABELS)) for _ in range(count)]


def make_encoded(count: int = 203) -> EncodedRows:
    return encode(make_rows(count), LABELS, make_tokenizer(), max_length=64)


def indices_of(batches: Sequence[Batch]) -> list[list[int]]:
    return [batch.indices.tolist() for batch in batches]


def cells(batches: Sequence[Batch]) -> int:
    return sum(batch.input_ids.numel() for batch in batches)


def test_a_pair_gets_both_texts_with_their_types() -> None:
    encoded = encode([Row("w0 w1", "w2", "hot")], LABELS, make_tokenizer(), max_length=16)
    batch = next(encoded.batches(1))
    assert batch.input_ids.tolist() == [[1, 4, 5, 2, 6, 2]]
    assert batch.token_type_ids.tolist() == [[0, 0, 0, 0, 1, 1]]
    assert batch.labels.tolist() == [1]


def test_the_tokenizers_own_padding_and_truncation_are_put_aside_and_left_as_they_were() -> None:
    tokenizer = make_tokenizer()
    tokenizer.enable_padding(length=128, pad_id=7, pad_type_id=1, pad_token="w3")
    tokenizer.enable_truncation(4)
    before = tokenizer.to_str()
    encoded = encode([Row(words(10), None, "hot"), Row("w0", None, "hot")], LABELS, tokenizer, max_length=64)
    assert tokenizer.to_str() == before
    batch = next(encoded.batches(2))
    assert batch.input_ids.shape == (2, 12)
    assert set(batch.input_ids[0, 3:].tolist()) == {7}
    assert set(batch.token_type_ids[0, 3:].tolist()) == {1}


@pytest.mark.parametrize("max_length", [3, 4, 10, 30, 41, 42, 64])
def test_rows_above_the_maximum_length_are_cut_and_counted(max_length: int) -> None:
    rows = make_rows(100)
    encoded = encode(rows, LABELS, make_tokenizer(), max_length=max_length)
    wanted = [len(row.text.split()) + 2 for row in rows]
    assert [len(ids) for ids in encoded.ids] == [min(length, max_length) for length in wanted]
    assert encoded.truncated == sum(length > max_length for length in wanted)
    assert all(ids[-1] == 2 for ids in encoded.ids)


@pytest.mark.parametrize(("first", "second"), [(30, 3), (3, 30), (20, 20)])
def test_a_long_pair_is_cut_where_it_is_longer_and_counted_once(first: int, second: int) -> None:
    encoded = encode([Row(words(first), words(second), "hot")], LABELS, make_tokenizer(), max_length=13)
    assert encoded.truncated == 1
    of_first, of_second = 13 - int(encoded.type_ids[0].sum()) - 2, int(encoded.type_ids[0].sum()) - 1
    assert (of_first, of_second) == {(30, 3): (7, 3), (3, 30): (3, 7), (20, 20): (5, 5)}[(first, second)]


def test_more_rows_than_one_tokenizer_call_takes_keep_their_order() -> None:
    rows = [Row(words(1 + number % 7), None, LABELS[number % 3]) for number in range(2100)]
    encoded = encode(rows, LABELS, make_tokenizer(), max_length=64)
    assert [len(ids) for ids in encoded.ids] == [3 + number % 7 for number in range(2100)]
    assert np.asarray(encoded.labels).tolist() == [number % 3 for number in range(2100)]


@pytest.mark.parametrize("seed", [None, 0, 1, 17])
@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 64, 203, 900])
def test_an_epoch_has_every_row_once_with_its_own_tokens_and_label(count: int, seed: int | None) -> None:
    rows = make_rows(count)
    encoded = encode(rows, LABELS, make_tokenizer(), max_length=64)
    batches = list(encoded.batches(BATCH_SIZE, seed=seed))
    assert sorted(index for indices in indices_of(batches) for index in indices) == list(range(count))
    assert len(batches) == encoded.batch_count(BATCH_SIZE) == -(-count // BATCH_SIZE)
    for batch in batches:
        for place, index in enumerate(batch.indices.tolist()):
            expected = [1, *(VOCABULARY[word] for word in rows[index].text.split()), 2]
            assert batch.input_ids[place][batch.attention_mask[place] == 1].tolist() == expected
            assert LABELS[batch.labels[place]] == rows[index].label


@pytest.mark.parametrize("seed", [None, 3])
def test_padding_is_the_pad_id_exactly_where_the_mask_is_zero(seed: int | None) -> None:
    for batch in make_encoded().batches(BATCH_SIZE, seed=seed):
        assert torch.equal(batch.input_ids != VOCABULARY["[PAD]"], batch.attention_mask == 1)
        assert int(batch.attention_mask.sum(dim=1).max()) == batch.input_ids.shape[1]  # no longer than needed
        assert (batch.attention_mask.diff(dim=1) <= 0).all()  # on the right
        tensors = (batch.input_ids, batch.attention_mask, batch.token_type_ids, batch.labels, batch.indices)
        assert all(tensor.dtype == torch.int64 for tensor in tensors)


def test_a_seed_gives_the_same_batches_again_and_another_seed_others() -> None:
    encoded = make_encoded()
    first, again, other = (indices_of(list(encoded.batches(BATCH_SIZE, seed=seed))) for seed in (5, 5, 6))
    assert first == again
    assert first != other
    assert {frozenset(batch) for batch in first} != {frozenset(batch) for batch in other}


def test_without_a_seed_rows_come_in_order_of_length_and_their_own_order_can_be_restored() -> None:
    encoded = make_encoded()
    batches = list(encoded.batches(BATCH_SIZE))
    lengths = [length for batch in batches for length in batch.attention_mask.sum(dim=1).tolist()]
    assert lengths == sorted(lengths)
    restored = torch.empty(len(encoded), dtype=torch.int64)
    for batch in batches:
        restored[batch.indices] = batch.labels
    assert restored.tolist() == np.asarray(encoded.labels).tolist()


def test_shuffled_batches_come_in_no_order_of_length() -> None:
    widths = [batch.input_ids.shape[1] for batch in make_encoded().batches(BATCH_SIZE, seed=1)]
    # Sorted within each of its chunks (five, of six batches or fewer) it would step down four times at most.
    assert sum(later < earlier for earlier, later in pairwise(widths)) > 6


def test_few_rows_of_different_lengths_still_meet_other_rows_in_each_epoch() -> None:
    rows = [Row(words(1 + number), None, "hot") for number in range(64)]
    encoded = encode(rows, LABELS, make_tokenizer(), max_length=128)
    epochs = [{frozenset(batch) for batch in indices_of(list(encoded.batches(8, seed=seed)))} for seed in (1, 2)]
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("seed", range(5))
def test_batches_by_length_pad_less_than_batches_in_any_order(seed: int) -> None:
    encoded = make_encoded(1000)
    lengths = [len(ids) for ids in encoded.ids]
    random.Random(seed).shuffle(lengths)
    runs = [lengths[start : start + BATCH_SIZE] for start in range(0, len(lengths), BATCH_SIZE)]
    unsorted_padding = sum(max(run) * len(run) for run in runs) - sum(lengths)
    assert cells(list(encoded.batches(BATCH_SIZE, seed=seed))) - sum(lengths) < unsorted_padding / 4
    assert cells(list(encoded.batches(BATCH_SIZE))) - sum(lengths) < unsorted_padding / 10


@pytest.mark.parametrize("seed", [None, 2])
@pytest.mark.parametrize("count", [0, 5, 8, 203])
def test_the_rows_that_do_not_fill_a_batch_can_be_dropped(count: int, seed: int | None) -> None:
    encoded = make_encoded(count)
    batches = list(encoded.batches(BATCH_SIZE, seed=seed, drop_last=True))
    assert len(batches) == encoded.batch_count(BATCH_SIZE, drop_last=True) == count // BATCH_SIZE
    assert all(len(batch.labels) == BATCH_SIZE for batch in batches)


def test_each_seed_drops_other_rows() -> None:
    encoded = make_encoded()
    kept = [
        {index for batch in indices_of(list(encoded.batches(BATCH_SIZE, seed=seed, drop_last=True))) for index in batch}
        for seed in range(4)
    ]
    assert set.union(*kept) == set(range(len(encoded)))


def test_a_batch_moves_to_a_device_whole() -> None:
    moved = next(make_encoded().batches(BATCH_SIZE)).to("meta")
    tensors = [value for value in vars(moved).values() if isinstance(value, torch.Tensor)]
    assert [tensor.device.type for tensor in tensors] == ["meta"] * 5


@pytest.mark.parametrize(("token", "place"), [("[PAD]", 3), ("<pad>", 3)])
def test_the_pad_id_is_found_by_the_name_of_the_token(token: str, place: int) -> None:
    vocabulary = {token if name == "[PAD]" else name: number for name, number in VOCABULARY.items()}
    encoded = encode(make_rows(3), LABELS, make_tokenizer(vocabulary), max_length=64)
    assert encoded.pad_id == place


def test_a_tokenizer_without_a_pad_token_needs_a_pad_id() -> None:
    vocabulary = {name: number for name, number in VOCABULARY.items() if name != "[PAD]"}
    with pytest.raises(
        InputError,
        match=r"tokenizer: no pad token; expected \[PAD\] or <pad>, or another that .* names, or pass pad_id",
    ):
        encode(make_rows(3), LABELS, make_tokenizer(vocabulary), max_length=64)
    assert encode(make_rows(3), LABELS, make_tokenizer(vocabulary), max_length=64, pad_id=3).pad_id == 3


@pytest.mark.parametrize(("pair", "least"), [(None, 3), ("w1", 5)])
def test_a_maximum_length_without_room_for_text_is_an_error(pair: str | None, least: int) -> None:
    rows = [Row("w0", pair, "hot")]
    with pytest.raises(InputError, match=rf"max_length: expected at least {least}, .* got {least - 1}"):
        encode(rows, LABELS, make_tokenizer(), max_length=least - 1)
    assert len(encode(rows, LABELS, make_tokenizer(), max_length=least)) == 1


def test_an_unseen_label_is_named_with_its_row() -> None:
    with pytest.raises(DataError, match=r"row 1: label 'new' is not among cold, hot, mild"):
        encode([Row("w0", None, "hot"), Row("w1", None, "new")], LABELS, make_tokenizer(), max_length=8)


def test_a_row_without_tokens_is_named() -> None:
    rows = [Row("w0", None, "hot"), Row(" ", None, "hot")]
    with pytest.raises(DataError, match=r"row 1: the tokenizer finds no tokens"):
        encode(rows, LABELS, make_tokenizer(special=False), max_length=8)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_size_below_one_is_an_error_at_once(batch_size: int) -> None:
    with pytest.raises(InputError, match=rf"batch_size: expected at least 1, got {batch_size}"):
        make_encoded(5).batches(batch_size)
    with pytest.raises(InputError, match="batch_size"):
        make_encoded(5).batch_count(batch_size)
