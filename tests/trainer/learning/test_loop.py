"""One stage of training on a model of a few numbers: steps, learning rate, states on disk, interruptions.

Adam moves a parameter whose gradient stays the same by the learning rate with every step, so what the
optimizer was told can be read off the parameters.
"""

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gearshift.errors import ModelError, StorageError
from gearshift.trainer.data.batches import Batch
from gearshift.trainer.dynabert.settings import Settings
from gearshift.trainer.learning.interrupted import STATE
from gearshift.trainer.learning.loop import Evaluation, Losses, StagePlan, run_stage
from tests.trainer.full_disk import fill_disk, needs_full_device
from tests.trainer.tiny import encoded_rows

ROWS = encoded_rows(10)
SETTINGS = Settings(batch_size=4, save_every_s=0, weight_decay=0, warmup=0)  # 3 steps an epoch
LATER = 1e9


class Numbers(nn.Module):
    """A bias in the encoder, one in each part of the head, and a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(2, 2)
        self.pooler = nn.Linear(1, 1)
        self.classifier = nn.Linear(1, 1)
        for parameter in self.parameters():
            nn.init.ones_(parameter)

    def biases(self) -> tuple[float, float, float]:
        linears = (self.encoder, self.pooler, self.classifier)
        return tuple(float(linear.bias[0].detach()) for linear in linears)  # type: ignore[return-value]


def pulling(strength: Callable[[int], float] = lambda index: 0.1) -> Losses:
    """A loss that gives every bias the same gradient, and every matrix none."""

    def losses(model: nn.Module, batch: Batch, index: int) -> list[Callable[[], Tensor]]:
        def loss() -> Tensor:
            total = torch.zeros(())
            for parameter in model.parameters():
                total = total + parameter.sum() * (strength(index) if parameter.ndim == 1 else 0.0)
            return total

        return [loss]

    return losses


def watching(look: Callable[[Batch, int], object]) -> Losses:
    """A loss that teaches nothing and lets `look` see the step."""

    def losses(model: nn.Module, batch: Batch, index: int) -> Sequence[Callable[[], Tensor]]:
        look(batch, index)
        return pulling(lambda index: 0)(model, batch, index)

    return losses


def train(
    model: nn.Module, losses: Losses, states: Path, *, plan: StagePlan | None = None, settings: Settings = SETTINGS
) -> None:
    plan = plan or StagePlan("teacher", epochs=2, lr=0.01)
    run_stage(model, ROWS, plan, settings, losses, states=states, micro_batch=settings.micro_batch)


@pytest.mark.parametrize(("epochs", "steps"), [(1, 3), (2, 6), (0.1, 1), (1.5, 5), (1 / 3, 1)])
def test_a_stage_takes_its_share_of_the_epochs_rounded_up(tmp_path: Path, epochs: float, steps: int) -> None:
    seen: list[int] = []
    train(Numbers(), watching(lambda batch, index: seen.append(index)), tmp_path, plan=StagePlan("width", epochs, 0.01))
    assert seen == list(range(steps))


def test_every_epoch_has_each_row_once_in_another_order(tmp_path: Path) -> None:
    seen: list[int] = []
    train(Numbers(), watching(lambda batch, index: seen.extend(batch.indices.tolist())), tmp_path)
    first, second = seen[:10], seen[10:]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def learning_rates(settings: Settings, plan: StagePlan, states: Path) -> list[tuple[float, ...]]:
    """Return how far the three biases moved in each step."""
    model = Numbers()
    places = [model.biases()]

    def losses(wrapped: nn.Module, batch: Batch, index: int) -> Sequence[Callable[[], Tensor]]:
        if index:
            places.append(model.biases())
        return pulling()(wrapped, batch, index)

    train(model, losses, states, plan=plan, settings=settings)
    places.append(model.biases())
    return [tuple(old - new for old, new in zip(*pair, strict=True)) for pair in itertools.pairwise(places)]


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero_in_straight_lines(tmp_path: Path) -> None:
    # 12 steps, of which a quarter rises.
    factors = [1 / 3, 2 / 3, 1, 1, 8 / 9, 7 / 9, 6 / 9, 5 / 9, 4 / 9, 3 / 9, 2 / 9, 1 / 9]
    settings = Settings(batch_size=4, warmup=0.25, save_every_s=LATER)
    found = learning_rates(settings, StagePlan("teacher", 4, lr=0.06), tmp_path)
    assert [moved for moved, _, _ in found] == pytest.approx([0.06 * factor for factor in factors], rel=1e-3)


def test_the_head_learns_at_its_own_rate(tmp_path: Path) -> None:
    for encoder, pooler, classifier in learning_rates(SETTINGS, StagePlan("teacher", 1, 0.01, 5), tmp_path):
        assert pooler == classifier == pytest.approx(5 * encoder, rel=1e-3)


def test_matrices_decay_and_biases_do_not(tmp_path: Path) -> None:
    model = Numbers()
    settings = Settings(batch_size=4, warmup=0, weight_decay=0.5, save_every_s=LATER)
    train(model, pulling(lambda index: 0), tmp_path, plan=StagePlan("teacher", 1 / 3, 0.1), settings=settings)
    assert model.encoder.weight.tolist() == [[pytest.approx(1 - 0.1 * 0.5)] * 2] * 2
    assert model.biases() == (1, 1, 1)


def test_a_large_gradient_is_clipped(tmp_path: Path) -> None:
    moved = []
    for number, strength in enumerate([1, 1000]):
        model = Numbers()
        # Clipped, the second gradient is as long as the first. Adam would follow a longer one.
        pull = pulling(lambda index, strength=strength: strength if index else 1)  # type: ignore[misc]
        train(model, pull, tmp_path / str(number), plan=StagePlan("teacher", 2 / 3, 0.01))
        moved.append(model.biases())
    assert moved[0] == pytest.approx(moved[1], rel=1e-6)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_stops_the_stage_before_the_weights_change(tmp_path: Path, loss: float) -> None:
    model = Numbers()

    def losses(wrapped: nn.Module, batch: Batch, index: int) -> list[Callable[[], Tensor]]:
        (pull,) = pulling()(wrapped, batch, index)
        return [lambda: pull() + (loss if index == 2 else 0)]

    message = rf"^stage depth: the loss became {loss} at step 2; lower the learning rate$"
    with pytest.raises(ModelError, match=message):
        train(model, losses, tmp_path, plan=StagePlan("depth", 2, 0.01))
    assert all(0.97 < bias < 0.99 for bias in model.biases())  # two steps of .01 at most


def test_a_step_in_parts_moves_as_one_over_all_rows(tmp_path: Path) -> None:
    def losses(model: nn.Module, batch: Batch, index: int) -> list[Callable[[], Tensor]]:
        assert isinstance(model, Numbers)
        sizes.append(len(batch.indices))
        return [lambda: (model.encoder.bias.sum() * batch.indices.sum()) / batch.counts.rows]

    moved = []
    for micro, expected in ((0, [4, 4, 2]), (3, [3, 1, 3, 1, 2]), (1, [1] * 10)):
        sizes: list[int] = []
        model = Numbers()
        settings = Settings(batch_size=4, micro_batch=micro, weight_decay=0, warmup=0, clip=1e9, save_every_s=LATER)
        train(model, losses, tmp_path / str(micro), plan=StagePlan("width", 1, 0.01), settings=settings)
        assert sorted(sizes) == sorted(expected)
        moved.append(model.biases())
    assert moved[1] == pytest.approx(moved[0], rel=1e-6)
    assert moved[2] == pytest.approx(moved[0], rel=1e-6)


FULL = RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")


def full(*arguments: object, **named: object) -> float:
    raise FULL


@pytest.mark.parametrize("message", [str(FULL), "DefaultCPUAllocator: can't allocate memory", ""])
@pytest.mark.parametrize(
    ("micro", "remedy"),
    [
        (0, "set micro_batch, e.g. 8, or lower batch_size or max_length"),
        (2, r"lower micro_batch \(2\), batch_size or max_length"),
    ],
)
def test_running_out_of_memory_says_what_to_lower(tmp_path: Path, message: str, micro: int, remedy: str) -> None:
    def losses(model: nn.Module, batch: Batch, index: int) -> list[Callable[[], Tensor]]:
        if index:
            raise RuntimeError(message) if message else MemoryError
        return list(pulling()(model, batch, index))

    settings = dataclasses.replace(SETTINGS, micro_batch=micro)
    expected = rf"^stage width: a step of 4 rows of \d+ tokens: out of memory; {remedy}$"
    with pytest.raises(ModelError, match=expected):
        train(Numbers(), losses, tmp_path, plan=StagePlan("width", 1, 0.01), settings=settings)


def test_the_optimizer_too_may_run_out_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.optim.AdamW, "step", full)
    with pytest.raises(ModelError, match=r"^stage teacher: a step of \d rows of \d+ tokens: out of memory; set micro_"):
        train(Numbers(), pulling(), tmp_path)


def test_measuring_dev_rows_may_run_out_of_memory(tmp_path: Path) -> None:
    plan = StagePlan("width", 1, 0.01)
    with pytest.raises(ModelError, match=r"^stage width: measuring the dev rows: out of memory; lower max_length"):
        run_stage(Numbers(), ROWS, plan, SETTINGS, pulling(), states=tmp_path, evaluation=Evaluation(full, 1))


def test_another_error_passes_through(tmp_path: Path) -> None:
    def losses(model: nn.Module, batch: Batch, index: int) -> list[Callable[[], Tensor]]:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        train(Numbers(), losses, tmp_path)


# Held-out rows


def scored(
    scores: Sequence[float], patience: int = 0, stop_at: int | None = None
) -> Callable[[Path], tuple[Numbers, int]]:
    """Train six steps with an evaluation after each; gives the model and how many evaluations there were."""

    def run(states: Path) -> tuple[Numbers, int]:
        model, left = Numbers(), list(scores)
        plan, evaluation = StagePlan("width", 2, 0.01), Evaluation(lambda: left.pop(0), 1 / 3, patience)
        run_stage(model, ROWS, plan, SETTINGS, pulling(), states=states, evaluation=evaluation)
        return model, len(scores) - len(left)

    return run


def steps_taken(model: Numbers) -> int:
    """Count the steps of six that its weights have learnt, the first at a rate of .01 and the last at a fifth of it."""
    rates = [0.01 * (6 - step) / 5 for step in range(1, 6)]
    places = list(itertools.accumulate([0.01, *rates]))
    return 1 + min(range(6), key=lambda step: abs(1 - places[step] - model.biases()[0]))


@pytest.mark.parametrize(
    ("scores", "best"), [([1, 5, 3, 4, 2, 1], 2), ([1, 2, 3, 3, 2, 2], 4), ([1, 2, 3, 4, 5, 6], 6)]
)
def test_a_stage_ends_with_its_best_weights_of_equal_ones_the_later(
    tmp_path: Path, scores: list[float], best: int
) -> None:
    model, evaluations = scored(scores)(tmp_path)
    assert (steps_taken(model), evaluations) == (best, 6)


@pytest.mark.parametrize(("patience", "evaluations"), [(1, 3), (2, 4), (3, 6)])
def test_a_stage_ends_early_after_evaluations_without_gain(tmp_path: Path, patience: int, evaluations: int) -> None:
    model, made = scored([1, 5, 4, 3, 6, 2], patience)(tmp_path)
    assert made == evaluations
    assert steps_taken(model) == (2 if patience < 3 else 5)


def test_the_best_weights_outlive_an_interruption(tmp_path: Path) -> None:
    def broken() -> float:
        raise KeyboardInterrupt

    for number, score in enumerate((lambda: 5.0, broken, lambda: 4.0)):
        model = Numbers()
        plan = StagePlan("width", 2 if number else 1 / 3, 0.01)
        with contextlib.suppress(KeyboardInterrupt):
            run_stage(model, ROWS, plan, SETTINGS, pulling(), states=tmp_path, evaluation=Evaluation(score, 1 / 3))
    assert model.biases()[0] == pytest.approx(0.99)  # after the first step


# Interruptions


def noisy(stop_at: int | None = None, seen: list[int] | None = None) -> Losses:
    """A loss with random numbers in it, as dropout has."""

    def losses(model: nn.Module, batch: Batch, index: int) -> list[Callable[[], Tensor]]:
        assert isinstance(model, Numbers)
        if seen is not None:
            seen.append(index)

        def loss() -> Tensor:
            if index == stop_at:
                raise KeyboardInterrupt
            total: Tensor = (model.encoder(torch.rand(4, 2)) ** 2).mean() + (model.classifier.bias**2).sum()
            return total * (1 + batch.indices.float().mean())

        return [loss, loss]

    return losses


def weights(model: nn.Module) -> list[list[float]]:
    return [parameter.flatten().tolist() for parameter in model.parameters()]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> list[list[float]]:
    model = Numbers()
    train(model, noisy(), tmp_path_factory.mktemp("whole"))
    return weights(model)


@pytest.mark.parametrize("stop_at", range(6))
def test_a_stage_that_was_interrupted_ends_as_if_it_had_not_been(
    tmp_path: Path, stop_at: int, uninterrupted: list[list[float]]
) -> None:
    model, seen = Numbers(), []  # type: ignore[var-annotated]
    with pytest.raises(KeyboardInterrupt):
        train(model, noisy(stop_at), tmp_path)
    again = Numbers()
    train(again, noisy(seen=seen), tmp_path)
    assert seen == list(range(stop_at, 6))
    assert weights(again) == uninterrupted


def test_without_a_state_the_stage_starts_over(tmp_path: Path, uninterrupted: list[list[float]]) -> None:
    settings = Settings(batch_size=4, save_every_s=LATER, weight_decay=0, warmup=0)
    model, seen = Numbers(), []  # type: ignore[var-annotated]
    with pytest.raises(KeyboardInterrupt):
        train(model, noisy(4), tmp_path, settings=settings)
    assert not (tmp_path / STATE).exists()
    again = Numbers()
    train(again, noisy(seen=seen), tmp_path, settings=settings)
    assert seen == list(range(6))
    assert weights(again) == uninterrupted


def test_the_state_of_another_stage_is_left_aside(tmp_path: Path, uninterrupted: list[list[float]]) -> None:
    other = Numbers()
    train(other, noisy(), tmp_path, plan=StagePlan("width", 1, 0.01))
    assert (tmp_path / STATE).is_file()
    model = Numbers()
    train(model, noisy(), tmp_path)
    assert weights(model) == uninterrupted


def test_a_finished_stage_does_nothing_when_run_again(tmp_path: Path, uninterrupted: list[list[float]]) -> None:
    model, seen = Numbers(), []  # type: ignore[var-annotated]
    train(model, noisy(), tmp_path)
    again = Numbers()
    train(again, noisy(seen=seen), tmp_path)
    assert seen == []
    assert weights(again) == uninterrupted


def test_stages_and_seeds_have_random_numbers_of_their_own(tmp_path: Path) -> None:
    found = []
    for number, (name, seed) in enumerate([("teacher", 0), ("width", 0), ("teacher", 1)]):
        drawn: list[float] = []
        train(
            Numbers(),
            watching(lambda batch, index, drawn=drawn: drawn.append(float(torch.rand(())))),  # type: ignore[misc]
            tmp_path / str(number),
            plan=StagePlan(name, 1, 0.01),
            settings=Settings(batch_size=4, save_every_s=LATER, seed=seed),
        )
        found.append(tuple(drawn))
    assert len(set(found)) == 3


@needs_full_device
def test_a_full_disk_stops_the_stage_and_keeps_the_state_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: list[list[float]]
) -> None:
    model = Numbers()

    def until_full(wrapped: nn.Module, batch: Batch, index: int) -> Sequence[Callable[[], Tensor]]:
        if index == 3:
            fill_disk(monkeypatch, STATE)
        return noisy()(wrapped, batch, index)

    with pytest.raises(StorageError, match=rf"{STATE}: could not be written \(No space left on device\)"):
        train(model, until_full, tmp_path)
    monkeypatch.undo()
    assert {path.name for path in tmp_path.iterdir()} == {STATE, "state-before.pt"}
    again, seen = Numbers(), []  # type: ignore[var-annotated]
    train(again, noisy(seen=seen), tmp_path)
    assert seen == [3, 4, 5]
    assert weights(again) == uninterrupted
