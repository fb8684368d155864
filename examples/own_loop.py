"""A supernet in a training loop of your own: only the lines that name `supernet` are new.

    python -m examples.own_loop MODEL ROWS.jsonl RUN

MODEL is a fine-tuned `AutoModelForSequenceClassification`, ROWS has a `sentence` and a `label` (a number) in each line.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup

from gearshift.trainer.dynabert.supernet import Supernet

EPOCHS = {"width": 1, "depth": 2}
HIDDEN_WEIGHTS = {"width": 0.1, "depth": 1.0}
MAX_LENGTH = 64


def main(model_path: str, rows_path: str, run_path: str) -> None:
    """Convert, rank, distil widths and then all subnets, save."""
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(model_path)
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    rows = [json.loads(line) for line in Path(rows_path).read_text(encoding="utf-8").splitlines()]

    def collate(batch: list[dict[str, str]]) -> dict[str, torch.Tensor]:
        texts = [row["sentence"] for row in batch]
        encoded = tokenizer(texts, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
        return {**encoded, "labels": torch.tensor([int(row["label"]) for row in batch])}

    loader: DataLoader[Any] = DataLoader(rows, batch_size=32, shuffle=True, collate_fn=collate)  # type: ignore[arg-type]

    supernet = Supernet.convert(model)
    supernet.rank(loader)
    for stage, epochs in EPOCHS.items():
        supernet.renew_teacher()
        optimizer = torch.optim.AdamW(supernet.parameters(), lr=1e-4)
        schedule = get_linear_schedule_with_warmup(optimizer, 0, epochs * len(loader))
        for _ in range(epochs):
            for inputs in loader:
                targets = supernet.teach(inputs)
                for subnet in supernet.sample(stage):
                    output = supernet(inputs, subnet)
                    loss = supernet.distill_loss(output, targets, subnet, hidden_weight=HIDDEN_WEIGHTS[stage])
                    loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(supernet.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
        print(f"{stage}: {epochs} epochs")
    supernet.save(run_path, tokenizer, max_length=MAX_LENGTH)
    print(f"{run_path}: {', '.join(supernet.subnets)}; now: gearshift export {run_path} --data DATA -o BUNDLE")


if __name__ == "__main__":
    main(*sys.argv[1:4])
