"""Small models, batches and data sets that the tests of the trainer and of the exporter share."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import torch

from gearshift.runtime.space.shape import EncoderShape
from gearshift.trainer.data.batches import Batch, EncodedRows
from gearshift.trainer.data.rows import Row
from gearshift.trainer.data.splits import DataSet
from gearshift.trainer.dynabert.settings import Settings
from gearshift.trainer.model.elastic import ElasticClassifier, TaskModel
from gearshift.trainer.model.encoder.layer import Dropout
from tests.data.make_tiny_bundle import make_checkpoint

SHAPE = EncoderShape(layers=4, hidden=32, heads=4, neurons=64, vocabulary=100, positions=32, types=2)
LABELS = ("cold", "hot", "mild")
KEYWORDS = {
    "cold": ("snow", "ice", "frost", "winter"),
    "hot": ("sun", "fire", "desert", "summer"),
    "mild": ("spring", "breeze", "shade", "dew"),
}
FILLERS = ("the", "a", "day", "was", "full", "of", "and", "we", "saw", "much", "there", "once", "again")

SETTINGS = Settings(
    max_length=16,
    batch_size=8,
    teacher_epochs=1.5,
    width_epochs=1,
    depth_epochs=1,
    teacher_lr=1e-3,
    width_lr=1e-3,
    depth_lr=1e-3,
    importance_rows=16,
    distil_dropout=True,
    augment=0,
    save_every_s=0,
)
"""A training of 5 + 3 + 3 steps on 24 rows, saved after each step."""


def make_rows(count: int, *, seed: int = 0, longest: int = 10) -> tuple[Row, ...]:
    """Rows of 1 to `longest` words; one of them gives the label away."""
    source = random.Random(seed)
    rows = []
    for number in range(count):
        label = LABELS[number % len(LABELS)]
        words = [source.choice(FILLERS) for _ in range(source.randrange(longest))]
        words.insert(source.randrange(len(words) + 1), source.choice(KEYWORDS[label]))
        rows.append(Row(" ".join(words), None, label))
    return tuple(rows)


def make_data(train: int = 24, test: int = 12, *, seed: int = 0, longest: int = 10) -> DataSet:
    counts = {"train": (train, seed), "dev": (6, 1), "test": (test, 2)}
    return DataSet(LABELS, {split: make_rows(n, seed=own, longest=longest) for split, (n, own) in counts.items()})


def write_checkpoint(target: Path, labels: int = len(LABELS)) -> Path:
    """A random tiny BERT with a tokenizer that knows the words above; the same files whenever it is called."""
    texts = [" ".join((*FILLERS, *words)) for words in KEYWORDS.values()]
    make_checkpoint(target, texts, labels)
    _settle_vocabulary(target)
    return target


def _settle_vocabulary(target: Path) -> None:
    """Give the tokenizer the words themselves: which pieces it learns of equally frequent ones is left to chance."""
    raw = json.loads((target / "tokenizer.json").read_text())
    special = [token["content"] for token in raw["added_tokens"]]
    words = sorted({*FILLERS, *(word for group in KEYWORDS.values() for word in group)})
    size = len(raw["model"]["vocab"])  # that of the embeddings
    vocabulary = [*special, *words, *(f"[unused{number}]" for number in range(size))][:size]
    raw["model"]["vocab"] = {word: number for number, word in enumerate(vocabulary)}
    (target / "tokenizer.json").write_text(json.dumps(raw))
    (target / "vocab.txt").write_text("".join(f"{word}\n" for word in vocabulary))


def random_model(
    shape: EncoderShape = SHAPE, labels: int = 8, *, seed: int = 0, dropout: float = 0.1
) -> ElasticClassifier:
    """A model with weights large enough that every subnet answers something else; in eval mode."""
    torch.manual_seed(seed)
    model = ElasticClassifier(shape, labels, dropout=Dropout(0.1, 0.1))
    scatter(model)
    return model.eval()


@torch.no_grad()
def scatter(model: TaskModel) -> None:
    """Draw every weight anew so that values keep their size from layer to layer, and no two are alike."""
    for name, parameter in model.named_parameters():
        if "norm.weight" in name:
            parameter.normal_(1, 0.2)
        elif name.startswith("embeddings"):
            parameter.normal_(0, 1)
        elif parameter.ndim == 1:
            parameter.normal_(0, 0.3)
        else:
            parameter.normal_(0, parameter.shape[1] ** -0.5)


def random_batch(
    lengths: Sequence[int], shape: EncoderShape = SHAPE, *, labels: int = 8, seed: int = 0, pad_id: int = 0
) -> Batch:
    """Rows of these lengths with random ids and types, padded to the longest."""
    source = torch.Generator().manual_seed(seed)
    size = (len(lengths), max(lengths))
    mask = (torch.arange(size[1])[None, :] < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(1, shape.vocabulary, size, generator=source) * mask + pad_id * (1 - mask)
    types = torch.randint(0, max(1, shape.types), size, generator=source) * mask
    answers = torch.randint(0, labels, (len(lengths),), generator=source)
    return Batch(ids, mask, types, answers, torch.arange(len(lengths)))


def encoded_rows(count: int, shape: EncoderShape = SHAPE, *, labels: int = 8) -> EncodedRows:
    """Rows of 1 to 20 random tokens."""
    lengths = [1 + number * 7 % 20 for number in range(count)]
    batch = random_batch(lengths, shape, labels=labels)
    ids, types = (
        tuple(tensor[row, :length].numpy() for row, length in enumerate(lengths))
        for tensor in (batch.input_ids, batch.token_type_ids)
    )
    return EncodedRows(ids, types, batch.labels.numpy(), pad_id=0, pad_type_id=0, truncated=0)
