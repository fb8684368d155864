"""How accurate every subnet is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

from gearshift.runtime.space import Subnet
from gearshift.trainer.batches import EncodedRows
from gearshift.trainer.model import ElasticClassifier


@torch.no_grad()
def accuracy(model: ElasticClassifier, subnet: Subnet, rows: EncodedRows, *, batch_size: int = 64) -> float:
    """Share of rows that a subnet answers right, from 0 to 1."""
    was_training = model.training
    model.eval()
    right = sum(
        int((model(batch, subnet).logits.argmax(-1) == batch.labels).sum()) for batch in rows.batches(batch_size)
    )
    model.train(was_training)
    return right / len(rows)


def accuracies(
    model: ElasticClassifier, subnets: Mapping[str, Subnet], rows: EncodedRows
) -> Iterator[tuple[str, float]]:
    """Name and accuracy of each subnet, one after the other, so that a caller can show progress."""
    for name, subnet in subnets.items():
        yield name, accuracy(model, subnet, rows)
