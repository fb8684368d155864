"""Data sets as the hub has them, here from a directory, which `datasets` reads in the same way."""

from pathlib import Path
from typing import Any

import datasets
import pytest

from gearshift.errors import DataError
from gearshift.trainer.data import hub
from gearshift.trainer.data.rows import Row, Span, Tags
from gearshift.trainer.data.splits import read_data
from gearshift.trainer.model.run import Run
from gearshift.trainer.nasbert.run import MixedRun

KINDS = datasets.ClassLabel(names=["bad", "good"])


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is fetched, and nothing is left in the user's cache."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def publish(folder: Path, features: dict[str, Any], **splits: list[dict[str, Any]]) -> str:
    """A data set in a directory; gives what names it."""
    for split, rows in splits.items():
        columns = {name: [row[name] for row in rows] for name in features}
        made = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
        made.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return f"hub:{folder}"


TEXTS = [{"text": f"text {number}", "label": number % 2} for number in range(40)]
TEXT = {"text": datasets.Value("string"), "label": KINDS}


def test_labels_have_their_names_and_splits_are_those_there(tmp_path: Path) -> None:
    name = publish(tmp_path, TEXT, train=TEXTS, validation=TEXTS[:4], test=TEXTS[4:10])
    data = read_data(name, text_column="text")
    assert data.labels == ("bad", "good")
    assert [len(data.splits[split]) for split in ("train", "dev", "test")] == [40, 4, 6]
    assert data.splits["dev"][:2] == (Row("text 0", None, "bad"), Row("text 1", None, "good"))
    assert data.notes == ()


def test_a_missing_split_is_held_out_as_of_files(tmp_path: Path) -> None:
    data = read_data(publish(tmp_path, TEXT, train=TEXTS, test=TEXTS[:6]), text_column="text")
    assert [len(data.splits[split]) for split in ("train", "dev", "test")] == [36, 4, 6]
    assert "no dev file, so 4 of 40 rows of train are held out as dev" in data.notes[0]


def test_tags_have_their_names(tmp_path: Path) -> None:
    tags = datasets.ClassLabel(names=["O", "B-place"])
    features = {"tokens": datasets.List(datasets.Value("string")), "ner_tags": datasets.List(tags)}
    rows = [{"tokens": ["at", f"lake{number}"], "ner_tags": [0, 1]} for number in range(9)]
    data = read_data(publish(tmp_path, features, train=rows, test=rows), task="token-classification")
    assert data.splits["test"][3] == Row("at lake3", None, Tags((0, 3), ("O", "B-place")))


def test_answers_are_read_as_squad_has_them_there(tmp_path: Path) -> None:
    answers = {"text": datasets.List(datasets.Value("string")), "answer_start": datasets.List(datasets.Value("int32"))}
    strings = {name: datasets.Value("string") for name in ("title", "question", "context")}
    rows = [
        {
            "title": str(number),
            "question": "q",
            "context": f"{number} snow",
            "answers": {"text": ["snow"], "answer_start": [len(str(number)) + 1]},
        }
        for number in range(8)
    ]
    data = read_data(publish(tmp_path, {**strings, "answers": answers}, train=rows), task="question-answering")
    assert {row.label for row in data.splits["train"]} == {(Span(2, "snow"),)}


def test_what_is_wrong_with_a_row_says_where(tmp_path: Path) -> None:
    name = publish(tmp_path, TEXT, train=[*TEXTS, {"text": " ", "label": 1}])
    with pytest.raises(DataError, match=r"train:41: empty text in 'text'"):
        read_data(name, text_column="text")
    with pytest.raises(DataError, match=r"train:1: no column 'said'; found text, label; name the column to use"):
        read_data(name, text_column="said")
    with pytest.raises(DataError, match="has no train split; found test"):
        (tmp_path / "other").mkdir()
        read_data(publish(tmp_path / "other", TEXT, test=TEXTS))


def test_without_the_hub_it_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("hub:owner/name", "hub:owner/name/config", "glue/rte"):
        with pytest.raises(
            DataError, match=rf"^{name}: could not be loaded from the hub \(.*\); download it elsewhere"
        ) as error:
            read_data(name)
        assert "\n" not in str(error.value)


# GLUE


def glue(monkeypatch: pytest.MonkeyPatch, features: dict[str, Any], **splits: list[dict[str, Any]]) -> list[Any]:
    """Puts these rows where the hub has GLUE; gives what was asked for."""
    asked: list[Any] = []

    def load_dataset(*parts: str) -> Any:
        asked.append(parts)
        return datasets.DatasetDict(
            {
                split: datasets.Dataset.from_list(rows, features=datasets.Features(features))
                for split, rows in splits.items()
            }
        )

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


PAIRS = [{"sentence1": f"a {number}", "sentence2": f"b {number}", "label": number % 2} for number in range(40)]
PAIR = {"sentence1": datasets.Value("string"), "sentence2": datasets.Value("string"), "label": KINDS}


def test_validation_rows_of_glue_are_the_test_and_dev_rows_are_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = [{**row, "label": -1} for row in PAIRS]
    asked = glue(monkeypatch, PAIR, train=PAIRS, validation=PAIRS[:6], test=hidden)
    data = read_data("glue/rte")
    assert asked == [("nyu-mll/glue", "rte")]
    assert [len(data.splits[split]) for split in ("train", "dev", "test")] == [36, 4, 6]
    assert data.splits["test"][1] == Row("a 1", "b 1", "good")
    assert data.facts == {"data": "glue/rte", "columns": {}, "held_out": ["dev"]}


def test_single_texts_of_glue_have_no_second(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"sentence": row["text"], "label": row["label"]} for row in TEXTS]
    glue(monkeypatch, {"sentence": datasets.Value("string"), "label": KINDS}, train=rows, validation=rows)
    assert read_data("glue/sst2").splits["test"][0] == Row("text 0", None, "bad")


def test_numbers_of_glue_are_a_regression(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{**row, "label": number / 8} for number, row in enumerate(PAIRS)]
    glue(monkeypatch, {**PAIR, "label": datasets.Value("float32")}, train=rows, validation=rows)
    assert read_data("glue/stsb", task="regression").splits["test"][4] == Row("a 4", "b 4", 0.5)
    with pytest.raises(
        DataError, match=r"^glue/stsb: is for regression, not for classification; pass --task regression$"
    ):
        read_data("glue/stsb")


def test_a_task_that_glue_has_not_lists_those_it_has() -> None:
    with pytest.raises(DataError, match=r"^glue/trec: GLUE has no such task; expected one of cola, sst2, mrpc"):
        read_data("glue/trec")


def test_a_folder_here_goes_before_glue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "glue" / "rte"
    folder.mkdir(parents=True)
    (folder / "train.tsv").write_text("sentence\tlabel\n" + "".join(f"t{n}\t{n % 2}\n" for n in range(20)))
    assert len(read_data("glue/rte").splits["train"]) == 16
    assert not hub.is_hub_name("glue/rte") and hub.is_hub_name("glue/mrpc")


def test_a_run_remembers_the_name(tmp_path: Path) -> None:
    for name, known in (("glue/rte", True), ("hub:a/b", True), (str(tmp_path), True), (str(tmp_path / "gone"), False)):
        for kind in (Run, MixedRun):
            run = kind(tmp_path, None, {}, {}, {"data": name})  # type: ignore[arg-type]
            assert run.data_path == (Path(name) if known else None)
