"""A supernet in `transformers.Trainer`: arguments, data sets, callbacks and metrics stay as they are.

    python -m examples.transformers_trainer MODEL ROWS.jsonl RUN

MODEL is a fine-tuned `AutoModelForSequenceClassification`, ROWS has a `sentence` and a `label` (a number) in each line.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, TrainingArguments

from gearshift.trainer.dynabert.supernet import Supernet
from gearshift.trainer.dynabert.supernet_trainer import SupernetTrainer

MAX_LENGTH = 64


def main(model_path: str, rows_path: str, run_path: str) -> None:
    """Convert, train with the class in place of `Trainer`, evaluate every subnet, save."""
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    rows = [json.loads(line) for line in Path(rows_path).read_text(encoding="utf-8").splitlines()]
    encoded: list[Any] = [
        {**tokenizer(row["sentence"], truncation=True, max_length=MAX_LENGTH), "labels": int(row["label"])}
        for row in rows
    ]
    held_out = len(encoded) // 5

    def accuracy(predicted: Any) -> dict[str, float]:
        return {"accuracy": float(np.mean(predicted.predictions.argmax(-1) == predicted.label_ids))}

    trainer = SupernetTrainer(
        Supernet.convert(AutoModelForSequenceClassification.from_pretrained(model_path)),
        TrainingArguments(
            output_dir=f"{run_path}.checkpoints",
            num_train_epochs=2,
            per_device_train_batch_size=32,
            learning_rate=1e-4,
            save_strategy="no",
            dataloader_pin_memory=False,  # True on a GPU
            report_to=[],
        ),
        train_dataset=encoded[held_out:],
        eval_dataset=encoded[:held_out],
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=accuracy,
    )
    trainer.train()
    measured = trainer.evaluate()
    accuracies = {name: measured[f"eval_{name}_accuracy"] for name in trainer.supernet.subnets}
    for name, value in accuracies.items():
        print(f"{name}  {100 * value:.1f} %")
    trainer.supernet.save(run_path, tokenizer, max_length=MAX_LENGTH, accuracies=accuracies)


if __name__ == "__main__":
    main(*sys.argv[1:4])
