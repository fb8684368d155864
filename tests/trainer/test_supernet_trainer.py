"""`transformers.Trainer` around a supernet."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from gearshift.trainer.supernet import Supernet
from gearshift.trainer.supernet_trainer import SupernetTrainer
from tests.trainer.test_supernet import tiny_model
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


@pytest.mark.parametrize(("stage", "subnets"), [("width", 4), ("depth", 3), ("both", 12)])
def test_a_stage_draws_its_own(checkpoint_path: Path, tmp_path: Path, stage: str, subnets: int) -> None:
    seen: list[int] = []
    one = trainer(checkpoint_path, tmp_path, steps=1, how={"sampling": "all"})
    one.stage = stage
    really_loss = one.supernet.distill_loss
    one.supernet.distill_loss = lambda *arguments: (seen.append(1), really_loss(*arguments))[1]  # type: ignore[method-assign,func-returns-value]
    one.train()
    assert len(seen) == subnets
