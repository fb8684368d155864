"""The elastic graph against torch, for every subnet of several spaces."""

import itertools

import numpy as np
import onnxruntime as ort
import pytest

from tests.export import int8_oracle
from tests.export.cases import LENGTHS, SPACES, TOLERANCE, Case, inputs_of, run, write_case
from tests.trainer.tiny import random_batch


@pytest.fixture(scope="module", params=SPACES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return write_case(request.param, tmp_path_factory.mktemp("graph"), ["fp32", "int8"])


@pytest.fixture(scope="module")
def fp32(case: Case) -> ort.InferenceSession:
    return case.session("fp32")


@pytest.fixture(scope="module")
def int8(case: Case) -> ort.InferenceSession:
    return case.session("int8")


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_every_subnet_answers_as_torch_does(case: Case, fp32: ort.InferenceSession, lengths: list[int]) -> None:
    batch = random_batch(lengths)
    expected = case.expected(batch)
    for one, other in itertools.combinations(expected, 2):  # inputs that could not tell subnets apart prove nothing
        assert np.abs(one - other).max() > 100 * TOLERANCE
    for subnet, logits in zip(case.subnets, expected, strict=True):
        found = run(fp32, batch, case.space.choice(subnet))
        assert found.shape == (len(lengths), 8)
        assert np.abs(found - logits).max() < TOLERANCE, subnet


def test_what_the_library_makes_of_the_graph_with_optimisation_on_answers_the_same(case: Case) -> None:
    session = ort.InferenceSession(str(case.path("fp32")), providers=["CPUExecutionProvider"])
    batch = random_batch([17, 1, 32, 2])
    for subnet, logits in zip(case.subnets, case.expected(batch), strict=True):
        assert np.abs(run(session, batch, case.space.choice(subnet)) - logits).max() < TOLERANCE


def test_calls_of_different_subnets_do_not_disturb_each_other(case: Case, fp32: ort.InferenceSession) -> None:
    batch = random_batch([5, 9])
    choices = [case.space.choice(subnet) for subnet in case.subnets]
    alone = [run(fp32, batch, choice) for choice in choices]
    for choice, logits in zip(reversed(choices), reversed(alone), strict=True):
        assert np.array_equal(run(fp32, batch, choice), logits)


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_int8_computes_what_rounded_weights_and_activations_give(
    case: Case, int8: ort.InferenceSession, lengths: list[int]
) -> None:
    """Against the same arithmetic in numpy, where integer products are exact.

    What is left is float rounding: 1e-7 of the spread of the logits for most subnets. Now and then it moves an
    activation across a rounding edge, a whole step of 1/255 of its range, which moved the logits by up to 1 %.
    """
    batch = random_batch(lengths)
    expected = np.stack(
        [
            int8_oracle.logits(case.weights, case.space, subnet, inputs_of(batch), case.model.norm_eps)
            for subnet in case.subnets
        ]
    )
    found = np.stack([run(int8, batch, case.space.choice(subnet)) for subnet in case.subnets])
    errors = np.abs(found - expected).mean(axis=(1, 2)) / expected.std()
    assert np.median(errors) < 1e-5
    assert errors.max() < 0.02


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_int8_stays_near_fp32(case: Case, int8: ort.InferenceSession, lengths: list[int]) -> None:
    """A step of seven bits is 1/63 of the largest of 32 to 64 Gaussian weights, some 0.035 of their spread; rounding
    is off by 1/sqrt(12) of it, 1 %, and every product with it. Each is added to a residual of its own size, which
    halves its share, and eight to ten half-layers add up as a random walk: 1 % x sqrt(1/2) x sqrt(9) = 2 %.
    """
    batch = random_batch(lengths)
    expected = np.stack(case.expected(batch))
    found = np.stack([run(int8, batch, case.space.choice(subnet)) for subnet in case.subnets])
    assert np.abs(found - expected).mean() / expected.std() < 0.04
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99


def test_the_graph_takes_and_gives_what_the_bundle_says(case: Case, fp32: ort.InferenceSession) -> None:
    assert {value.name: (value.type, value.shape) for value in fp32.get_inputs()} == {
        "input_ids": ("tensor(int64)", ["batch", "tokens"]),
        "attention_mask": ("tensor(int64)", ["batch", "tokens"]),
        "token_type_ids": ("tensor(int64)", ["batch", "tokens"]),
        "choice": ("tensor(int64)", [len(case.space.stages)]),
    }
    (logits,) = fp32.get_outputs()
    assert (logits.name, logits.type, logits.shape) == ("logits", "tensor(float)", ["batch", 8])


@pytest.mark.parametrize("beyond", [0, -1], ids=["the next", "below none"])
def test_a_last_option_that_does_not_exist_gives_no_answer(case: Case, fp32: ort.InferenceSession, beyond: int) -> None:
    """But for a last stage that is always there: nothing is switched, so that nothing can be missing."""
    batch = random_batch([7])
    *before, last = [0] * len(case.space.stages)
    options = len(case.space.stages[-1].options)
    there = run(fp32, batch, [*before, last])
    missing = run(fp32, batch, [*before, beyond or options])
    assert np.isfinite(there).all()
    assert np.array_equal(missing, there if options == 1 else np.full((1, 1), np.nan), equal_nan=True)
