"""Every task from its data to its answers: trained, saved, exported, and run by the engine, by command."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from gearshift.__main__ import main
from gearshift.export.card import MEANINGS
from gearshift.runtime import (
    Classification,
    Embedding,
    Engine,
    MultiLabelClassification,
    QuestionAnswering,
    Regression,
    TokenClassification,
)
from gearshift.runtime.bundle.bundle import open_bundle
from gearshift.runtime.inference.answers import Answer
from gearshift.runtime.inference.spans import best_span
from gearshift.trainer.data.batches import encode
from gearshift.trainer.data.rows import Row
from gearshift.trainer.data.splits import read_data
from gearshift.trainer.learning.evaluate import accuracy, with_reference
from gearshift.trainer.learning.metrics import Array
from gearshift.trainer.learning.objectives import OBJECTIVES
from gearshift.trainer.model.checkpoint import load_checkpoint
from gearshift.trainer.model.run import load_supernet
from tests.trainer.tasks import PAIRED, TASKS, write_data
from tests.trainer.tiny import write_checkpoint

FEW_STEPS = ["--max-length", "20", "--batch-size", "8", "--importance-rows", "16", "--teacher-lr", "2e-3"]
EPOCHS = ["--teacher-epochs", "2", "--width-epochs", "1", "--depth-epochs", "1", "--widths", "1,.5", "--depths", "1,.5"]


def check_answer(answer: Answer, logits: Array, encoding: object, row: Row, labels: tuple[str, ...]) -> None:
    """Check that an answer is what torch's numbers mean."""
    match answer:
        case Classification():
            odds = np.exp(logits.astype(np.float64))
            assert list(answer.scores) == list(labels)
            assert np.abs(np.array(list(answer.scores.values())) - odds / odds.sum()).max() < 1e-4
            assert answer.label == labels[int(logits.argmax())]
        case MultiLabelClassification():
            assert list(answer.scores) == list(labels)
            expected = 1 / (1 + np.exp(-logits.astype(np.float64)))
            assert np.abs(np.array(list(answer.scores.values())) - expected).max() < 1e-4
            assert answer.labels == tuple(sorted((n for n, p in zip(labels, expected, strict=True) if p >= 0.5),
                                                 key=lambda name: -answer.scores[name]))  # fmt: skip
        case Regression():
            assert answer.value == pytest.approx(float(logits[0]), abs=1e-4)
        case TokenClassification():
            best = [labels[place] for place in logits.argmax(-1)][1:-1]
            assert [word.label for word in answer.words] == best  # every word is one token here
        case QuestionAnswering():
            assert row.pair is not None
            start, end, score = best_span(logits, encoding)  # type: ignore[arg-type]
            assert (answer.start, answer.end, answer.answer) == (start, end, row.pair[start:end])
            assert answer.score == pytest.approx(score, abs=1e-3)
        case Embedding():
            assert np.abs(answer.vector - logits).max() < 1e-4
        case _:
            pytest.fail(f"{answer}")


def test_the_card_knows_every_metric() -> None:
    assert {objective.metric for objective in OBJECTIVES.values()} == set(MEANINGS)


@pytest.mark.parametrize("task", (*TASKS, "classification"))
def test_a_task_is_trained_exported_and_answered_as_torch_does(
    task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, model = write_data(tmp_path / "data", task), write_checkpoint(tmp_path / "model")
    out, made = tmp_path / "run", tmp_path / "made.gearshift"
    train = ["train", "--task", task, "--data", str(data), "--model", str(model), "-o", str(out), "--json"]
    assert main([*train, *FEW_STEPS, *EPOCHS]) == 0, capsys.readouterr().err
    trained = json.loads(capsys.readouterr().out)
    metric = OBJECTIVES[task].metric
    assert (trained["task"], trained["metric"], trained["dropped_rows"]) == (task, metric, 0)

    run = load_supernet(out)
    splits = read_data(data, task=task).splits
    model_of, labels = run.checkpoint.model.eval(), run.checkpoint.labels
    encoded = encode(splits["test"], labels, run.checkpoint.tokenizer, max_length=20, task=task)
    brought = with_reference(load_checkpoint(model, labels, task=task).model, encoded)
    measured = {subnet["name"]: subnet["accuracy"] for subnet in trained["subnets"]}
    assert measured == pytest.approx(
        {name: accuracy(model_of, subnet, brought) for name, subnet in run.subnets.items()}, abs=1e-6
    )
    encoded = with_reference(model_of, encoded)  # of a bundle, whose figures are of what it ships
    shipped = {name: accuracy(model_of, subnet, encoded) for name, subnet in run.subnets.items()}
    if task == "embedding":
        assert shipped["w100-d100"] == pytest.approx(1, abs=1e-6)
        assert 0.5 < measured["w100-d100"] < 1 - 2e-6  # training moved it
        assert measured["w050-d050"] < 1 - 2e-6  # half of it is another net

    assert main(["export", str(out), "-o", str(made)]) == 0, capsys.readouterr().err
    assert f"{metric} fp32" in capsys.readouterr().out
    bundle = open_bundle(made)
    assert (bundle.manifest.task, bundle.manifest.metric, bundle.manifest.labels) == (task, metric, labels)
    fp32 = {name: entry.accuracy for name, entry in bundle.pool("fp32").items()}
    assert fp32 == pytest.approx(shipped, abs=1e-5)
    assert set(bundle.pool("int8")) == set(fp32)
    meaning = MEANINGS[OBJECTIVES[task].metric].format(rows=12)
    assert meaning in (made / "README.md").read_text()

    with Engine.load(made, precision="fp32", threads=1) as engine:
        for name, subnet in run.subnets.items():
            engine.pin(name)
            for number, row in enumerate(splits["test"][:4]):
                with torch.no_grad():
                    logits = model_of(encoded.select([number]), subnet).logits[0].numpy()
                parts = (row.text,) if row.pair is None else (row.text, row.pair)
                encoding = run.checkpoint.tokenizer.encode(*parts)
                answer = engine.run(row.text if row.pair is None else (row.text, row.pair))
                check_answer(answer, logits, encoding, row, labels)
    with Engine.load(made, precision="int8", threads=1) as engine:
        assert type(engine.run(("was there snow", "the snow") if task in PAIRED else "snow")) is type(answer)
