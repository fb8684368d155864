"""Rows of two heads: their tasks by their columns, their words, their splits, and their batches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from gearshift.errors import DataError, InputError
from gearshift.trainer.data.augment import augment
from gearshift.trainer.data.heads import asked_heads, encode_heads, rows_of_head
from gearshift.trainer.data.rows import HeadLabels, Tags
from gearshift.trainer.data.splits import DataSet, read_data
from gearshift.trainer.data.tokenizer import load_tokenizer
from gearshift.trainer.learning.objectives import JOINT, OBJECTIVES
from tests.trainer.heads import HEADS, make_heads_data
from tests.trainer.tiny import write_checkpoint

RECORDS = [
    {"tokens": ["snow", "fell"], "ner_tags": ["B-cold", "O"], "label": "cold"},
    {"tokens": ["the", "sun", "shone"], "ner_tags": ["O", "B-hot", "O"], "label": "hot"},
]


def write(folder: Path, records: list[dict[str, Any]], name: str = "train.jsonl") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def read(folder: Path, heads: str = HEADS, **options: Any) -> DataSet:
    return read_data(folder, task="multi-task", heads=heads, **options)


def whole(folder: Path, records: list[dict[str, Any]]) -> Path:
    for name in ("train.jsonl", "dev.jsonl", "test.jsonl"):
        write(folder, records, name)
    return folder


def test_a_row_has_the_label_of_its_text_and_the_tags_of_its_words(tmp_path: Path) -> None:
    data = read(whole(tmp_path / "data", RECORDS))
    first = data.splits["train"][0]
    assert (first.text, first.label) == ("snow fell", HeadLabels(("cold", Tags((0, 5), ("B-cold", "O")))))
    assert [(head.name, head.task, head.labels) for head in data.heads] == [
        ("intent", "classification", ("cold", "hot")),
        ("slots", "token-classification", ("B-cold", "B-hot", "O")),
    ]
    assert data.labels == () and data.facts["columns"] == {"heads": HEADS}
    tagging = data.heads[1].tagging
    assert data.heads[0].tagging is None and tagging is not None and tagging.scheme.name == "IOB2"


def test_the_tasks_follow_from_the_columns_in_a_table_too(tmp_path: Path) -> None:
    for name in ("train", "dev", "test"):
        lines = ["tokens\tner_tags\tlabel", "snow fell\tB-cold O\tcold", "the sun shone\tO B-hot O\thot"]
        (tmp_path / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    data = read(tmp_path)
    assert [head.task for head in data.heads] == ["classification", "token-classification"]
    assert data.splits["test"][1].text == "the sun shone"


def test_two_labels_of_a_text_need_no_words(tmp_path: Path) -> None:
    records = [{"sentence": "a day", "kind": kind, "mood": mood} for kind, mood in (("x", "good"), ("y", "bad"))]
    data = read(whole(tmp_path / "data", records), "kind=kind,mood=mood")
    assert [head.task for head in data.heads] == ["classification"] * 2
    assert data.splits["dev"][1].label == HeadLabels(("y", "bad"))


def test_words_are_cut_for_both_heads_as_a_device_cuts_them(tmp_path: Path) -> None:
    records = [
        {"tokens": ["snow", "fell", "."], "ner_tags": ["B-cold", "O", "O"], "label": "cold"},
        {"tokens": ["the", "sun,"], "ner_tags": ["O", "B-hot"], "label": "hot"},
        {"tokens": ["ice", ","], "ner_tags": ["B-cold", "O"], "label": "cold"},
        {"tokens": ["fire", ","], "ner_tags": ["B-hot", "O"], "label": "hot"},
    ]
    data = read(whole(tmp_path / "data", records))
    assert data.splits["train"][1].text == "the sun ,"
    assert data.splits["train"][1].label == HeadLabels(
        ("hot", Tags((0, 4, 8), ("O", "B-hot", "O")))
    )  # no row is tagged I-hot


def test_rows_are_held_out_by_the_labels_of_texts(tmp_path: Path) -> None:
    records = [
        {"tokens": ["word", str(number)], "ner_tags": ["O", f"B-{kind}"], "label": kind}
        for number in range(20)
        for kind in ("cold", "hot")
    ]
    data = read(write(tmp_path / "data", records))
    for split in ("dev", "test"):
        labels = [row.label for row in rows_of_head(data.splits[split], 0)]
        assert sorted(set(map(str, labels))) == ["cold", "hot"]
    assert data.held_out == ("test", "dev")
    assert read(tmp_path / "data").splits == data.splits


def test_labels_that_train_lacks_are_told_and_counted(tmp_path: Path) -> None:
    folder = whole(tmp_path / "data", RECORDS)
    write(folder, [*RECORDS, {"tokens": ["dew"], "ner_tags": ["B-mild"], "label": "mild"}], "test.jsonl")
    data = read(folder)
    assert sum("mild (1)" in note or "B-mild (1)" in note for note in data.notes) == 2
    tokenizer = load_tokenizer(write_checkpoint(tmp_path / "model"))
    assert encode_heads(data.splits["test"], data.heads, tokenizer, max_length=16, held_out=True).unseen == 1
    with pytest.raises(DataError, match=r"label 'mild' is not in train\.jsonl, which has cold, hot"):
        read(folder, strict_labels=True)


ODD = {
    "one": "two or more names",
    "intent=label": "two or more names",
    "intent=label,intent=ner_tags": "two or more names",
    "intent=label,slots=label": "two or more names",
    "intent=label,my slots=ner_tags": "two or more names",
    "a.b=label,slots=ner_tags": "two or more names",
    "intent=,slots=ner_tags": "two or more names",
}


@pytest.mark.parametrize("asked", ODD)
def test_heads_that_cannot_be_are_refused(asked: str) -> None:
    with pytest.raises(InputError, match=f"^heads: expected {ODD[asked]}, each with a column of its own"):
        asked_heads(asked)


def test_columns_that_cannot_be_are_refused(tmp_path: Path) -> None:
    folder = whole(tmp_path / "data", RECORDS)
    with pytest.raises(DataError, match=r"train.jsonl:1: no column 'intents'; found tokens, ner_tags, label"):
        read(folder, "intent=intents,slots=ner_tags")
    with pytest.raises(InputError, match="heads: expected no pair column, label column and label names beside them"):
        read(folder, label_column="label")
    with pytest.raises(InputError, match="for the task multi-task alone, got 'a=b' for classification"):
        read_data(folder, heads="a=b")
    write(folder, [RECORDS[0], {**RECORDS[1], "ner_tags": "hot"}])
    with pytest.raises(DataError, match=r"train\.jsonl:2: some rows have a list in 'ner_tags' and some do not"):
        read(folder)
    write(folder, [{**record, "label": record["ner_tags"]} for record in RECORDS], "dev.jsonl")
    write(folder, RECORDS)
    with pytest.raises(DataError, match=r"dev\.jsonl:1: head intent: expected classification in 'label' as in train"):
        read(folder)


def test_copies_keep_the_labels_at_the_words_of_both_heads(tmp_path: Path) -> None:
    data = read(whole(tmp_path / "data", RECORDS))
    (copy,) = augment(data.splits["train"][1:], lambda *_: ["blizzard"], copies=1, seed=0, share=1.0)
    assert copy.text == "the blizzard blizzard"
    assert copy.label == HeadLabels(("hot", Tags((0, 4, 13), ("O", "B-hot", "O"))))


def test_the_loss_is_the_weighted_sum_of_the_heads_in_parts_of_a_batch_too(tmp_path: Path) -> None:
    data = make_heads_data(tmp_path / "data")
    tokenizer = load_tokenizer(write_checkpoint(tmp_path / "model"))
    rows = encode_heads(data.splits["train"], data.heads, tokenizer, max_length=16, weights=(1.0, 3.0))
    batch = rows.select(range(8))
    torch.manual_seed(0)
    answers = (torch.randn(8, 2), torch.randn(8, batch.input_ids.shape[1], 5))
    losses = [OBJECTIVES[head.task].loss(answers[n], batch.of_head(n)) for n, head in enumerate(batch.heads)]
    assert float(JOINT.loss(answers, batch)) == pytest.approx(float(losses[0] + 3 * losses[1]), rel=1e-6)
    halves = [(batch.part(at, at + 4, batch.counts), tuple(a[at : at + 4] for a in answers)) for at in (0, 4)]
    assert sum(float(JOINT.loss(own, half)) for half, own in halves) == pytest.approx(
        float(JOINT.loss(answers, batch)), rel=1e-6
    )
    taught = (torch.randn(8, 2), torch.randn(8, batch.input_ids.shape[1], 5))
    each = [
        OBJECTIVES[head.task].distillation(answers[n], taught[n], batch.of_head(n))
        for n, head in enumerate(batch.heads)
    ]
    assert float(JOINT.distillation(answers, taught, batch)) == pytest.approx(float(each[0] + 3 * each[1]), rel=1e-6)
