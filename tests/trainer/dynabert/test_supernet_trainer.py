"""`transformers.Trainer` around a supernet."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from gearshift.trainer.dynabert.supernet import Supernet
from gearshift.trainer.dynabert.supernet_trainer import SupernetTrainer
from gearshift.trainer.learning.objectives import OBJECTIVES
from tests.trainer.dynabert.test_supernet import tiny_model
from tests.trainer.encoders import HEADS, write_model
from tests.trainer.tiny import LABELS, make_rows

ROWS = [{"text": row.text, "labels": LABELS.index(str(row.label))} for row in make_rows(24)]


class Questions(torch.utils.data.Dataset[dict[str, Any]]):
    """Tokenised rows, as a data set of `datasets` gives them."""

    def __init__(self, path: Path) -> None:
        tokenizer = transformers.AutoTokenizer.from_pretrained(path)
        self.rows = [{**tokenizer(str(row["text"])), "labels": row["labels"]} for row in ROWS]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> dict[str, Any]:
        return self.rows[place]


def accuracy(predicted: Any) -> dict[str, float]:
    return {"accuracy": float(np.mean(predicted.predictions.argmax(-1) == predicted.label_ids))}


def trainer(
    path: Path, out: Path, *, steps: int = 4, how: dict[str, Any] | None = None, **arguments: Any
) -> SupernetTrainer:
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    data = Questions(path)
    return SupernetTrainer(
        Supernet.convert(tiny_model(path), **(how or {})),
        transformers.TrainingArguments(
            output_dir=str(out),
            use_cpu=True,
            report_to=[],
            disable_tqdm=True,
            max_steps=steps,
            learning_rate=1e-3,
            logging_steps=1,
            **{"per_device_train_batch_size": 8, "save_strategy": "no", **arguments},
        ),
        train_dataset=data,
        eval_dataset=data,
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
        compute_metrics=accuracy,
    )


def test_training_brings_the_losses_down_and_evaluates_every_subnet(checkpoint_path: Path, tmp_path: Path) -> None:
    one = trainer(checkpoint_path, tmp_path, steps=30)
    one.train()
    losses = [entry["loss"] for entry in one.state.log_history if "loss" in entry]
    assert len(losses) == 30
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    measured = one.evaluate()
    for name in one.supernet.subnets:
        assert 0 <= measured[f"eval_{name}_accuracy"] <= 1
        assert measured[f"eval_{name}_loss"] > 0
    assert measured["eval_accuracy"] == measured["eval_w100-d100_accuracy"]
    assert len({measured[f"eval_{name}_loss"] for name in one.supernet.subnets}) == 12


def test_it_goes_on_from_its_own_checkpoint(checkpoint_path: Path, tmp_path: Path) -> None:
    whole = trainer(checkpoint_path, tmp_path / "whole")
    whole.train()
    half = trainer(checkpoint_path, tmp_path / "run", save_strategy="steps", save_steps=2)
    half.train()
    again = trainer(checkpoint_path, tmp_path / "again")
    again.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    expected, found = whole.supernet.model.state_dict(), again.supernet.model.state_dict()
    assert all(torch.allclose(expected[name], found[name], atol=1e-6) for name in expected)


@pytest.mark.parametrize("metric", ["loss", "w025-d050_loss"])
def test_it_evaluates_while_it_trains_and_ends_with_the_best_checkpoint(
    checkpoint_path: Path, tmp_path: Path, metric: str
) -> None:
    one = trainer(
        checkpoint_path,
        tmp_path,
        steps=6,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model=metric,
        greater_is_better=False,
    )
    one.add_callback(transformers.EarlyStoppingCallback(early_stopping_patience=5))
    one.train()
    seen = [entry[f"eval_{metric}"] for entry in one.state.log_history if f"eval_{metric}" in entry]
    assert len(seen) == 3 and one.state.best_metric == min(seen) < seen[-1]  # its teacher is not trained: no better
    assert one.evaluate()[f"eval_{metric}"] == pytest.approx(min(seen))


def test_it_predicts_with_the_full_net(checkpoint_path: Path, tmp_path: Path) -> None:
    one = trainer(checkpoint_path, tmp_path)
    found = one.predict(one.eval_dataset)
    assert found.predictions.shape == (len(ROWS), len(LABELS))
    assert found.label_ids.tolist() == [row["labels"] for row in ROWS]
    measured = one.evaluate()
    assert found.metrics["test_loss"] == pytest.approx(measured["eval_w100-d100_loss"])
    assert found.metrics["test_accuracy"] == measured["eval_w100-d100_accuracy"]


def test_accumulated_batches_move_as_one(checkpoint_path: Path, tmp_path: Path) -> None:
    moved = []
    for size, accumulated in ((8, 1), (4, 2)):
        one = trainer(
            checkpoint_path,
            tmp_path,
            steps=1,
            how={"sampling": "all"},
            per_device_train_batch_size=size,
            gradient_accumulation_steps=accumulated,
            optim="sgd",
            max_grad_norm=0.0,
        )
        for module in one.supernet.modules():
            if hasattr(module, "dropout"):
                module.dropout = type(module.dropout)(0.0, 0.0)
        one.train()
        moved.append(one.supernet.model.classifier.weight.detach().clone())
    assert torch.allclose(moved[0], moved[1], atol=1e-5)
    assert not torch.allclose(moved[0], tiny_model(checkpoint_path).classifier.weight, atol=1e-5)


@pytest.mark.parametrize(("stage", "subnets"), [("width", 4), ("depth-only", 3), ("depth", 12)])
def test_a_stage_draws_its_own(checkpoint_path: Path, tmp_path: Path, stage: str, subnets: int) -> None:
    seen: list[int] = []
    one = trainer(checkpoint_path, tmp_path, steps=1, how={"sampling": "all"})
    one.stage = stage
    really_loss = one.supernet.distill_loss
    one.supernet.distill_loss = lambda *arguments: (seen.append(1), really_loss(*arguments))[1]  # type: ignore[method-assign,func-returns-value]
    one.train()
    assert len(seen) == subnets


# Beyond the classification of texts

TOKENS = 6
ANSWERS: dict[str, dict[str, Any]] = {
    "question answering": {"start_positions": 1, "end_positions": 3},
    "token classification": {"labels": [-100, 0, 4, 2, 1, -100]},
    "regression": {"labels": 0.5},
    "classification": {"labels": 2},
}


def rows_of(head: str, count: int) -> list[dict[str, Any]]:
    source = torch.Generator().manual_seed(count)
    ids = torch.randint(5, 60, (count, TOKENS), generator=source).tolist()
    return [{"input_ids": row, "attention_mask": [1] * TOKENS, **ANSWERS[head]} for row in ids]


def evaluating(path: Path, head: str, rows: Any, **how: Any) -> SupernetTrainer:
    supernet = Supernet.convert(write_model(path / "model", "BERT", HEADS[head]))
    arguments = transformers.TrainingArguments(
        output_dir=str(path / "out"), use_cpu=True, report_to=[], disable_tqdm=True, per_device_eval_batch_size=2
    )
    return SupernetTrainer(supernet, arguments, eval_dataset=rows, **how)


@pytest.mark.parametrize("head", ANSWERS)
def test_every_task_has_a_loss_and_the_metrics_of_its_user(tmp_path: Path, head: str) -> None:
    seen: list[Any] = []

    def metrics(predicted: Any) -> dict[str, float]:
        seen.append(predicted)
        return {"seen": 1.0}

    one = evaluating(tmp_path, head, rows_of(head, 3), compute_metrics=metrics)
    measured = one.evaluate()
    for name, subnet in one.supernet.subnets.items():
        batch = one.supernet.as_batch({key: torch.tensor(value) for key, value in columns(rows_of(head, 3)).items()})
        with torch.no_grad():
            logits = one.supernet.eval()(batch, subnet).logits
        # In transformers a mean over batches, weighted by their rows: here of equally many labels each.
        expected = float(OBJECTIVES[one.supernet.task].loss(logits, batch))
        assert measured[f"eval_{name}_loss"] == pytest.approx(expected, rel=1e-4)
        assert measured[f"eval_{name}_seen"] == 1
    assert measured["eval_loss"] == measured["eval_w100-d100_loss"]
    if head == "question answering":  # as transformers has it
        start, end = seen[0].predictions
        assert start.shape == end.shape == (3, TOKENS)
        assert [list(ids) for ids in seen[0].label_ids] == [[1] * 3, [3] * 3]


def columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def test_several_data_sets_are_measured_by_name(tmp_path: Path) -> None:
    sets = {"near": rows_of("classification", 2), "far": rows_of("classification", 3)}
    one = evaluating(tmp_path, "classification", sets)
    measured = one.evaluate()
    for name, rows in sets.items():
        alone = one.evaluate(rows)
        assert measured[f"eval_{name}_w050-d050_loss"] == pytest.approx(alone["eval_w050-d050_loss"])
        assert measured[f"eval_{name}_loss"] == pytest.approx(alone["eval_loss"])
    assert one.evaluate("far")["eval_loss"] == pytest.approx(measured["eval_far_loss"])
