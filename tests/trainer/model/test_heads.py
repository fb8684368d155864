"""Weights of several heads: written beside the encoder, read with it, and refused where they do not belong to it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import safetensors.torch
import torch
import transformers

from gearshift.errors import InputError, ModelError
from gearshift.trainer.data.heads import DataHead
from gearshift.trainer.data.splits import DataSet
from gearshift.trainer.dynabert.settings import Settings
from gearshift.trainer.dynabert.train import train_supernet
from gearshift.trainer.model.checkpoint import Checkpoint, load_checkpoint
from gearshift.trainer.model.head_files import HEADS_FILE
from gearshift.trainer.model.run import Run, load_supernet, save_run
from tests.trainer.heads import make_heads_data
from tests.trainer.tiny import SETTINGS, random_batch, write_checkpoint


@pytest.fixture
def data(tmp_path: Path) -> DataSet:
    return make_heads_data(tmp_path / "data")


@pytest.fixture
def checkpoint(tmp_path: Path, data: DataSet) -> Checkpoint:
    torch.manual_seed(0)
    return load_checkpoint(write_checkpoint(tmp_path / "model"), task="multi-task", heads=data.heads)


@pytest.fixture
def run(tmp_path: Path, checkpoint: Checkpoint) -> Run:
    subnets = checkpoint.model.grid((1.0, 0.5), (1.0,))
    save_run(tmp_path / "run", checkpoint, subnets=subnets, accuracies={}, facts={"max_length": 16})
    return load_supernet(tmp_path / "run")


def test_a_run_has_the_encoder_for_transformers_and_the_heads_beside_it(run: Run, checkpoint: Checkpoint) -> None:
    assert run.checkpoint.heads == checkpoint.heads and run.task == "multi-task" and run.labels == ()
    batch = random_batch([5, 3], checkpoint.model.shape)
    with torch.no_grad():
        for subnet in run.subnets.values():
            before = checkpoint.model.eval()(batch, subnet).logits
            after = run.checkpoint.model.eval()(batch, subnet).logits
            assert len(before) == 2
            for one, other in zip(before, after, strict=True):
                assert torch.equal(one, other)
        states = transformers.AutoModel.from_pretrained(run.path).eval()(
            batch.input_ids, batch.attention_mask, batch.token_type_ids
        )
        wanted = checkpoint.model(batch, checkpoint.model.full).hidden[-1]
    real = batch.attention_mask.bool()
    assert torch.allclose(states.last_hidden_state[real], wanted[real], atol=1e-5)


def test_heads_of_the_same_labels_are_kept_and_others_made_anew(run: Run, data: DataSet) -> None:
    assert load_checkpoint(run.path, task="multi-task", heads=data.heads).has_classifier
    first, second = data.heads
    for heads in (
        (second, first),
        (dataclasses.replace(first, name="kind"), second),
        (DataHead("intent", "classification", ("cold", "mild")), second),
    ):
        assert not load_checkpoint(run.path, task="multi-task", heads=heads).has_classifier


def test_a_run_whose_heads_are_gone_or_of_another_shape_is_refused(run: Run) -> None:
    file = run.path / HEADS_FILE
    content = file.read_bytes()
    weights = safetensors.torch.load(content)
    with safetensors.safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
    weights["1.classifier.weight"] = weights["1.classifier.weight"][:2]
    file.write_bytes(safetensors.torch.save(weights, metadata))
    with pytest.raises(ModelError, match=r"heads\.safetensors: expected the heads of the model beside it.*1\.class"):
        load_supernet(run.path)
    weights["1.classifier.weight"] = torch.full((5, 32), torch.nan)
    file.write_bytes(safetensors.torch.save(weights, metadata))
    with pytest.raises(ModelError, match="expected finite weights"):
        load_supernet(run.path)
    file.write_bytes(content[:100])
    with pytest.raises(ModelError, match=r"heads\.safetensors: expected the weights of heads"):
        load_supernet(run.path)
    file.unlink()
    with pytest.raises(ModelError, match="its labels are not those of the model beside it; train again"):
        load_supernet(run.path)


def test_a_checkpoint_without_the_heads_must_be_taught(tmp_path: Path, checkpoint: Checkpoint, data: DataSet) -> None:
    settings = dataclasses.replace(SETTINGS, teacher_epochs=0)
    with pytest.raises(ModelError, match="has no head for multi-task; set teacher_epochs above 0 to train one"):
        train_supernet(checkpoint.source, data, settings, tmp_path / "out")


def test_weights_of_heads_are_one_for_each(tmp_path: Path, checkpoint: Checkpoint, data: DataSet) -> None:
    settings = dataclasses.replace(SETTINGS, head_weights=(1.0, 2.0, 3.0))
    with pytest.raises(InputError, match="head_weights: expected one for each of 2 heads, got 3"):
        train_supernet(checkpoint.source, data, settings, tmp_path / "out")
    with pytest.raises(InputError, match="head_weights: expected numbers above 0"):
        Settings(head_weights=(1.0, 0.0))


def test_a_training_continues_where_it_was_interrupted(
    tmp_path: Path, checkpoint: Checkpoint, data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(SETTINGS, width_epochs=0, widths=(1.0, 0.5), depths=(1.0,), head_weights=(1.0, 2.0))
    whole = train_supernet(checkpoint.source, data, settings, tmp_path / "whole")
    model, count = type(checkpoint.model), 0
    really = model.forward

    def forward(*arguments: object) -> object:
        nonlocal count
        count += 1
        if count == 13:  # of the depth stage: five steps of the teacher and two batches that rank lie before
            raise KeyboardInterrupt
        return really(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(model, "forward", forward)
    with pytest.raises(KeyboardInterrupt):
        train_supernet(checkpoint.source, data, settings, tmp_path / "again")
    again = train_supernet(checkpoint.source, data, settings, tmp_path / "again")
    for name, tensor in whole.checkpoint.model.state_dict().items():
        assert torch.equal(again.checkpoint.model.state_dict()[name], tensor), name
