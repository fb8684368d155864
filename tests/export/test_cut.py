"""Models of transformers that are cut down to a subnet answer as the elastic model does, for every subnet."""

import copy
from pathlib import Path

import pytest
import torch

from gearshift.errors import ExportError
from gearshift.export.cut import cut_encoder
from gearshift.export.extract import small_weights
from gearshift.runtime.bundle.tasks import TASKS
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.trainer.model.configs import read_config
from gearshift.trainer.model.huggingface import load_model
from tests.trainer.encoders import CASES, ENCODERS, HEADS, POSITIONS, answer_of, batch_for, write_model

LENGTHS = ([1], [2], [17], [POSITIONS], [17, 1, POSITIONS, 2])


@pytest.mark.parametrize(("encoder", "head_name"), CASES, ids=map(", ".join, CASES))
def test_a_cut_model_answers_as_the_subnet(encoder: str, head_name: str, tmp_path: Path) -> None:
    head = HEADS[head_name]
    theirs = write_model(tmp_path, encoder, head)
    elastic = load_model(tmp_path, read_config(tmp_path), head.task, head.outputs)[0].eval()
    answers = []
    for subnet in uniform_grid(elastic.shape, (1.0, 0.5), (1.0, 0.5)).values():
        cut = copy.deepcopy(theirs)
        cut_encoder(cut, subnet)
        for lengths in LENGTHS:
            batch = batch_for(theirs, elastic.shape, lengths)
            real = batch.attention_mask.bool() if TASKS[head.task].per_token else ...
            with torch.no_grad():
                wanted = elastic(batch, subnet).logits
            assert (answer_of(cut, batch, head)[real] - wanted[real]).abs().max() < 1e-5, (subnet, lengths)
        answers.append(wanted[real])
    assert all((one - answers[0]).abs().max() > 1e-2 for one in answers[1:])


def test_layers_that_share_their_weights_are_cut_to_one_size(tmp_path: Path) -> None:
    model = write_model(tmp_path, "ALBERT", HEADS["classification"])
    with pytest.raises(
        ExportError, match=r"one number of heads and of neurons for all, found \(2, 17\), \(4, 48\); use"
    ):
        cut_encoder(model, Subnet(((4, 48), (0, 0), (2, 17))))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_parameters_are_counted_as_a_cut_model_has_them(encoder: str, tmp_path: Path) -> None:
    head = HEADS["embedding, mean"]  # which has no weights
    write_model(tmp_path, encoder, head)
    elastic = load_model(tmp_path, read_config(tmp_path), head.task, head.outputs)[0]
    shape = elastic.shape
    without_first = Subnet(((0, 0), *((2, 17),) * (shape.layers - 1)))
    for subnet in (*uniform_grid(shape).values(), without_first):
        weights = small_weights(elastic.state_dict(), subnet, shape)
        found = sum(weight.numel() for weight in weights.values() if weight.is_floating_point())
        assert subnet.parameters(shape) == found
