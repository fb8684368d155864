"""Ranking by bundles of every task that can: scores of torch, in one pass and in two."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from gearshift.device_profiles.latency_table import LatencyTable
from gearshift.errors import DeadlineTooShortError, InputError
from gearshift.runtime import Engine, Ranking, open_bundle
from gearshift.runtime.inference.answers import probabilities
from gearshift.runtime.inference.providers import CPU
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.reading.relevance import SIMILARITY
from gearshift.runtime.serving.decision_log import DecisionLog, read_log
from gearshift.runtime.startup import Loaded
from tests.command_line import Command
from tests.export.test_tasks import Made, write_bundle
from tests.runtime.altered import change_manifest
from tests.runtime.replay import replay
from tests.trainer.encoders import HeadCase

QUERY = "was there snow"
TEXTS = [
    "we saw the snow",
    "ice was there again",
    "the frost of winter",
    "winter",
    "much ice",
    "frost and snow was there",
]
LARGE, SMALL = "w100-d100", "w050-d100"
MS = {LARGE: 10.0, SMALL: 1.0}
"""Made-up time of a text of any length."""

CASES = {
    "a number": HeadCase("regression", 1),
    "two labels": HeadCase("classification", 2),
    "vectors": HeadCase("embedding", 0, "mean"),
}


@pytest.fixture(scope="module", params=CASES)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    found = write_bundle(tmp_path_factory.mktemp("rank"), "BERT", CASES[request.param])
    if request.param == "two labels":
        change_manifest(found.path, labels=("relevant", "other"))
    return found


@contextlib.contextmanager
def timed(path: Path, clock: Callable[[], float] = lambda: 0.0, **others: object) -> Iterator[Engine]:
    """An engine whose times, and whose clock, are made up."""
    bundle = open_bundle(path)
    times: dict[str, tuple[float, ...]] = {name: (ms, ms) for name, ms in MS.items()}
    table = LatencyTable(bundle.hash, "fp32", CPU[0], 1, (1, 32), times, times, 1, "by hand", "2026-01-31")
    with (
        contextlib.closing(ElasticSession(bundle, "fp32", threads=1)) as session,
        Engine(Loaded.of(bundle, session, table), clock=clock, **others) as engine,  # type: ignore[arg-type]
    ):
        yield engine


def expected(made: Made) -> list[float]:
    """The scores that torch gives with the full subnet."""
    if "embedding" in str(open_bundle(made.path).manifest.task):
        query = made.logits(QUERY).astype(np.float64)
        return [SIMILARITY["cosine"](query, made.logits(text).astype(np.float64)) for text in TEXTS]
    logits = [made.logits(QUERY, text) for text in TEXTS]
    return [float(row[0] if len(row) == 1 else probabilities(row)[0]) for row in logits]


def test_without_a_deadline_one_pass_of_the_most_accurate_ranks_as_torch_does(made: Made) -> None:
    with Engine.load(made.path, precision="fp32", threads=1) as engine:
        ranking = engine.rank(QUERY, TEXTS)
    assert isinstance(ranking, Ranking)
    assert (ranking.subnet, ranking.reason, ranking.close_subnet, ranking.closely) == (LARGE, "no_deadline", None, 0)
    scores = [one.score for one in ranking.results]
    assert scores == sorted(scores, reverse=True)
    wanted = expected(made)
    assert [one.text for one in ranking.results] == [TEXTS[one.place] for one in ranking.results]
    assert sorted(one.place for one in ranking.results) == list(range(len(TEXTS)))
    assert [one.score for one in sorted(ranking.results, key=lambda one: one.place)] == pytest.approx(wanted, abs=1e-4)


def test_the_best_texts_are_read_again_within_the_deadline(made: Made, tmp_path: Path) -> None:
    with timed(made.path, log=DecisionLog(tmp_path / "log.jsonl")) as engine:
        engine.pin(SMALL)
        small = {one.place: one.score for one in engine.rank(QUERY, TEXTS).results}
        engine.pin(LARGE)
        large = {one.place: one.score for one in engine.rank(QUERY, TEXTS).results}
        engine.pin(None)
        passes = []
        for deadline_ms in (1e-6, 30.0, 60.0, 80.0, 1000.0):
            ranking = engine.rank(QUERY, TEXTS, deadline_ms=deadline_ms)
            closely = ranking.closely
            passes.append((ranking.subnet, ranking.close_subnet, closely))
            by_first = sorted(small, key=lambda place: -small[place])
            if closely:
                best = sorted(by_first[:closely], key=lambda place: -large[place])
                assert [one.place for one in ranking.results] == [*best, *by_first[closely:]]
                assert [one.subnet for one in ranking.results] == [LARGE] * closely + [SMALL] * (6 - closely)
                scores = [*(large[place] for place in best), *(small[place] for place in by_first[closely:])]
                assert [one.score for one in ranking.results] == pytest.approx(scores, abs=1e-5)
        assert engine.stats()["requests"] == 7
    assert passes[0] == (SMALL, None, 0), "the fastest, if nothing fits"
    assert passes[-1] == (LARGE, None, 0)
    counts = [count for *_, count in passes[1:-1]]
    assert all(first == SMALL for first, *_ in passes[1:-1])
    assert counts == sorted(counts) and counts[-1] >= 2, passes
    (logged,) = read_log(tmp_path / "log.jsonl")
    assert [record.ranked for record in logged.records] == [len(TEXTS)] * 7
    for record, decision, _ in replay(logged):  # of a clock that stands still: nothing is learnt in between
        assert (decision.name, decision.reason) == (record.subnet, record.reason)
    for record in logged.records[3:]:  # on this clock the first pass takes no time
        assert record.deadline_ms is not None and record.predicted_ms is not None
        assert record.predicted_ms <= record.deadline_ms
        assert record.second is None or record.second.predicted_ms <= record.deadline_ms
    seconds = [record.second for record in logged.records if record.second is not None]
    assert [second.subnet for second in seconds] == [LARGE] * sum(count > 0 for count in counts)


def test_a_slow_first_pass_leaves_no_time_for_a_second(made: Made) -> None:
    ticks = itertools.count()
    with timed(made.path, clock=lambda: next(ticks) * 20e-3) as engine:
        ranking = engine.rank(QUERY, TEXTS, deadline_ms=90.0)
    assert (ranking.subnet, ranking.closely) == (SMALL, 0)


def test_a_ranking_is_refused_where_nothing_fits_and_the_objective_says_so(made: Made) -> None:
    ticks = itertools.count()
    with timed(made.path, clock=lambda: next(ticks) * 1e-5) as engine:
        engine.rank(QUERY, TEXTS, deadline_ms=1000)  # refused only while something ran just now
        engine.steer(on_miss="reject")
        with pytest.raises(DeadlineTooShortError):
            engine.rank(QUERY, TEXTS, deadline_ms=1e-6)


def test_what_is_no_query_or_no_list_of_texts_is_refused(made: Made) -> None:
    with timed(made.path) as engine:
        for query, texts, told in (
            (3, TEXTS, "query: expected a text"),
            (QUERY, "a text", "texts: expected a list of texts \\(str\\), got str$"),
            (QUERY, ["a", 3], "texts: expected a list of texts \\(str\\), got int at place 1$"),
            (QUERY, [], "texts: expected at least one text"),
            (QUERY, ["a", " "], "text 1: empty text|text 2: empty text"),
        ):
            with pytest.raises(InputError, match=told):
                engine.rank(query, texts)  # type: ignore[arg-type]


def test_the_command_prints_the_best_first(
    made: Made, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    profile = tmp_path / "profile.json"
    with Engine.load(made.path, precision="fp32", threads=1) as engine:
        engine.save_profile(profile)
        wanted = [one.text for one in engine.rank(QUERY, TEXTS).results]
    call = ("rank", made.path, QUERY, "--threads", 1, "--precision", "fp32", "--profile", profile)
    lines = command(*call, *TEXTS).out.splitlines()
    assert [line.split("  ")[1] for line in lines[:-1]] == wanted
    assert lines[-1].startswith(f"6 by {LARGE}  ")
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(TEXTS)))
    found = json.loads(command(*call, "--json").out)
    assert [one["text"] for one in found["results"]] == wanted
    assert (found["query"], found["closely"]) == (QUERY, 0)


@pytest.mark.parametrize(
    ("labels", "told"),
    [(("hot", "cold"), "expected two labels, one of them named as relevant"), (("yes", "true"), "expected two labels")],
)
def test_labels_that_do_not_say_which_is_relevant_are_refused(
    labels: tuple[str, str], told: str, tmp_path: Path
) -> None:
    path = write_bundle(tmp_path, "BERT", CASES["two labels"]).path
    change_manifest(path, labels=labels)
    with timed(path) as engine, pytest.raises(InputError, match=told):
        engine.rank(QUERY, TEXTS)
