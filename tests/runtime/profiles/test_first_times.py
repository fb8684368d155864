from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gearshift.errors import InputError
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.inference.opened import Inputs, Opened, random_inputs
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.profiles import first_times
from gearshift.runtime.profiles.first_times import default_lengths, measure_table


@pytest.mark.parametrize(
    ("longest", "lengths"),
    [
        (8, (8,)),
        (15, (15,)),
        (16, (8, 16)),
        (64, (8, 32, 64)),
        (128, (8, 32, 128)),
        (512, (8, 32, 128, 512)),
        (2, (2,)),
    ],
)
def test_lengths_are_a_factor_of_four_apart_up_to_the_longest(longest: int, lengths: tuple[int, ...]) -> None:
    assert default_lengths(longest) == lengths


def test_every_subnet_is_timed_at_every_length(session: ElasticSession, bundle: Bundle) -> None:
    rounds: list[tuple[int, int]] = []
    table = measure_table(
        Opened.of(bundle, session),
        lengths=(16, 4),
        runs=3,
        progress=lambda done, planned: rounds.append((done, planned)),
    )
    assert table.lengths == (4, 16)
    assert table.runs == 3
    assert rounds == [(1, 3), (2, 3), (3, 3)]
    assert table.median_ms.keys() == table.p95_ms.keys() == bundle.pool("fp32").keys()
    for name, medians in table.median_ms.items():
        assert all(0 < median <= p95 for median, p95 in zip(medians, table.p95_ms[name], strict=True))
    assert (table.bundle_hash, table.precision, table.threads) == (bundle.hash, "fp32", 1)
    assert table.provider == "CPUExecutionProvider"


def test_every_round_has_an_order_of_its_own(
    session: ElasticSession, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[int, ...]] = []

    def noting(inputs: Inputs, choice: tuple[int, ...], options: object) -> list[int]:
        ran.append(tuple(choice))
        return [0]

    monkeypatch.setattr(session, "run", noting)
    monkeypatch.setattr(first_times, "measure_batches", lambda *arguments: None)
    measure_table(Opened.of(bundle, session), lengths=(8,), runs=3)
    rounds = [tuple(ran[first : first + 12]) for first in (12, 24, 36)]  # after one call each to warm up
    assert len({tuple(sorted(order)) for order in rounds}) == 1
    assert len(set(rounds)) == 3


def test_by_default_the_longest_text_of_the_bundle_is_timed_too(session: ElasticSession, bundle: Bundle) -> None:
    assert measure_table(Opened.of(bundle, session), runs=1).lengths[-1] == bundle.manifest.max_length


def test_random_inputs_are_tokens_of_the_vocabulary(bundle: Bundle) -> None:
    inputs = random_inputs(bundle, 7)
    assert set(inputs) == set(bundle.manifest.inputs)
    assert all(array.shape == (1, 7) and array.dtype == np.int64 for array in inputs.values())
    ids = inputs["input_ids"]
    assert 0 <= ids.min() <= ids.max() < bundle.manifest.space.shape.vocabulary
    assert (random_inputs(bundle, 7)["input_ids"] == ids).all()


@pytest.mark.parametrize("lengths", [(), (0,), (10**6,), (-1, 8), (1.5,), ("8",)])
def test_lengths_that_the_graph_does_not_take_are_refused(
    session: ElasticSession, bundle: Bundle, lengths: Any
) -> None:
    with pytest.raises(InputError, match=rf"lengths: .* from 1 to {bundle.manifest.max_length}"):
        measure_table(Opened.of(bundle, session), lengths=lengths)


@pytest.mark.parametrize("runs", [0, -1, True, 2.5])
def test_runs_must_be_a_number_of_runs(session: ElasticSession, bundle: Bundle, runs: Any) -> None:
    with pytest.raises(InputError, match="runs: expected a whole number of at least 1"):
        measure_table(Opened.of(bundle, session), runs=runs)
