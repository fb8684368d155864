"""Makes tests/data/tiny.gearshift: the demo's task in a few hundred kB, so that runtime tests need no torch.

    python -m tests.data.make_tiny_bundle

A BERT of 4 layers, 4 heads and hidden size 32 is trained from scratch on the demo's commands.
"""

from __future__ import annotations

import itertools
import random
import tempfile
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from examples.demo.commands import Utterance, generate, write
from gearshift.export.pipeline import export_bundle
from gearshift.trainer.data.splits import DataSet, read_data
from gearshift.trainer.dynabert.settings import Settings
from gearshift.trainer.dynabert.train import train_supernet

TARGET = Path(__file__).parent / "tiny.gearshift"
VOCABULARY = 500
SETTINGS = Settings(
    max_length=32,
    batch_size=64,
    teacher_epochs=12,
    width_epochs=5,
    depth_epochs=8,
    teacher_lr=3e-3,
    width_lr=2e-3,
    depth_lr=2e-3,
    random_subnets=1,
)


def make_checkpoint(target: Path, texts: list[str], labels: int) -> None:
    """Write a random tiny BERT and a tokenizer learnt from the texts, as a Hugging Face checkpoint."""
    torch.manual_seed(0)
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=special))
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    transformers.BertTokenizerFast(tokenizer_object=tokenizer, mask_token="[MASK]", **names).save_pretrained(target)
    config = transformers.BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=32,
        num_labels=labels,
    )
    transformers.BertForSequenceClassification(config).save_pretrained(target)


def _mixed(splits: dict[str, list[Utterance]]) -> dict[str, list[Utterance]]:
    """Return the same rows with the wordings shared out anew: a net this small cannot guess wordings it never saw."""
    rows = [row for split in splits.values() for row in split]
    random.Random(0).shuffle(rows)
    ends = list(itertools.accumulate(len(split) for split in splits.values()))
    return {name: rows[end - len(splits[name]) : end] for name, end in zip(splits, ends, strict=True)}


def make(target: Path, settings: Settings = SETTINGS, *, train: int = 6000, test: int = 1500) -> None:
    """Train, export and write the bundle; one thread, since matrices this small gain nothing from a second."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write(folder / "data", _mixed(generate(train=train, test=test)))
        data: DataSet = read_data(folder / "data")
        make_checkpoint(folder / "model", [row.text for row in data.splits["train"]], len(data.labels))
        run = train_supernet(folder / "model", data, settings, folder / "run")
        export_bundle(run, target, data.splits["test"], licence="Apache-2.0")


if __name__ == "__main__":
    make(TARGET)
