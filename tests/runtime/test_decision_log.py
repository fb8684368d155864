from __future__ import annotations

import errno
import json
import logging
import os
from pathlib import Path

import pytest

from gearshift.runtime.decision_log import DecisionLog
from gearshift.runtime.errors import StorageError


def test_every_line_is_one_object(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for start in (0, 2):  # a second log of the same file goes on below
        log = DecisionLog(path)
        log.write({"n": start})
        log.write({"n": start + 1, "text": "two\nlines"})
        log.close()
    assert [json.loads(line)["n"] for line in path.read_text().splitlines()] == [0, 1, 2, 3]


def test_lines_are_there_before_the_log_is_closed(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "log.jsonl")
    log.write({"n": 1})
    assert (tmp_path / "log.jsonl").read_text() == '{"n": 1}\n'
    log.close()


def test_a_place_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="the decision log could not be opened"):
        DecisionLog(tmp_path)


def test_a_closed_log_drops_lines(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "log.jsonl")
    log.close()
    log.close()
    log.write({"n": 1})
    assert (tmp_path / "log.jsonl").read_text() == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_ends_the_log_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    log = DecisionLog("/dev/full")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            log.write({"n": 1})
    log.close()
    assert [record.getMessage() for record in caplog.records] == [
        f"/dev/full: the decision log ends here ({os.strerror(errno.ENOSPC)})"
    ]
