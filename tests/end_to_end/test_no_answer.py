"""Questions without an answer from the data to the answers: learnt, exported, trimmed, and given by the engine."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import transformers

from gearshift.errors import InputError
from gearshift.export.dedicated import dedicated_graphs
from gearshift.export.extract import extract_subnet
from gearshift.export.pipeline import export_bundle
from gearshift.export.portable import export_portable
from gearshift.export.trim import trim_bundle
from gearshift.runtime import Bundle, Engine, open_bundle
from gearshift.trainer.data.batches import encode
from gearshift.trainer.data.rows import Row
from gearshift.trainer.data.splits import read_data
from gearshift.trainer.dynabert.prune import prune_run
from gearshift.trainer.dynabert.settings import Recovery, Settings
from gearshift.trainer.dynabert.supernet import Supernet
from gearshift.trainer.dynabert.train import train_supernet
from gearshift.trainer.learning.evaluate import accuracy, null_thresholds
from gearshift.trainer.learning.no_answer import with_threshold
from gearshift.trainer.learning.settings import Pruning
from gearshift.trainer.model.run import SUBNET, Run, load_supernet
from gearshift.trainer.search.search import search_run
from tests.command_line import Command
from tests.trainer.tiny import FILLERS, KEYWORDS, write_checkpoint

TASK = "question-answering"
QUESTION = "was there snow"
WITH, WITHOUT = (QUESTION, "the day was full of frost"), (QUESTION, "the day was full of much")

SETTINGS = Settings(
    max_length=20,
    batch_size=16,
    teacher_epochs=8,
    width_epochs=2,
    depth_epochs=2,
    teacher_lr=2e-3,
    width_lr=1e-3,
    depth_lr=1e-3,
    importance_rows=16,
    widths=(1, 0.5),
    depths=(1, 0.5),
)


def record(source: random.Random) -> dict[str, Any]:
    """A question whose answer is the one cold word of its context, if there is one."""
    words = [source.choice(FILLERS) for _ in range(2 + source.randrange(5))]
    answer = source.choice(KEYWORDS["cold"]) if source.random() < 0.6 else None
    if answer is not None:
        words.insert(source.randrange(len(words) + 1), answer)
    context = " ".join(words)
    spans = {} if answer is None else {"text": answer, "answer_start": context.index(answer)}
    answers = [spans] if spans else []
    return {"question": QUESTION, "context": context, "answers": answers, "is_impossible": not answers}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, source = tmp_path_factory.mktemp("data"), random.Random(5)
    for split, count in (("train", 160), ("dev", 60), ("test", 60)):
        lines = [json.dumps(record(source)) + "\n" for _ in range(count)]
        (folder / f"{split}.jsonl").write_text("".join(lines))
    return folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs")
    model = write_checkpoint(folder / "model")
    return train_supernet(model, read_data(data, task=TASK), SETTINGS, folder / "run")


@pytest.fixture(scope="module")
def bundle(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export_bundle(run, tmp_path_factory.mktemp("bundles") / "made.gearshift").bundle


@pytest.fixture
def engine(bundle: Bundle) -> Iterator[Engine]:
    with Engine.load(bundle.path, precision="fp32", threads=1, sensors=False) as engine:
        yield engine


def test_the_absence_of_an_answer_is_learnt(run: Run) -> None:
    best = run.facts["metrics"]["w100-d100"]
    assert set(best) == {"answer_f1", "exact_match", "has_answer_f1", "has_answer_exact_match", "no_answer_accuracy"}
    assert min(best.values()) > 0.9, best


def test_each_subnet_has_the_threshold_that_its_dev_rows_choose(run: Run, bundle: Bundle, data: Path) -> None:
    splits, checkpoint = read_data(data, task=TASK).splits, run.checkpoint
    dev, test = (encode(splits[name], (), checkpoint.tokenizer, max_length=20, task=TASK) for name in ("dev", "test"))
    expected = null_thresholds(checkpoint.model, run.subnets, dev)
    assert run.thresholds == pytest.approx(expected, abs=1e-4)
    assert len({round(threshold, 2) for threshold in expected.values()}) > 1
    for name, subnet in run.subnets.items():
        right = accuracy(checkpoint.model, subnet, with_threshold(test, expected[name]))
        assert run.accuracies[name] == pytest.approx(right, abs=1e-6)
        assert bundle.entry(name, "fp32").null_threshold == run.thresholds[name]
        assert bundle.entry(name, "fp32").accuracy == pytest.approx(right, abs=1e-6)


def test_the_engine_says_that_there_is_no_answer(engine: Engine) -> None:
    found, none = engine.run([WITH, WITHOUT])
    assert (found.answer, found.answerable) == ("frost", True)
    assert WITH[1][found.start : found.end] == "frost"
    assert (none.answer, none.start, none.end, none.answerable) == ("", 0, 0, False)
    threshold = engine.pool[none.subnet].null_threshold
    assert threshold is not None and found.null_score_diff <= threshold < none.null_score_diff
    assert found.score > 0.5 and none.score > 0.5


def test_an_answer_behind_the_part_that_is_read_is_none_and_told(engine: Engine) -> None:
    far = engine.run((QUESTION, " ".join(["the day was full of much"] * 5000 + ["frost"])))
    assert (far.answer, far.answerable, far.truncated, far.tokens) == ("", False, True, 20)


@pytest.mark.parametrize("pair", [("", "the day"), (QUESTION, " "), ("", "")])
def test_an_empty_question_or_text_is_one_line(engine: Engine, pair: tuple[str, str]) -> None:
    with pytest.raises(InputError, match=r"^empty text; expected at least one word$"):
        engine.run(pair)


def test_every_subnet_answers_by_its_own_threshold(engine: Engine) -> None:
    source = random.Random(9)
    asked = [(QUESTION, record(source)["context"]) for _ in range(40)]
    for name in engine.subnets:
        engine.pin(name)
        threshold = engine.pool[name].null_threshold
        assert threshold is not None
        answers = engine.run(asked)
        assert [answer.answerable for answer in answers] == [a.null_score_diff <= threshold for a in answers]
        assert {answer.subnet for answer in answers} == {name}


@pytest.mark.parametrize(("threshold", "answerable"), [(float("inf"), True), (-1e9, False)])
def test_another_threshold_can_be_asked_for(bundle: Bundle, threshold: float, answerable: bool) -> None:
    with Engine.load(bundle.path, precision="int8", threads=1, sensors=False, null_threshold=threshold) as engine:
        assert [answer.answerable for answer in engine.run([WITH, WITHOUT])] == [answerable] * 2


@pytest.mark.parametrize("threshold", [float("nan"), "much", True])
def test_a_threshold_that_is_no_number_is_refused(bundle: Bundle, threshold: Any) -> None:
    with pytest.raises(InputError, match=r"^null_threshold: expected a number, .* got "):
        Engine.load(bundle.path, null_threshold=threshold)


def test_the_command_says_it_too(bundle: Bundle, command: Command) -> None:
    asked = ["run", bundle.path, *WITH, *WITHOUT, "--pair", "--precision", "fp32", "--threads", 1]
    lines = command(*asked).out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["frost", "no answer"]
    answers = json.loads(command(*asked, "--json").out)["answers"]
    assert [(answer["answer"], answer["answerable"]) for answer in answers] == [("frost", True), ("", False)]
    always = json.loads(command(*asked, "--json", "--null-threshold", "1e9").out)["answers"]
    assert [answer["answerable"] for answer in always] == [True, True]
    assert "no answer above" in command("inspect", bundle.path).out
    assert command("verify", bundle.path).code == 0


def test_a_trimmed_bundle_keeps_the_thresholds(bundle: Bundle, engine: Engine, tmp_path: Path) -> None:
    trimmed = trim_bundle(bundle, tmp_path / "small.gearshift", keep=["w050-d050"], precisions=["fp32"])
    (entry,) = trimmed.manifest.pool
    assert entry.null_threshold == bundle.entry("w050-d050", "fp32").null_threshold
    engine.pin("w050-d050")
    with Engine.load(trimmed.path, threads=1, sensors=False) as small:
        for mine, whole in zip(small.run([WITH, WITHOUT]), engine.run([WITH, WITHOUT]), strict=True):
            assert (mine.answer, mine.answerable, mine.score) == (whole.answer, whole.answerable, whole.score)
    assert "A question may have no answer in its text" in (trimmed.path / "README.md").read_text()


def test_a_dedicated_graph_is_made_of_such_a_bundle(bundle: Bundle) -> None:
    with dedicated_graphs(bundle)("fp32", "w050-d050", 1) as rival:
        assert rival.segments == 1


@pytest.mark.skipif(
    not hasattr(transformers, "QuestionAnsweringPipeline"), reason="transformers 5 has no such pipeline"
)
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # transformers' own
def test_transformers_pipeline_gives_the_same_answers(run: Run, bundle: Bundle) -> None:
    """Its decision is that of a threshold of 0, over the probabilities of the context and of `[CLS]`."""
    source = random.Random(11)
    asked = [(QUESTION, record(source)["context"]) for _ in range(30)]
    pipeline = transformers.pipeline(TASK, model=str(run.path), tokenizer=str(run.path), device="cpu")
    with Engine.load(bundle.path, precision="fp32", threads=1, sensors=False, null_threshold=0) as engine:
        engine.pin("w100-d100")
        kinds = set()
        for question, context in asked:
            theirs = pipeline(
                question=question, context=context, handle_impossible_answer=True, max_answer_len=30, max_seq_len=20,
                doc_stride=4,
            )  # fmt: skip
            mine = engine.run((question, context))
            assert (mine.answer, mine.start, mine.end) == (theirs["answer"], theirs["start"], theirs["end"])
            assert mine.score == pytest.approx(theirs["score"], abs=1e-4)
            kinds.add(mine.answerable)
    assert kinds == {True, False}


def test_a_static_model_and_a_checkpoint_state_the_threshold(run: Run, data: Path, tmp_path: Path) -> None:
    name, rows = "w100-d050", read_data(data, task=TASK).splits["test"]
    export_portable(run, tmp_path / "portable", rows, [name])
    facts = json.loads((tmp_path / "portable" / "portable.json").read_text())
    assert facts["subnets"][name]["null_threshold"] == run.thresholds[name]
    extract_subnet(run, name, run.subnets[name], tmp_path / "small")
    assert json.loads((tmp_path / "small" / SUBNET).read_text())["null_threshold"] == run.thresholds[name]
    assert f"is above {run.thresholds[name]:.4g}" in (tmp_path / "small" / "README.md").read_text()


def test_a_loop_of_ones_own_has_thresholds_from_the_dev_rows_of_its_export(
    run: Run, data: Path, tmp_path: Path, command: Command
) -> None:
    model = transformers.AutoModelForQuestionAnswering.from_pretrained(run.path)
    supernet = Supernet.convert(model, list(run.subnets.values()))
    supernet.save(tmp_path / "run", transformers.AutoTokenizer.from_pretrained(run.path), max_length=20)
    made = tmp_path / "made.gearshift"
    exported = command("export", tmp_path / "run", "--data", data, "-o", made, "--precision", "fp32")
    assert exported.code == 0, exported.err
    found = {entry.name: entry.null_threshold for entry in open_bundle(made).manifest.pool}
    assert found == pytest.approx(run.thresholds, abs=1e-4)


def test_pruning_and_search_choose_thresholds_anew(run: Run, data: Path, tmp_path: Path) -> None:
    rows = read_data(data, task=TASK)
    recovery = Recovery(epochs=1, lr=1e-3, batch_size=16)
    pruned = prune_run(run, rows, Pruning(0.3), recovery, tmp_path / "pruned")
    assert pruned.thresholds.keys() == run.thresholds.keys()
    assert pruned.thresholds != run.thresholds
    search_run(pruned, rows, pool=3, rescored=6)
    searched = load_supernet(pruned.path)
    assert searched.thresholds.keys() == searched.subnets.keys()
    dev = encode(rows.splits["dev"], (), run.checkpoint.tokenizer, max_length=20, task=TASK)
    expected = null_thresholds(searched.checkpoint.model, searched.subnets, dev)
    assert searched.thresholds == pytest.approx(expected, abs=1e-4)


def test_a_net_of_questions_that_all_have_answers_always_gives_one(data: Path, tmp_path: Path) -> None:
    rows = read_data(data, task=TASK).splits
    for split in ("train", "dev", "test"):
        lines = [json.dumps(_record(row)) + "\n" for row in rows[split] if row.label]
        (tmp_path / f"{split}.jsonl").write_text("".join(lines))
    few = Settings(**{**SETTINGS.to_dict(), "teacher_epochs": 1, "width_epochs": 0, "depth_epochs": 0})
    model = write_checkpoint(tmp_path / "model")
    run = train_supernet(model, read_data(tmp_path, task=TASK), few, tmp_path / "run")
    assert not run.thresholds
    assert set(run.facts["metrics"]["w100-d100"]) == {"answer_f1", "exact_match"}
    # Rows to measure on, of whatever kind, do not teach it.
    made = export_bundle(run, tmp_path / "made.gearshift", rows["test"], dev=rows["dev"], precisions=["fp32"]).bundle
    assert "null_threshold" not in (made.path / "manifest.json").read_text()
    with Engine.load(made.path, threads=1, sensors=False) as engine:
        answers = engine.run([WITH, WITHOUT])
        assert all(answer.answer and answer.answerable and answer.null_score_diff is None for answer in answers)
    with pytest.raises(InputError, match="for a bundle that was trained on questions without an answer, got 0"):
        Engine.load(made.path, null_threshold=0)


def _record(row: Row) -> dict[str, Any]:
    assert isinstance(row.label, tuple)
    answers = [{"text": span.text, "answer_start": span.start} for span in row.label]
    return {"question": row.text, "context": row.pair, "answers": answers}
