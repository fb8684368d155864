"""Right answers of questions, and questions without one, in the forms that people bring them in."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gearshift.errors import DataError
from gearshift.trainer.data.rows import Row, Span
from gearshift.trainer.data.splits import read_data

CONTEXT = "the snow"
ANSWER = {"text": "snow", "answer_start": 4}
NONE: dict[str, Any] = {"text": [], "answer_start": []}
ASKED = {"question": "q", "context": CONTEXT}


def read(folder: Path, *records: Mapping[str, Any], context: str = CONTEXT) -> tuple[Row, ...]:
    """Rows of a file beside which another has an answer, so that not every question is without."""
    rows = [{"question": "other", "context": context, "answers": [{"text": context, "answer_start": 0}]}, *records]
    folder.mkdir(exist_ok=True)
    for split in ("train", "dev", "test"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in rows))
    return read_data(folder, task="question-answering").splits["train"][1:]


@pytest.mark.parametrize(
    "fields",
    [
        {"answers": []},
        {"answers": NONE},
        {"answers": [], "is_impossible": True},
        {"answers": NONE, "is_impossible": True},
        {"answers": [], "is_impossible": True, "plausible_answers": [ANSWER]},
        {"is_impossible": True, "plausible_answers": [ANSWER]},
        {"answers": None, "is_impossible": 1},
        {"answers": [{"text": "", "answer_start": -1}]},
        {"answers": {"text": [""], "answer_start": [0]}, "is_impossible": "True"},
        {"answers": "{'text': [], 'answer_start': []}"},
        {"answers": '{"text": [], "answer_start": []}'},
    ],
    ids=str,
)
def test_a_question_without_an_answer_has_none(tmp_path: Path, fields: dict[str, Any]) -> None:
    assert read(tmp_path, {**ASKED, **fields}) == (Row("q", CONTEXT, (), CONTEXT),)


@pytest.mark.parametrize(
    "fields",
    [
        {"answers": [ANSWER]},
        {"answers": [ANSWER], "is_impossible": False},
        {"answers": {"text": ["snow"], "answer_start": [4]}, "is_impossible": "false"},
        {"answers": {"text": "snow", "answer_start": 4}},
        {"answers": {"text": ["snow"], "answer_start": [4.0]}},
        {"answers": "{'text': ['snow'], 'answer_start': [4]}"},
        {"answers": '[{"text": "snow", "answer_start": 4}]'},
        {"answers": [{"text": "", "answer_start": 0}, ANSWER]},
    ],
    ids=str,
)
def test_an_answer_is_read_in_every_form(tmp_path: Path, fields: dict[str, Any]) -> None:
    assert read(tmp_path, {**ASKED, **fields}) == (Row("q", CONTEXT, (Span(4, "snow"),), CONTEXT),)


def test_each_of_several_right_answers_is_kept(tmp_path: Path) -> None:
    (row,) = read(tmp_path, {**ASKED, "answers": [ANSWER, {"text": "the snow", "answer_start": 0}, ANSWER]})
    assert row.label == (Span(4, "snow"), Span(0, "the snow"), Span(4, "snow"))


def test_squads_own_file_is_read_down_to_its_questions(tmp_path: Path) -> None:
    questions = [
        {"id": "1", "question": "what fell", "answers": [ANSWER], "is_impossible": False},
        {"id": "2", "question": "who fell", "answers": [], "is_impossible": True, "plausible_answers": [ANSWER]},
    ]
    article = {"title": "Snow", "paragraphs": [{"context": CONTEXT, "qas": questions}]}
    expected = (
        Row("what fell", CONTEXT, (Span(4, "snow"),), "Snow"),
        Row("who fell", CONTEXT, (), "Snow"),
    )
    for number, record in enumerate(({"version": "v2.0", "data": [article]}, article)):
        found = read(tmp_path / str(number), record)
        assert [(row.text, row.pair, row.label) for row in found] == [(r.text, r.pair, r.label) for r in expected]


EMOJI = "a \U0001f600\U0001f600 smile at 7"
"""Two emojis, each one character, two units of UTF-16 and four bytes of UTF-8."""


def test_characters_past_an_emoji_count_as_one(tmp_path: Path) -> None:
    place = EMOJI.index("smile")
    (row,) = read(tmp_path, {"question": "q", "context": EMOJI, "answers": [{"text": "smile", "answer_start": place}]})
    assert row.label == (Span(5, "smile"),)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"answers": "snow"}, r"expected \{\"text\": .* in 'answers', got the text 'snow'; an answer needs its place$"),
        ({"answers": ["snow"]}, "expected 'text' and a whole 'answer_start' for each of 'answers'"),
        ({"answers": 4}, "in 'answers', got int"),
        ({"answers": None}, "in 'answers', got NoneType"),
        ({"answers": [ANSWER], "is_impossible": True}, "'is_impossible' is true, but 'answers' has 'snow'; correct"),
        ({"answers": [], "is_impossible": False}, "'is_impossible' is false, but 'answers' is empty; correct"),
        ({"answers": [], "is_impossible": "maybe"}, "expected true or false in 'is_impossible', got 'maybe'"),
        ({"answers": [{**ANSWER, "answer_start": 3}]}, "' sno' is; correct answer_start to 4$"),
        ({"answers": [{"text": "rain", "answer_start": 4}]}, "correct answer_start: the context does not have it$"),
        ({"answers": [{"text": "s", "answer_start": True}]}, "a whole 'answer_start'"),
        ({"answers": [{"text": "s", "answer_start": 4.5}]}, "a whole 'answer_start'"),
        ({"question": " ", "answers": []}, "empty text in 'question'"),
        ({"context": "", "answers": []}, "empty text in 'context'"),
        ({"context": EMOJI, "answers": [{"text": "smile", "answer_start": len(EMOJI[:5].encode())}]},
         "it counts bytes of UTF-8, and is 5 in characters"),
        ({"context": EMOJI, "answers": [{"text": "smile", "answer_start": 7}]},
         "it counts units of UTF-16, and is 5 in characters"),
    ],
    ids=str,
)  # fmt: skip
def test_answers_that_cannot_be_meant_are_one_line(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, {**ASKED, **fields})
    assert str(caught.value).startswith(f"{tmp_path / 'train.jsonl'}:2: ")
    assert "\n" not in str(caught.value)


def test_a_wrong_question_within_a_file_of_squad_is_named(tmp_path: Path) -> None:
    questions = [{"id": "56be", "question": "q", "answers": [{"text": "rain", "answer_start": 4}]}]
    with pytest.raises(DataError, match=r"train\.jsonl:2: question 56be: answer 'rain' is not at 4"):
        read(tmp_path, {"data": [{"title": "t", "paragraphs": [{"context": CONTEXT, "qas": questions}]}]})


@pytest.mark.parametrize(
    ("train", "dev", "said"),
    [
        ("yn", "yn", ["1 of 2 train questions have no answer; a training on them learns to give none"]),
        ("yn", "y", ["1 of 2 train", "no dev row is a question without an answer: the threshold of no answer cannot"]),
        ("yyn", "n", ["1 of 3 train", "no dev row is a question with an answer: the threshold of no answer cannot"]),
        ("y", "yn", ["dev rows have questions without an answer, train rows have none: every question gets an answer"]),
        ("y", "y", []),
    ],
)
def test_questions_without_an_answer_are_told(tmp_path: Path, train: str, dev: str, said: list[str]) -> None:
    for split, kinds in (("train", train), ("dev", dev), ("test", "y")):
        records = [{**ASKED, "answers": [ANSWER] if kind == "y" else []} for kind in kinds]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    notes = read_data(tmp_path, task="question-answering").notes
    assert len(notes) == len(said) and all(note.startswith(start) for note, start in zip(notes, said, strict=True))


def test_questions_that_all_lack_an_answer_teach_nothing(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(
        "".join(json.dumps({**ASKED, "context": c, "answers": []}) + "\n" for c in "ab")
    )
    for split in ("dev", "test"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps({**ASKED, "answers": []}) + "\n")
    with pytest.raises(DataError, match="none of 2 train questions has an answer; expected some in 'answers'"):
        read_data(tmp_path, task="question-answering")


def test_cells_of_csv_hold_answers_as_pandas_or_json_write_them(tmp_path: Path) -> None:
    cells = ("{'text': ['snow'], 'answer_start': [4]}", "[]", '{""text"": [""snow""], ""answer_start"": [4]}')
    lines = "".join(f'q,the snow,"{cell}"\n' for cell in cells)
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.csv").write_text(f"question,context,answers\n{lines}")
    rows = read_data(tmp_path, task="question-answering").splits["train"]
    assert [row.label for row in rows] == [(Span(4, "snow"),), (), (Span(4, "snow"),)]


def test_squads_own_json_is_a_split_as_it_is_published(tmp_path: Path) -> None:
    questions = [
        {"id": "1", "question": "what fell", "answers": [ANSWER], "is_impossible": False},
        {"id": "2", "question": "who fell", "answers": [], "is_impossible": True, "plausible_answers": [ANSWER]},
    ]
    article = {"title": "Snow", "paragraphs": [{"context": CONTEXT, "qas": questions}]}
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.json").write_text(json.dumps({"version": "v2.0", "data": [article]}))
    expected = (Row("what fell", CONTEXT, (Span(4, "snow"),), "Snow"), Row("who fell", CONTEXT, (), "Snow"))
    assert read_data(tmp_path, task="question-answering").splits["train"] == expected


def test_parquet_holds_questions_as_datasets_writes_them(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    answers = [{"text": ["snow"], "answer_start": [4]}, {"text": [], "answer_start": []}]
    rows = [{"id": str(n), "title": "t", **ASKED, "answers": one} for n, one in enumerate(answers)]
    for split in ("train", "dev", "test"):
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / f"{split}.parquet")
    found = read_data(tmp_path, task="question-answering").splits["train"]
    assert [row.label for row in found] == [(Span(4, "snow"),), ()]
