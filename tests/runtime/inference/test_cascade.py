"""A DAN that answers where it is sure, before the graph."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gearshift.errors import InputError
from gearshift.runtime import Engine
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.dan.threshold import DanCalibration
from gearshift.runtime.inference.answers import probabilities
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.serving.decision_log import DecisionLog, read_log
from gearshift.runtime.startup import Loaded
from tests.runtime.altered import add_dan
from tests.runtime.dans import TEXTS, made_dan, made_table
from tests.runtime.replay import replay

ROWS = 99


def _bundle(source: Path, out: Path, *disagreements: float, calibrated: bool = True) -> Bundle:
    path = shutil.copytree(source, out)
    dan = made_dan(len(open_bundle(path).manifest.labels))
    calibration = DanCalibration(ROWS, np.array(disagreements, np.float32)) if calibrated else None
    add_dan(path, dataclasses.replace(dan, calibration=calibration), TEXTS, accuracy=0.01)
    return open_bundle(path)


@pytest.fixture(scope="module")
def by_confidence(bundle: Bundle) -> list[str]:
    """The texts, those that the DAN is surest of first."""
    dan = made_dan(len(bundle.manifest.labels))
    return sorted(TEXTS, key=lambda text: -float(probabilities(dan.logits(text)[0]).max()))


@pytest.fixture(scope="module")
def cascading(bundle: Bundle, by_confidence: list[str], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Bundle whose DAN may, at .99, answer from just above the second of the texts on."""
    dan = made_dan(len(bundle.manifest.labels))
    second = float(probabilities(dan.logits(by_confidence[1])[0]).max())
    return _bundle(bundle.path, tmp_path_factory.mktemp("cascade") / "b.gearshift", second)


@contextlib.contextmanager
def _engine(bundle: Bundle, cascade: float | None = None, **others: Any) -> Iterator[Engine]:
    with contextlib.closing(ElasticSession(bundle, "fp32", threads=1)) as session:
        ranked = sorted(bundle.entries("fp32").values(), key=lambda entry: entry.accuracy)
        table = made_table({entry.name: (0.02 + rank,) * 2 for rank, entry in enumerate(ranked)}, bundle.hash)
        with Engine(Loaded.of(bundle, session, table, cascade=cascade), **others) as engine:
            yield engine


def test_it_answers_where_it_is_sure_and_the_graph_elsewhere(cascading: Bundle, by_confidence: list[str]) -> None:
    with _engine(cascading, cascade=0.99) as engine:
        sure, *others = [engine.run(text, deadline_ms=60_000) for text in by_confidence]
        engine.pin("dan")
        assert sure.scores == engine.run(by_confidence[0]).scores
    assert (sure.subnet, sure.reason, sure.deadline_met) == ("dan", "confident", True)
    assert all(answer.subnet != "dan" and answer.reason == "fits" for answer in others)


def test_it_is_off_by_default(cascading: Bundle, by_confidence: list[str]) -> None:
    with _engine(cascading) as engine:
        assert engine.run(by_confidence[0]).reason == "no_deadline"


def test_a_list_is_answered_by_it_where_it_is_sure_of_all(cascading: Bundle, by_confidence: list[str]) -> None:
    with _engine(cascading, cascade=0.99) as engine:
        assert {answer.reason for answer in engine.run(by_confidence[:1] * 2)} == {"confident"}
        assert {answer.reason for answer in engine.run(by_confidence[:2])} == {"no_deadline"}


def test_what_is_pinned_goes_before_it(cascading: Bundle, by_confidence: list[str]) -> None:
    with _engine(cascading, cascade=0.99) as engine:
        engine.pin(engine.ladder[0])
        assert engine.run(by_confidence[0]).reason == "pinned"


def test_a_text_without_a_known_word_goes_on(bundle: Bundle, tmp_path: Path) -> None:
    with _engine(_bundle(bundle.path, tmp_path / "b.gearshift"), cascade=0.99) as engine:
        assert engine.run(TEXTS[0]).reason == "confident"
        assert engine.run("zzz").reason == "no_deadline"


def test_its_answers_teach_the_controller_nothing_and_are_logged(
    cascading: Bundle, by_confidence: list[str], tmp_path: Path
) -> None:
    log = DecisionLog(tmp_path / "log")
    with _engine(cascading, cascade=0.99, log=log) as engine:
        for _ in range(20):
            engine.submit(by_confidence[0], deadline_ms=60_000).result()
        assert engine.slow_down == 1.0
        engine.run(by_confidence[1], deadline_ms=60_000)
    (run,) = read_log(tmp_path / "log")
    assert [record.reason for record in run.records] == ["confident"] * 20 + ["fits"]
    assert all(record.run_ms is not None and record.run_ms > 0 for record in run.records)
    for record, decision, _ in replay(run):
        assert decision.name == record.subnet


@pytest.mark.parametrize(
    ("agreement", "message"),
    [(0.999, "99 held-out rows cannot vouch for an agreement of 0.999"), (1.5, "expected an agreement above 0")],
)
def test_more_than_the_rows_vouch_for_is_refused(cascading: Bundle, agreement: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Engine.load(cascading.path, cascade=agreement)


def test_a_bundle_that_cannot_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no DAN"):
        Engine.load(bundle.path, cascade=0.99)
    with pytest.raises(InputError, match="not calibrated"):
        Engine.load(_bundle(bundle.path, tmp_path / "b.gearshift", calibrated=False).path, cascade=0.99)
