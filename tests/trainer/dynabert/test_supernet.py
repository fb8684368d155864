"""A supernet in a loop of one's own: converted, sampled, distilled and saved."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from gearshift.__main__ import main
from gearshift.errors import InputError, ModelError
from gearshift.runtime.space.space import cut_space
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.trainer.data.batches import encode
from gearshift.trainer.dynabert.supernet import Supernet
from gearshift.trainer.learning.importance import measure_importance
from gearshift.trainer.model.checkpoint import load_checkpoint
from gearshift.trainer.model.elastic import ElasticClassifier
from gearshift.trainer.model.run import load_supernet
from tests.trainer.encoders import ENCODERS, HEADS, answer_of, batch_for, write_model
from tests.trainer.tiny import LABELS, SHAPE, make_data, random_batch, scatter

GRID = uniform_grid(SHAPE)


def tiny_model(path: Path, **how: Any) -> Any:
    """The tiny checkpoint as a classifier whose subnets are far apart."""
    torch.manual_seed(0)
    labels = {"id2label": dict(enumerate(LABELS)), "label2id": {name: place for place, name in enumerate(LABELS)}}
    model = transformers.AutoModelForSequenceClassification.from_pretrained(path, **{**labels, **how})
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "embeddings" not in name:
                parameter.normal_(0, parameter.shape[1] ** -0.5)
    return model.eval()


def inputs_of(path: Path, count: int = 16) -> dict[str, Tensor]:
    """Return what a tokenizer gives for the first training rows, with labels."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    rows = make_data().splits["train"][:count]
    made = tokenizer([row.text for row in rows], padding=True, return_tensors="pt")
    return {**made, "labels": torch.tensor([LABELS.index(str(row.label)) for row in rows])}


@pytest.fixture(scope="module")
def model(checkpoint_path: Path) -> Any:
    return tiny_model(checkpoint_path)


@pytest.fixture(scope="module")
def inputs(checkpoint_path: Path) -> dict[str, Tensor]:
    return inputs_of(checkpoint_path)


@pytest.mark.parametrize(
    ("encoder", "head"),
    [*((encoder, "classification") for encoder in ENCODERS), *(("BERT", head) for head in HEADS)],
)
def test_any_supported_model_is_converted_in_a_line_and_answers_as_before(
    tmp_path: Path, encoder: str, head: str
) -> None:
    model = write_model(tmp_path, encoder, HEADS[head])
    if HEADS[head].task == "embedding":
        model = transformers.AutoModel.from_pretrained(tmp_path).eval()  # knows where its pooling is written down
    supernet = Supernet.convert(model).eval()
    assert supernet.task == HEADS[head].task
    batch = batch_for(model, supernet.model.shape, [5, 9, 1])
    found = supernet({"input_ids": batch.input_ids, "attention_mask": batch.attention_mask,
                      "token_type_ids": batch.token_type_ids}).logits  # fmt: skip
    real = batch.attention_mask.bool() if found.ndim == 3 else slice(None)
    assert torch.allclose(found[real], answer_of(model, batch, HEADS[head])[real], atol=1e-5)


def test_an_embedding_model_pools_as_it_is_told_where_nothing_is_written_beside_it(tmp_path: Path) -> None:
    model = write_model(tmp_path, "BERT", HEADS["embedding, first token"])
    for name in ("", "owner/on-the-hub"):
        model.config.name_or_path = name
        with pytest.raises(ModelError, match=r"has no modules\.json, .*; pass pooling='mean' or pooling='first'$"):
            Supernet.convert(model)
    with pytest.raises(InputError, match=r"pooling: expected one or several of first, max, .*, got 'median'"):
        Supernet.convert(model, pooling="median")
    batch = batch_for(model, Supernet.convert(model, pooling="mean").model.shape, [5, 9, 1])
    for head in ("embedding, mean", "embedding, first token"):
        supernet = Supernet.convert(model, pooling=HEADS[head].pooling).eval()
        assert torch.allclose(supernet(batch).logits, answer_of(model, batch, HEADS[head]), atol=1e-5)


def test_its_weights_are_its_own(model: Any, inputs: dict[str, Tensor]) -> None:
    supernet = Supernet.convert(model).eval()
    before = supernet(inputs).logits
    changed = {name: weight.clone() for name, weight in model.state_dict().items()}
    with torch.no_grad():
        supernet.model.classifier.bias.add_(1)
    assert all(torch.equal(changed[name], weight) for name, weight in model.state_dict().items())
    assert torch.allclose(supernet(inputs).logits, before + 1)


def test_ranking_changes_no_output_and_sorts_by_importance(model: Any, inputs: dict[str, Tensor]) -> None:
    supernet = Supernet.convert(model).eval()
    before = supernet(inputs)
    subnet_before = supernet(inputs, GRID["w025-d100"]).logits
    supernet.rank([inputs])
    after = supernet(inputs)
    assert torch.allclose(after.logits, before.logits, atol=1e-5)
    for one, other in zip(after.hidden, before.hidden, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    assert not torch.allclose(supernet(inputs, GRID["w025-d100"]).logits, subnet_before, atol=1e-2)
    scores = measure_importance(supernet.model, [supernet.as_batch(inputs)])
    assert (scores.neurons.diff(dim=1) <= 1e-5 * scores.neurons.max()).all()


def test_the_loop_of_the_docstring_brings_every_subnet_nearer(
    model: Any, inputs: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    supernet = Supernet.convert(model, sampling="all")
    optimizer = torch.optim.AdamW(supernet.parameters(), 1e-3)

    @torch.no_grad()
    def distances() -> list[float]:
        targets = supernet.eval().teach(inputs)
        return [float(supernet.distill_loss(supernet(inputs, s), targets, s)) for s in supernet.subnets.values()]

    before, passes = distances(), 0
    really_forward = ElasticClassifier.forward

    def forward(*arguments: Any) -> Any:
        nonlocal passes
        passes += 1
        return really_forward(*arguments)

    supernet.train()
    monkeypatch.setattr(ElasticClassifier, "forward", forward)
    for _ in range(8):
        targets = supernet.teach(inputs)
        for subnet in supernet.sample():
            supernet.distill_loss(supernet(inputs, subnet), targets, subnet).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    assert passes == 8 * (12 + 1)
    nearer = [after < old for after, old in zip(distances(), before, strict=True)]
    assert all(nearer[1:])  # the first is the teacher itself


def test_a_renewed_teacher_is_the_model_as_it_is_now(model: Any, inputs: dict[str, Tensor]) -> None:
    supernet = Supernet.convert(model).eval()
    full = supernet.model.full
    with torch.no_grad():
        supernet.model.classifier.bias.add_(1)
        assert not torch.allclose(supernet.teach(inputs).of(full).logits, supernet(inputs).logits)
        supernet.renew_teacher()
        assert torch.equal(supernet.teach(inputs).of(full).logits, supernet(inputs).logits)


def test_stages_of_progressive_shrinking_draw_widths_then_depths_then_both(model: Any) -> None:
    supernet = Supernet.convert(model, sampling="all")
    names = {subnet: name for name, subnet in supernet.subnets.items()}
    drawn = {stage: [names[one] for one in supernet.sample(stage)] for stage in ("width", "depth-only", "depth")}
    assert drawn["width"] == ["w025-d100", "w050-d100", "w075-d100", "w100-d100"]
    assert drawn["depth-only"] == ["w100-d050", "w100-d075", "w100-d100"]
    assert sorted(drawn["depth"]) == sorted(GRID)


def test_draws_go_on_by_themselves_or_are_those_of_a_step(model: Any) -> None:
    one, other = (Supernet.convert(model, random_subnets=2) for _ in range(2))
    drawn = [one.sample() for _ in range(10)]
    assert drawn == [other.sample(step=step) for step in range(10)]
    assert len({tuple(step) for step in drawn}) > 5


def test_a_space_has_options_of_each_layer(model: Any) -> None:
    space = cut_space(SHAPE, list(GRID.values()), 1)
    supernet = Supernet.convert(model, space, random_subnets=3)
    assert list(supernet.subnets) == ["w100-d100", "w025-d100"]
    uneven = 0
    for _ in range(50):
        smallest, *between, largest = supernet.sample()
        assert (smallest, largest) == (GRID["w025-d100"], GRID["w100-d100"])
        for subnet in between:
            space.choice(subnet)  # raises where it is not of the space
            uneven += len(set(subnet.layers)) > 1
    assert uneven > 100


def test_what_cannot_be_converted_says_what_can(tmp_path: Path, model: Any) -> None:
    sizes = {"n_layer": 1, "n_head": 2, "n_embd": 8, "vocab_size": 20}
    other = transformers.GPT2ForSequenceClassification(transformers.GPT2Config(**sizes))
    with pytest.raises(ModelError, match="architecture 'gpt2' is not supported; expected one of bert, roberta"):
        Supernet.convert(other)
    with pytest.raises(ModelError, match="BertForMaskedLM: expected a class that ends in one of ForQuestionAnswering"):
        Supernet.convert(transformers.BertForMaskedLM(model.config))
    with pytest.raises(InputError, match="is no subnet of a model with"):
        Supernet.convert(model, [Subnet(((9, 9),))])
    with pytest.raises(InputError, match="stage: expected one of width, depth-only, depth, got 'breadth'"):
        Supernet.convert(model).sample("breadth")


def test_a_given_teacher_teaches_also_after_ranking(
    checkpoint_path: Path, model: Any, inputs: dict[str, Tensor]
) -> None:
    teacher = copy.deepcopy(model)
    with torch.no_grad():
        teacher.classifier.bias += torch.tensor([1.0, 2.0, 3.0])
    supernet = Supernet.convert(model, teacher=teacher)
    supernet.rank([inputs])
    full = supernet.model.full
    with torch.no_grad():
        expected = teacher(**{name: value for name, value in inputs.items() if name != "labels"}).logits
        assert torch.allclose(supernet.teach(inputs).of(full).logits, expected, atol=1e-5)
        assert not torch.allclose(supernet.eval()(inputs).logits, expected, atol=0.5)
    assert sum(weight.numel() for weight in supernet.parameters()) == sum(w.numel() for w in model.parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 2}, "expected the layers of the model, 4, found 2; give a fine-tuned model of the same"),
        ({"num_labels": 2}, "expected the labels of the model, .*mild.*, found .*LABEL_1"),
        ({"vocab_size": 19}, "expected the vocabulary of the model"),
        ({"max_position_embeddings": 8}, "expected the positions of the model, .*, found 8; give a fine-tuned"),
    ],
)
def test_a_teacher_of_another_architecture_is_refused(model: Any, changes: dict[str, int], message: str) -> None:
    config = copy.deepcopy(model.config)
    config.update(changes)
    with pytest.raises(ModelError, match=message):
        Supernet.convert(model, teacher=transformers.BertForSequenceClassification(config))
    with pytest.raises(InputError, match="a given teacher has no sorted widths"):
        Supernet.convert(model, teacher=model, same_width_teacher=True)


def test_a_teacher_of_the_same_sizes_but_another_kind_is_refused(model: Any) -> None:
    own = model.config
    config = transformers.DistilBertConfig(
        vocab_size=own.vocab_size,
        dim=own.hidden_size,
        hidden_dim=own.intermediate_size,
        n_layers=own.num_hidden_layers,
        n_heads=own.num_attention_heads,
        max_position_embeddings=own.max_position_embeddings,
        id2label=own.id2label,
        label2id=own.label2id,
    )
    with pytest.raises(ModelError, match="expected the architecture of the model, bert, found distilbert"):
        Supernet.convert(model, teacher=transformers.DistilBertForSequenceClassification(config))


def test_padding_in_front_is_refused(model: Any, inputs: dict[str, Tensor]) -> None:
    turned = {name: tensor.flip(1) if tensor.ndim == 2 else tensor for name, tensor in inputs.items()}
    with pytest.raises(InputError, match="expected padding behind the tokens, found it before them; pad on the right"):
        Supernet.convert(model)(turned)


def test_hidden_states_weigh_as_a_stage_says(model: Any, inputs: dict[str, Tensor]) -> None:
    supernet, subnet = Supernet.convert(model).eval(), GRID["w050-d050"]
    with torch.no_grad():
        output, targets = supernet(inputs, subnet), supernet.teach(inputs)
        answers, tenth = (
            float(supernet.distill_loss(output, targets, subnet, hidden_weight=weight)) for weight in (0.0, 0.1)
        )
        whole = float(supernet.distill_loss(output, targets, subnet))
    assert whole > answers
    assert tenth == pytest.approx(answers + 0.1 * (whole - answers), rel=1e-5)


def test_what_the_model_does_not_take_is_one_line(tmp_path: Path, model: Any, inputs: dict[str, Tensor]) -> None:
    supernet = Supernet.convert(model)
    with pytest.raises(InputError, match=r"^rank: expected batches with labels, by whose loss"):
        supernet.rank([{name: value for name, value in inputs.items() if name != "labels"}])
    questions = Supernet.convert(write_model(tmp_path, "BERT", HEADS["question answering"]))
    with pytest.raises(InputError, match=r"^rank: expected batches with start_positions and end_positions"):
        questions.rank([{"input_ids": torch.ones(2, 5, dtype=torch.int64)}])
    for batch in ({"input_ids": torch.ones(2, 33, dtype=torch.int64)}, random_batch([33])):
        with pytest.raises(InputError, match=r"^batch: 33 tokens are more than the model's 32 positions; truncate"):
            supernet(batch)
    numbers = copy.deepcopy(model)
    numbers.config.problem_type = "regression"
    with pytest.raises(ModelError, match=r"^BertFor.*: for regression expected 1 labels, got 3; set"):
        Supernet.convert(numbers)


def test_a_batch_of_ours_will_do_too(model: Any) -> None:
    batch = random_batch([4, 7])
    supernet = Supernet.convert(model).eval()
    assert torch.equal(supernet(batch).logits, supernet.model(batch, supernet.model.full).logits)


@pytest.mark.parametrize(
    ("head", "given", "expected"),
    [
        ("regression", {"labels": torch.tensor([[1], [2]])}, torch.tensor([1.0, 2.0])),
        (
            "question answering",
            {"start_positions": torch.tensor([1, 2]), "end_positions": torch.tensor([3, 4])},
            torch.tensor([[1, 3], [2, 4]]),
        ),
        ("classification", {}, torch.zeros(2, 0)),
    ],
)
def test_labels_are_read_as_transformers_has_them(
    tmp_path: Path, head: str, given: dict[str, Tensor], expected: Tensor
) -> None:
    supernet = Supernet.convert(write_model(tmp_path, "BERT", HEADS[head]))
    assert torch.equal(supernet.as_batch({"input_ids": torch.ones(2, 5, dtype=torch.int64), **given}).labels, expected)


def test_a_saved_supernet_is_a_run_that_export_takes(
    checkpoint_path: Path, tmp_path: Path, inputs: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    supernet = Supernet.convert(tiny_model(checkpoint_path), [GRID["w100-d100"], GRID["w050-d050"]]).eval()
    scatter(supernet.model)
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint_path)
    supernet.save(tmp_path / "run", tokenizer, max_length=16, accuracies={"w100-d100": 0.5})
    run = load_supernet(tmp_path / "run")
    assert (run.subnets, run.accuracies, run.checkpoint.labels) == (supernet.subnets, {"w100-d100": 0.5}, LABELS)
    with torch.no_grad():
        for subnet in run.subnets.values():
            expected = supernet(inputs, subnet).logits
            assert torch.allclose(run.checkpoint.model.eval()(supernet.as_batch(inputs), subnet).logits, expected)
    rows = make_data().splits["test"]
    data = tmp_path / "test.tsv"
    data.write_text("sentence\tlabel\n" + "".join(f"{row.text}\t{row.label}\n" for row in rows))
    made = tmp_path / "made.gearshift"
    assert main(["export", str(run.path), "--data", str(data), "-o", str(made), "--precision", "fp32"]) == 0
    assert "fp32 logits within" in capsys.readouterr().out
    assert encode(rows, LABELS, load_checkpoint(run.path, LABELS).tokenizer, max_length=16).truncated == 0
