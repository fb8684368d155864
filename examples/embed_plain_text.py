"""Sentence embeddings with many subnets, distilled from your own encoder on plain text: no labels are needed.

    python -m examples.embed_plain_text MODEL TEXTS.txt RUN

MODEL is a sentence-transformers model or another encoder, TEXTS has one text a line.
"""

from __future__ import annotations

import sys

import torch

from gearshift.trainer.data.batches import encode
from gearshift.trainer.data.rows import Row
from gearshift.trainer.data.splits import read_data
from gearshift.trainer.dynabert.settings import Settings
from gearshift.trainer.dynabert.train import train_supernet
from gearshift.trainer.model.pretrained import find_model

PAIR = ("the lights are off", "somebody turned off the lights")
"""Two texts whose similarity is computed with every subnet."""


def main(model: str, texts: str, run_path: str) -> None:
    """Distil, and compare two texts with every subnet."""
    settings = Settings(width_epochs=1, depth_epochs=1, max_length=32)
    run = train_supernet(find_model(model), read_data(texts, task="embedding"), settings, run_path)
    checkpoint = run.checkpoint
    rows = [Row(text, None, None) for text in PAIR]
    batch = encode(rows, (), checkpoint.tokenizer, max_length=32, task="embedding").select(range(2))
    for name, subnet in run.subnets.items():
        with torch.no_grad():
            one, other = checkpoint.model.eval()(batch, subnet).logits
        kept = f"cosine with the original model {run.accuracies[name]:.3f}"
        print(f"{name}  {kept}  the two texts {float(one @ other):.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:4])
