"""Checkpoints as people bring them: taken and answered as transformers does, or refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers

from gearshift.errors import ModelError
from gearshift.runtime.bundle.tasks import TASKS
from gearshift.trainer.model.checkpoint import Checkpoint, load_checkpoint
from gearshift.trainer.model.run import load_supernet, save_run
from tests.trainer.brought import (
    FORMS,
    Brought,
    Form,
    added,
    configured,
    dropped,
    pickled,
    renamed,
    sharded,
    spoilt,
    without,
)
from tests.trainer.encoders import HEADS, POSITIONS, HeadCase, add_tokenizer, answer_of, batch_for

HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def load(path: Path, head: HeadCase) -> Checkpoint:
    """Load a checkpoint for its own task and labels."""
    names = json.loads((path / "config.json").read_text()).get("id2label", {})
    labels = tuple(sorted(map(str, names.values()))) or tuple(f"LABEL_{number}" for number in range(head.outputs))
    return load_checkpoint(path, labels if TASKS[head.task].labelled else (), task=head.task)


@pytest.mark.parametrize("brought", FORMS.values(), ids=FORMS)
def test_a_checkpoint_answers_as_transformers_does(brought: Brought, checkpoint_path: Path, tmp_path: Path) -> None:
    theirs = brought.write(tmp_path)
    add_tokenizer(tmp_path, checkpoint_path)
    checkpoint = load(tmp_path, brought.head)
    assert checkpoint.has_classifier
    model = checkpoint.model.eval()
    batch = batch_for(theirs, model.shape, [17, 1, min(POSITIONS, model.shape.positions), 2])
    with torch.no_grad():
        found = model(batch, model.full).logits
    wanted = answer_of(theirs, batch, brought.head)
    real = batch.attention_mask.bool() if TASKS[brought.head.task].per_token else ...
    assert (found[real] - wanted[real]).abs().max() < 1e-5
    if checkpoint.labels:
        named = transformers.AutoConfig.from_pretrained(tmp_path).id2label
        assert checkpoint.labels == tuple(str(named[place]) for place in range(len(named)))


@pytest.mark.parametrize("encoder", ["BERT", "DistilBERT"])
@pytest.mark.parametrize("name", HALF)
def test_the_config_of_a_run_says_what_is_in_its_file(
    name: str, encoder: str, checkpoint_path: Path, tmp_path: Path
) -> None:
    brought = Brought(encoder, dtype=HALF[name])
    theirs = brought.write(tmp_path / "model")
    add_tokenizer(tmp_path / "model", checkpoint_path)
    checkpoint = load(tmp_path / "model", brought.head)
    # As training leaves it: values that the type of the source cannot represent.
    with torch.no_grad():
        checkpoint.model.classifier.bias.add_(1e-5)
    save_run(tmp_path / "run", checkpoint, subnets={}, accuracies={}, facts={})
    said = json.loads((tmp_path / "run" / "config.json").read_text())
    assert said.get("dtype", said.get("torch_dtype")) == "float32"
    auto = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "run", torch_dtype="auto").eval()
    batch = batch_for(theirs, checkpoint.model.shape, [17, 2])
    with torch.no_grad():
        expected = checkpoint.model.eval()(batch, checkpoint.model.full).logits
    assert (answer_of(auto, batch, brought.head) - expected).abs().max() < 1e-6


# Heads that are promised


LACKING: dict[str, tuple[Brought, str]] = {
    "no head": (Brought(form=dropped("classifier.")), "classifier.bias, classifier.weight"),
    "half a classifier": (Brought(form=dropped("classifier.weight")), "classifier.weight"),
    "no bias": (Brought(form=dropped("classifier.bias")), "classifier.bias"),
    "no pooler": (Brought(form=dropped("pooler")), "bert.pooler.dense.bias, bert.pooler.dense.weight"),
    "one of two layers": (Brought("RoBERTa", form=dropped("out_proj")), "classifier.out_proj.bias, .*out_proj.weight"),
    "the other of two layers": (
        Brought("ELECTRA", form=dropped("classifier.dense")), "classifier.dense.bias, classifier.dense.weight",
    ),
    "no first layer of DistilBERT": (
        Brought("DistilBERT", form=dropped("pre_classifier")), "pre_classifier.bias, pre_classifier.weight",
    ),
    "no outputs for questions": (
        Brought(head=HEADS["question answering"], form=dropped("qa_outputs")), "qa_outputs.bias, qa_outputs.weight",
    ),
    "no classifier of tokens": (
        Brought("XLM-R", HEADS["token classification"], form=dropped("classifier")),
        "classifier.bias, classifier.weight",
    ),
    "a head of more outputs than names": (
        Brought(form=configured(id2label={"0": "a", "1": "b"}, label2id={"a": 0, "b": 1})),
        "classifier.bias, classifier.weight",
    ),
    "a head of fewer outputs than names": (
        Brought(form=configured(id2label={str(n): f"{n}" for n in range(5)}, label2id={})),
        "classifier.bias, classifier.weight",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("brought", "names"), LACKING.values(), ids=LACKING)
def test_a_head_that_is_only_named_is_none(brought: Brought, names: str, checkpoint_path: Path, tmp_path: Path) -> None:
    brought.write(tmp_path)
    add_tokenizer(tmp_path, checkpoint_path)
    checkpoint = load(tmp_path, brought.head)
    assert not checkpoint.has_classifier
    assert ", ".join(checkpoint.lacking) == names.replace(".*", "classifier.")


def test_a_head_for_other_labels_is_not_said_to_be_missing(checkpoint_path: Path, tmp_path: Path) -> None:
    Brought().write(tmp_path)
    add_tokenizer(tmp_path, checkpoint_path)
    checkpoint = load_checkpoint(tmp_path, ("a", "b", "c"))
    assert (checkpoint.has_classifier, checkpoint.lacking) == (False, ())


def test_a_run_whose_head_is_gone_is_one_line(checkpoint_path: Path, tmp_path: Path) -> None:
    Brought().write(tmp_path / "model")
    add_tokenizer(tmp_path / "model", checkpoint_path)
    checkpoint = load(tmp_path / "model", HEADS["classification"])
    grid = checkpoint.model.full
    save_run(tmp_path / "run", checkpoint, subnets={"full": grid}, accuracies={}, facts={})
    dropped("classifier.bias")(tmp_path / "run")
    with pytest.raises(ModelError, match=r"model\.safetensors: has no classifier\.bias; train again$"):
        load_supernet(tmp_path / "run")


# What is refused

WORD = "bert.embeddings.word_embeddings.weight"
QUERY = "bert.encoder.layer.2.attention.self.query.bias"
TOO_LARGE = 1e5
"""A number that float16 cannot represent."""


def overflown(path: Path) -> None:
    """Weights that were saved in float16, which is too small for one of them."""
    spoilt(WORD, TOO_LARGE)(path)
    renamed(lambda name: name)(path)
    halves = {name: one.half() for name, one in torch.load(path / "pytorch_model.bin").items()}
    torch.save(halves, path / "pytorch_model.bin")


def bare(*parts: str) -> Form:
    """Weights of the encoder alone, without some of them, under the names of a model without a head."""

    def form(path: Path) -> None:
        dropped("classifier.", *parts)(path)
        renamed(lambda name: name.removeprefix("bert."))(path)

    return form


def gone(path: Path) -> None:
    sharded(path)
    (path / "model-00002-of-00003.safetensors").unlink()


def cut(path: Path) -> None:
    pickled(path)
    content = (path / "pytorch_model.bin").read_bytes()
    (path / "pytorch_model.bin").write_bytes(content[: len(content) // 2])


def pointer(path: Path) -> None:
    """The file that git leaves in place of a large file."""
    (path / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 90888945\n"
    )


REFUSED: dict[str, tuple[Form, str]] = {
    "a weight that is no number": (
        spoilt(WORD, float("nan")), rf"found NaN or infinity in {WORD} \(1 of 1920 values\)",
    ),
    "an infinite bias": (spoilt(QUERY, float("inf")), f"found NaN or infinity in {QUERY}"),
    "a head that is no number": (spoilt("classifier.weight", float("-inf")), "infinity in classifier.weight"),
    "float16 that was too small": (overflown, f"found NaN or infinity in {WORD}"),
    "float64 beyond float32": (
        added(**{WORD.replace(".", "__"): torch.full((60, 32), 1e300, dtype=torch.float64)}),
        f"found NaN or infinity in {WORD}",
    ),
    "names of DistributedDataParallel": (renamed(lambda name: f"module.{name}"), "weights of the encoder are missing"),
    "a layer that is missing": (dropped("encoder.layer.1.output.dense.bias"), "1 weights of the encoder are missing"),
    "a layer that is missing below a bare encoder": (
        bare("encoder.layer.1.output.dense.bias"), r"1 weights of the encoder are missing .*\(bert\.encoder\.layer\.1"
    ),
    "embeddings that are missing": (dropped("position_embeddings"), "1 weights of the encoder are missing"),
    "a part that is missing": (gone, "no weights that transformers can read"),
    "half a file": (cut, "no weights that transformers can read"),
    "a pointer of git": (pointer, "no weights that transformers can read"),
    "two labels of one name": (
        configured(id2label={"0": "a", "1": "b", "2": "a"}, label2id={"a": 2, "b": 1}),
        r"config\.json: id2label calls the outputs 0 and 2 'a'; give each output a name of its own",
    ),
    "two labels that read alike": (
        configured(id2label={"0": 1, "1": "b", "2": "1"}, label2id={}), "id2label calls the outputs 0 and 2 '1'",
    ),
    "ids with a gap": (
        configured(id2label={"0": "a", "1": "b", "3": "c"}, label2id={}),
        r"config\.json: id2label has the ids 0, 1, 3; expected 0 to 2, one for each output",
    ),
    "ids that begin with 1": (
        configured(id2label={"1": "a", "2": "b", "3": "c"}, label2id={}), "id2label has the ids 1, 2, 3",
    ),
    "labels that contradict each other": (
        configured(id2label={"0": "a", "1": "b", "2": "c"}, label2id={"a": 0, "b": 2, "c": 1}),
        r"config\.json: 'b' is output 1 by id2label and 2 by label2id; correct one of them",
    ),
    "ids that are no numbers": (configured(id2label={"a": 0, "b": 1, "c": 2}), "no model that transformers can read"),
    "labels in a list": (configured(id2label=["a", "b", "c"]), "no model that transformers can read|id2label"),
    "heads that are a text": (configured(num_attention_heads="4"), r"num_attention_heads|no model that transformers"),
    "a width that is no multiple": (configured(num_attention_heads=5), "num_attention_heads|multiple of"),
    "no layers": (configured(num_hidden_layers=0), "num_hidden_layers"),
    "a size that is not said": (configured(hidden_size=None), "hidden_size|no model that transformers"),
    "no type of model": (without("model_type"), "no model that transformers can read"),
    "another activation": (configured(hidden_act="mish"), "hidden_act 'mish' is not supported"),
    "a quantised model": (
        configured(quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True}), "quanti",
    ),
    "pruned heads that are a list": (configured(pruned_heads=[1]), "pruned_heads|no model that transformers"),
    "pruned heads that there are not": (configured(pruned_heads={"0": [4]}), "pruned_heads: layer 0 has no heads"),
    "pruned heads of no layer": (configured(pruned_heads={"3": [0]}), "pruned_heads: layer 3 has no heads"),
}  # fmt: skip


@pytest.mark.parametrize(("form", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_taken_is_refused_in_one_line(
    form: Form, message: str, checkpoint_path: Path, tmp_path: Path
) -> None:
    Brought().write(tmp_path)
    form(tmp_path)
    add_tokenizer(tmp_path, checkpoint_path)
    names = json.loads((tmp_path / "config.json").read_text()).get("id2label") or {"0": "LABEL_0"}
    labels = tuple(dict.fromkeys(map(str, names.values() if isinstance(names, dict) else names)))
    with pytest.raises(ModelError, match=message) as raised:
        load_checkpoint(tmp_path, labels)
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("labels", [("LABEL_0", "LABEL_1"), ("x", "y", "z")])
def test_names_that_cannot_be_told_apart_do_not_matter_for_other_labels(
    labels: tuple[str, ...], checkpoint_path: Path, tmp_path: Path
) -> None:
    Brought(form=configured(id2label={"0": "a", "1": "b", "2": "a"})).write(tmp_path)
    add_tokenizer(tmp_path, checkpoint_path)
    checkpoint = load_checkpoint(tmp_path, labels)
    assert (checkpoint.labels, checkpoint.has_classifier) == (labels, False)
