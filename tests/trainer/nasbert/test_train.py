"""One net on text: it learns hidden states or masked words, goes on after an interruption, and is written whole."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import transformers

from gearshift.errors import InputError, ModelError
from gearshift.runtime.space.blocks import Block, BlockSubnet
from gearshift.trainer.nasbert import train as student_module
from gearshift.trainer.nasbert.masked import mask_words, teacher_head
from gearshift.trainer.nasbert.teacher import TeacherEncoder, load_teacher
from gearshift.trainer.nasbert.train import train_net
from tests.trainer.nasbert.tiny import NET
from tests.trainer.tiny import random_batch

SUBNET = BlockSubnet((Block(16, ("attention", "conv3")), Block(24, ("ffn",))))
MASKED = dataclasses.replace(NET, objective="masked")


def test_a_net_learns_the_teachers_states(teacher: TeacherEncoder, text: Path, tmp_path: Path) -> None:
    runs = [
        train_net(SUBNET, teacher, [text], dataclasses.replace(NET, epochs=epochs), tmp_path / f"{epochs}")
        for epochs in (0, 20)
    ]
    before, after = (run.facts["dev_loss"] for run in runs)
    assert after < 0.9 * before
    run = runs[1]
    assert run.subnets == {"16MS3-24F": SUBNET} and run.accuracies == {}
    assert run.checkpoint.task == "embedding" and run.checkpoint.model.shape.embedding == 16
    assert run.checkpoint.model.dropout == teacher.checkpoint.model.dropout


def test_an_interrupted_training_gives_the_same_net(
    teacher: TeacherEncoder, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(NET, save_every_s=0, dropout=0.1)
    whole = train_net(SUBNET, teacher, [text], settings, tmp_path / "whole")
    real = student_module._hidden_loss
    left = [5]

    def stopping(*given: object) -> object:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(student_module, "_hidden_loss", stopping)
    with pytest.raises(KeyboardInterrupt):
        train_net(SUBNET, teacher, [text], settings, tmp_path / "again")
    left[0] = 10**6
    again = train_net(SUBNET, teacher, [text], settings, tmp_path / "again")
    mine, its = (run.checkpoint.model.state_dict() for run in (again, whole))
    assert all(torch.equal(mine[name], tensor) for name, tensor in its.items())


def test_without_the_teacher_it_learns_masked_words(teacher: TeacherEncoder, text: Path, tmp_path: Path) -> None:
    alone = dataclasses.replace(MASKED, distilled=False, embeddings_from="random")
    losses = [
        train_net(SUBNET, teacher, [text], dataclasses.replace(alone, epochs=e), tmp_path / f"{e}").facts["dev_loss"]
        for e in (0, 10)
    ]
    assert losses[1] < losses[0] - 0.5


def config_of(kind: str, vocabulary: int) -> transformers.PretrainedConfig:
    sizes = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 40,
    }
    if kind == "distilbert":
        return transformers.DistilBertConfig(
            vocab_size=vocabulary, dim=32, n_layers=4, n_heads=4, hidden_dim=64, max_position_embeddings=40
        )
    if kind == "electra":
        return transformers.ElectraConfig(**sizes, embedding_size=24)
    return {"bert": transformers.BertConfig, "roberta": transformers.RobertaConfig}[kind](**sizes)


@pytest.fixture(scope="module", params=["bert", "roberta", "distilbert", "electra"])
def guesser(request: pytest.FixtureRequest, teacher: TeacherEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random encoder with a head for masked words, and the tiny tokenizer."""
    torch.manual_seed(0)
    config = config_of(request.param, teacher.checkpoint.model.shape.vocabulary)
    target = tmp_path_factory.mktemp(request.param) / "guesser"
    model = transformers.AutoModelForMaskedLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(target)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        if (teacher.checkpoint.source / name).is_file():
            (target / name).write_bytes((teacher.checkpoint.source / name).read_bytes())
    return target


def test_the_teachers_head_gives_what_transformers_gives(guesser: Path) -> None:
    head, words = teacher_head(guesser)
    model = load_teacher(guesser).checkpoint.model.eval()
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(guesser).eval()
    batch = random_batch([9, 9], model.shape, pad_id=0)
    batch = dataclasses.replace(batch, token_type_ids=torch.zeros_like(batch.token_type_ids))
    batch.input_ids[batch.input_ids == 1] = 5  # RoBERTa's pad id, at which its positions stop
    with torch.no_grad():
        found = head(model(batch, model.full).hidden[-1], words)
        expected = theirs(batch.input_ids, attention_mask=batch.attention_mask).logits
    assert torch.allclose(found, expected, atol=1e-4)


def test_a_teacher_that_guesses_words_is_learnt_from(guesser: Path, text: Path, tmp_path: Path) -> None:
    teacher = load_teacher(guesser)
    losses = [
        train_net(SUBNET, teacher, [text], dataclasses.replace(MASKED, epochs=e), tmp_path / f"{e}").facts["dev_loss"]
        for e in (0, 10)
    ]
    assert losses[1] < losses[0] - 0.2


def test_a_teacher_without_such_a_head_is_refused(teacher: TeacherEncoder, text: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expected a teacher with a head for masked words"):
        train_net(SUBNET, teacher, [text], MASKED, tmp_path / "net")


def test_masked_are_so_many_tokens_and_no_special_ones() -> None:
    batch = random_batch([30] * 200)
    special = torch.tensor([1, 2, 3])
    hidden, chosen = mask_words(batch, share=0.15, mask_id=99, words=100, special=special, seed=4)
    eligible = ~torch.isin(batch.input_ids, special)
    assert not chosen[~eligible].any()
    assert float(chosen.sum() / eligible.sum()) == pytest.approx(0.15, abs=0.02)
    assert torch.equal(hidden.input_ids[~chosen], batch.input_ids[~chosen])
    assert float((hidden.input_ids[chosen] == 99).float().mean()) == pytest.approx(0.8, abs=0.06)
    assert float((hidden.input_ids[chosen] == batch.input_ids[chosen]).float().mean()) == pytest.approx(0.1, abs=0.05)
    again, _ = mask_words(batch, share=0.15, mask_id=99, words=100, special=special, seed=4)
    assert torch.equal(again.input_ids, hidden.input_ids)


def test_something_is_always_masked() -> None:
    for seed in range(20):
        _, chosen = mask_words(
            random_batch([3]), share=0.01, mask_id=99, words=100, special=torch.tensor([0]), seed=seed
        )
        assert chosen.any()


def test_a_net_of_another_number_of_blocks_is_refused(teacher: TeacherEncoder, text: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected 2 blocks, one for 2 layers of the teacher each, got 1"):
        train_net(BlockSubnet(SUBNET.layers[:1]), teacher, [text], NET, tmp_path / "net")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distilled": False}, "set objective to masked"),
        ({"objective": "words"}, "expected hidden or masked"),
        ({"embeddings_from": "nowhere"}, "embeddings_from"),
        ({"masked_share": 1.5}, "masked_share: expected a share"),
        ({"epochs": -1}, "epochs must be 0 or more"),
        ({"embedding": 0}, "embedding must be at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(NET, **change)  # type: ignore[arg-type]
