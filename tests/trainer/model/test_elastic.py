"""The elastic encoder against transformers' own, and every subnet against a net that is cut by hand."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import transformers

from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.trainer.data.batches import Batch
from gearshift.trainer.model.elastic import ElasticClassifier, Output
from gearshift.trainer.model.names import to_checkpoint
from tests.trainer import oracle
from tests.trainer.tiny import SHAPE, random_batch, random_model

GRID = uniform_grid(SHAPE)
UNEVEN = Subnet(((3, 17), (0, 0), (1, 64), (4, 1)))
LENGTHS = [[1], [2], [32], [7, 32, 1, 20]]
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def model() -> ElasticClassifier:
    return random_model()


def run(model: ElasticClassifier, batch: Batch, subnet: Subnet) -> Output:
    with torch.no_grad():
        output: Output = model(batch, subnet)
    return output


def transformers_twin(model: ElasticClassifier) -> transformers.BertForSequenceClassification:
    shape = model.shape
    config = transformers.BertConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.neurons,
        max_position_embeddings=shape.positions,
        num_labels=8,
    )
    twin = transformers.BertForSequenceClassification(config).eval()
    twin.load_state_dict(to_checkpoint(model.state_dict(), "bert"))
    return twin


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_the_full_subnet_answers_as_transformers_does_in_every_layer(
    model: ElasticClassifier, lengths: list[int]
) -> None:
    batch = random_batch(lengths)
    mine = run(model, batch, model.full)
    with torch.no_grad():
        theirs = transformers_twin(model)(
            batch.input_ids, batch.attention_mask, batch.token_type_ids, output_hidden_states=True
        )
    assert (mine.logits - theirs.logits).abs().max() < TOLERANCE
    assert len(mine.hidden) == len(theirs.hidden_states) == SHAPE.layers + 1
    real = batch.attention_mask.bool()
    for ours, other in zip(mine.hidden, theirs.hidden_states, strict=True):
        assert (ours - other)[real].abs().max() < TOLERANCE


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("subnet", [*GRID.values(), UNEVEN], ids=[*GRID, "uneven"])
def test_a_subnet_answers_as_a_net_that_was_cut_to_its_size(
    model: ElasticClassifier, subnet: Subnet, lengths: list[int]
) -> None:
    batch = random_batch(lengths)
    small = oracle.cut(to_checkpoint(model.state_dict(), "bert"), subnet, SHAPE.head_size)
    ids, mask, types = (tensor.numpy() for tensor in (batch.input_ids, batch.attention_mask, batch.token_type_ids))
    logits, states = oracle.forward(small, ids, mask, types, head_size=SHAPE.head_size, eps=model.norm_eps)
    mine = run(model, batch, subnet)
    assert np.abs(mine.logits.numpy() - logits).max() < TOLERANCE
    assert len(mine.hidden) == len(states)
    for ours, other in zip(mine.hidden, states, strict=True):
        assert np.abs(ours.numpy() - other)[mask == 1].max() < TOLERANCE


def test_every_subnet_answers_something_else(model: ElasticClassifier) -> None:
    batch = random_batch([9, 4])
    answers = {name: run(model, batch, subnet).logits for name, subnet in GRID.items()}
    for (one, mine), (other, theirs) in itertools.combinations(answers.items(), 2):
        assert (mine - theirs).abs().max() > 1000 * TOLERANCE, f"{one} and {other}"


@pytest.mark.parametrize("name", ["w100-d100", "w025-d050"])
def test_padding_changes_nothing(model: ElasticClassifier, name: str) -> None:
    alone = random_batch([6])
    padded = random_batch([6, 30], pad_id=5)
    padded.input_ids[0, :6] = alone.input_ids[0]
    padded.token_type_ids[0, :6] = alone.token_type_ids[0]
    short, long = run(model, alone, GRID[name]), run(model, padded, GRID[name])
    assert (short.logits[0] - long.logits[0]).abs().max() < TOLERANCE
    assert (short.hidden[-1][0] - long.hidden[-1][0, :6]).abs().max() < TOLERANCE


def test_a_head_gate_of_zero_takes_that_head_out(model: ElasticClassifier) -> None:
    batch = random_batch([9, 4])
    gates = torch.ones(SHAPE.layers, SHAPE.heads)
    with torch.no_grad():
        assert torch.equal(model(batch, model.full, gates).logits, model(batch, model.full).logits)
        gates[1, 3] = 0
        gated = model(batch, model.full, gates).logits
    without = Subnet(((4, 64), (3, 64), (4, 64), (4, 64)))
    assert (gated - run(model, batch, without).logits).abs().max() < TOLERANCE


def test_dropout_acts_in_training_only(model: ElasticClassifier) -> None:
    batch = random_batch([9, 4])
    assert torch.equal(run(model, batch, model.full).logits, run(model, batch, model.full).logits)
    training = random_model().train()
    assert not torch.equal(run(training, batch, model.full).logits, run(training, batch, model.full).logits)


def test_running_a_subnet_leaves_nothing_in_the_model(model: ElasticClassifier) -> None:
    def everything() -> list[object]:
        return [
            {name: value for name, value in vars(module).items() if not name.startswith("_")}
            for module in model.modules()
        ] + [[name for name, _ in (*model.named_parameters(), *model.named_buffers())]]

    before, weights = everything(), {name: tensor.clone() for name, tensor in model.state_dict().items()}
    run(model, random_batch([3, 8]), UNEVEN)
    assert everything() == before
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


def test_threads_can_run_different_subnets_of_one_model(model: ElasticClassifier) -> None:
    batch = random_batch([9, 32, 4])
    expected = {name: run(model, batch, subnet).logits for name, subnet in GRID.items()}
    names = list(GRID) * 20
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda name: run(model, batch, GRID[name]).logits, names))
    for name, logits in zip(names, found, strict=True):
        assert (logits - expected[name]).abs().max() < TOLERANCE, name
