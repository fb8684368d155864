"""Decides again what an engine decided, from its log alone."""

from __future__ import annotations

from collections.abc import Iterator

from gearshift.runtime.batches import is_single
from gearshift.runtime.policy.choose import CONFIDENT, Decision
from gearshift.runtime.policy.controller import Controller
from gearshift.runtime.serving.decision_log import LoggedRun
from gearshift.runtime.serving.record import RequestRecord


def replay(run: LoggedRun) -> Iterator[tuple[RequestRecord, Decision, Controller]]:
    """Each request with the decision of a new controller, and that controller right after it decided.

    For requests that came one after another, by an engine without sensors; rankings only up to their second pass.
    """
    header = run.header
    controller = Controller(
        header.accuracies, header.table, header.objective, stated=header.stated, tuning=header.tuning, dan=header.dan
    )
    assert controller.ladder == header.ladder
    changes = dict(run.changes)
    for number, record in enumerate(run.records):
        if number in changes:
            controller.steer(changes[number].objective)
        if record.error == "shed":
            controller.shed(work=record.work, arrival_s=record.arrival_s, deadline_ms=record.deadline_ms or 0.0)
            continue
        if record.reason == CONFIDENT:
            continue  # answered before anything was decided
        decision = controller.decide(
            work=record.work,
            slack_ms=record.slack_ms,
            now=record.arrival_s + (record.tokenizing_ms + record.waited_ms) / 1e3,
            caps=record.caps,
            pinned=record.subnet if record.reason == "pinned" else None,
            backlog=record.backlog,
            deadline_ms=record.deadline_ms if record.queued else None,
            ranked=record.ranked,
        )
        yield record, decision, controller
        if record.error is None:
            assert record.run_ms is not None and record.learnt_s is not None
            controller.record(
                decision, run_ms=record.run_ms, met=record.met, now=record.learnt_s, single=is_single(record.work)
            )
