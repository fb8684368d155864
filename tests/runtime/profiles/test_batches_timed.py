"""Calls of several texts are timed on the ends of the pool, and no longer than a start may take."""

from __future__ import annotations

import time

import pytest

from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.profiles.batches_timed import FEWEST_ROUNDS, MOST_TOKENS, ROUNDS, TEXTS, measure_batches


def test_the_largest_and_the_smallest_subnet_are_timed_at_each_length(session: ElasticSession, bundle: Bundle) -> None:
    found = measure_batches(bundle, session, (8, 16))
    assert found is not None
    pool = sorted(bundle.pool("fp32").values(), key=lambda entry: entry.macs)
    graph = {pool[0].name, pool[-1].name}
    assert found.shares.keys() == graph | ({bundle.dan.name} if bundle.dan else set())
    assert (found.texts, found.lengths) == (TEXTS, (8, 16))
    assert all([len(row) for row in found.shares[name]] == [4, 4] for name in graph)


def test_long_texts_are_timed_in_small_batches_and_those_that_are_too_long_for_two_not_at_all(
    session: ElasticSession, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = set[tuple[int, int]]()

    def noting(inputs: dict[str, object], choice: object, options: object = None) -> None:
        shapes.add(inputs["input_ids"].shape)  # type: ignore[attr-defined]

    monkeypatch.setattr(session, "run_heads", noting)
    monkeypatch.setattr(time, "thread_time_ns", iter(range(10**9)).__next__)
    found = measure_batches(bundle, session, (8, 60, MOST_TOKENS))
    assert found is not None and found.lengths == (8, 60)
    assert max(texts for texts, length in shapes if length == 60) == 4
    assert measure_batches(bundle, session, (MOST_TOKENS,)) is None


def test_time_that_is_used_up_leaves_rounds_out(
    session: ElasticSession, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = list[object]()
    monkeypatch.setattr(session, "run_heads", lambda inputs, choice, options=None: ran.append(choice))
    monkeypatch.setattr(time, "thread_time_ns", iter(range(10**9)).__next__)
    measure_batches(bundle, session, (8,), budget_s=60.0)
    assert len(ran) == 2 * (2 + 5 * ROUNDS)
    ran.clear()
    measure_batches(bundle, session, (8,), budget_s=0.0)
    assert len(ran) == 2 * (2 + 5 * FEWEST_ROUNDS)


def test_a_clock_that_stands_still_meanwhile_measures_nothing(
    session: ElasticSession, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "thread_time_ns", lambda: 1)
    assert measure_batches(bundle, session, (8,)) is None


def test_of_a_slow_subnet_only_small_batches_are_timed(
    session: ElasticSession, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = iter(range(10**9))
    monkeypatch.setattr(session, "run_heads", lambda inputs, choice, options=None: None)
    monkeypatch.setattr(time, "thread_time_ns", lambda: next(steps) * 20_000_000)  # 20 ms for each call
    found = measure_batches(bundle, session, (8,))
    assert found is not None
    assert {len(found.shares[name][0]) for name in found.shares if "w" in name} == {2}  # 2 and 4 texts, not 8 or 16
