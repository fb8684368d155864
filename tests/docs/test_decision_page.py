"""Tests that what docs/decision.md says of one decision is what the code makes of its log, number by number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gearshift.device_profiles.latency_table import predict
from gearshift.runtime.policy.choose import Decision
from gearshift.runtime.policy.controller import Controller
from gearshift.runtime.serving.answering import FINISH_MS
from gearshift.runtime.serving.decision_log import LoggedRun, read_log
from gearshift.runtime.serving.record import RequestRecord
from tests.runtime.replay import replay

DOCS = Path(__file__).parents[2] / "docs"
LOG = DOCS / "decision.jsonl"
PAGE = (DOCS / "decision.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Followed:
    """The last decision of the log, with all that led to it."""

    run: LoggedRun
    before: RequestRecord
    record: RequestRecord
    decision: Decision
    usual: float
    """Factor that medians and biases would be multiplied with, had the request before been no outlier."""
    suspected: float
    """Factor that covers a step to that request."""
    biases: list[float]
    """Biases by rung."""
    limit_ms: float
    """Limit of back-off."""

    @property
    def factor(self) -> float:
        """Factor that medians and biases were multiplied with."""
        return max(self.usual, self.suspected)

    @property
    def rows(self) -> Iterator[tuple[str, float, float, float]]:
        """Rung by rung: name, accuracy, median in ms, and the time in ms that it is to stay under."""
        header = self.run.header
        for name, bias in zip(header.ladder, self.biases, strict=True):
            median_ms = predict(header.table, name, self.record.tokens[0])
            yield name, header.accuracies[name], median_ms, median_ms * bias * self.factor


@pytest.fixture(scope="module")
def followed() -> Followed:
    (run,) = read_log(LOG)
    *_, (record, decision, controller) = (_at_decision(*step) for step in replay(run))
    return Followed(run, run.records[-2], record, decision, *controller)


def _at_decision(
    record: RequestRecord, decision: Decision, controller: Controller
) -> tuple[RequestRecord, Decision, tuple[float, float, list[float], float]]:
    decided_s = record.arrival_s + record.tokenizing_ms / 1e3
    return (
        record,
        decision,
        (
            controller.latency.steady_factor,
            controller.latency.suspected,
            list(controller.latency.biases),
            controller.backoff.limit_ms(decided_s),
        ),
    )


def slack_lines(followed: Followed) -> list[str]:
    record = followed.record
    return [
        f"    deadline          {record.deadline_ms:6.2f} ms",
        f"  - tokenizing        {record.tokenizing_ms:6.2f} ms",
        f"  - kept for the end  {FINISH_MS:6.2f} ms",
        f"  = slack             {record.slack_ms:6.2f} ms",
    ]


def signal_lines(followed: Followed) -> list[str]:
    records = list(enumerate(followed.run.records))[-6:-1]
    return [
        "| request | rung | expected, ms | observed, ms | observed / expected | slow-down after it |",
        "|---|---|---|---|---|---|",
        *(
            f"| {number} | {one.subnet} | {one.expected_ms:.2f} | {one.run_ms:.2f} | {one.ratio:.2f} "
            f"| {one.slow_down:.3f} |"
            for number, one in records
        ),
    ]


def factor_lines(followed: Followed) -> list[str]:
    before = followed.before
    return [
        f"    slow-down believed in               {before.slow_down:6.3f}",
        f"    with its tail                       {followed.usual:6.3f}",
        f"    the request before, with its noise  {followed.suspected:6.3f}",
        f"    factor, the larger of both          {followed.factor:6.3f}",
    ]


def table_lines(followed: Followed) -> list[str]:
    slack_ms = followed.record.slack_ms or 0.0
    return [
        "| rung | accuracy | median, ms | x bias x factor, ms | within the slack |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {accuracy:.3f} | {median_ms:.2f} | {tail_ms:.2f} | {'yes' if tail_ms <= slack_ms else 'no'} |"
            for name, accuracy, median_ms, tail_ms in followed.rows
        ),
    ]


def outcome_lines(followed: Followed) -> list[str]:
    record = followed.record
    return [
        f"    graph      {record.run_ms:6.2f} ms  (expected {record.expected_ms:.2f}, to stay under "
        f"{record.predicted_ms:.2f})",
        f"    answer     {record.latency_ms:6.2f} ms  (deadline {record.deadline_ms:.2f})",
        f"    ratio      {record.ratio:6.3f}",
        f"    slow-down  {followed.before.slow_down:6.3f} -> {record.slow_down:.3f}",
    ]


@pytest.mark.parametrize("made", [slack_lines, signal_lines, factor_lines, table_lines, outcome_lines])
def test_the_numbers_of_the_page_are_those_of_the_code(followed: Followed, made: object) -> None:
    assert callable(made)
    assert "\n".join(made(followed)) in PAGE, "\n" + "\n".join(made(followed))


def test_the_page_shows_the_line_of_the_log() -> None:
    assert f"```json\n{LOG.read_text(encoding='utf-8').splitlines()[-1]}\n```" in PAGE


def test_the_log_alone_gives_every_decision_again() -> None:
    (run,) = read_log(LOG)
    for record, decision, _ in replay(run):
        assert (decision.name, decision.reason) == (record.subnet, record.reason)
        assert decision.predicted_ms == pytest.approx(record.predicted_ms, rel=1e-6)


def test_the_steps_of_the_page_end_at_the_subnet_that_ran(followed: Followed) -> None:
    record = followed.record
    assert record.slack_ms == pytest.approx((record.deadline_ms or 0) - record.tokenizing_ms - FINISH_MS)
    within = [name for name, _, median_ms, tail_ms in followed.rows if tail_ms <= (record.slack_ms or 0)]
    assert (record.subnet, record.reason) == (within[0], "fits")
    assert 0 < len(followed.run.header.ladder) - len(within) < len(followed.run.header.ladder) - 1
    assert (record.level, record.caps.reasons) == (0, ())
    assert followed.limit_ms == float("inf")
    assert record.met is True
