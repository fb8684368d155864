from __future__ import annotations

import errno
import json
import logging
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from gearshift.errors import DataError, StorageError
from gearshift.runtime.serving.decision_log import DecisionLog, LoggedRun, read_log
from tests.runtime.serving.test_record import ANSWERED, HEADER, SHED


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


def write(path: Path, *entries: object) -> None:
    log = DecisionLog(path)
    for entry in entries:
        log.write(entry)  # type: ignore[arg-type]
    log.close()


def test_what_was_written_is_read(path: Path) -> None:
    write(path, HEADER, ANSWERED, SHED)
    assert read_log(path) == (LoggedRun(HEADER, (ANSWERED, SHED)),)


def test_a_second_engine_goes_on_below(path: Path) -> None:
    second = replace(HEADER, time=2e9)
    write(path, HEADER, ANSWERED)
    write(path, second, SHED)
    assert read_log(path) == (LoggedRun(HEADER, (ANSWERED,)), LoggedRun(second, (SHED,)))


def test_lines_are_there_before_the_log_is_closed(path: Path) -> None:
    log = DecisionLog(path)
    log.write(HEADER)
    assert json.loads(path.read_text()) == HEADER.to_dict()
    log.close()


def write_many(log: DecisionLog) -> None:
    for _ in range(50):
        log.write(ANSWERED)


def test_lines_of_several_threads_stay_whole(path: Path) -> None:
    log = DecisionLog(path)
    log.write(HEADER)
    threads = [threading.Thread(target=write_many, args=[log]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert read_log(path)[0].records == (ANSWERED,) * 400


def test_a_log_that_was_cut_anywhere_is_read_up_to_there(path: Path) -> None:
    write(path, HEADER, ANSWERED, replace(SHED, error="ä"))
    content = path.read_bytes()
    ends = [index for index, byte in enumerate(content) if byte == ord("\n")]
    for cut in range(ends[0] + 1, len(content) + 1):
        path.write_bytes(content[:cut])
        # A line without its line end is whole already.
        assert len(read_log(path)[0].records) == (cut >= ends[1]) + (cut >= ends[2]), cut


def test_after_a_kill_the_next_engine_begins_a_new_line(path: Path) -> None:
    write(path, HEADER, ANSWERED, SHED)
    path.write_bytes(path.read_bytes()[:-9])
    write(path, HEADER, SHED)
    assert read_log(path) == (LoggedRun(HEADER, (ANSWERED,)), LoggedRun(HEADER, (SHED,)))


def test_a_broken_line_between_requests_is_an_error(path: Path) -> None:
    write(path, HEADER, ANSWERED)
    with path.open("a") as file:
        file.write("{oops\n")
    write(path, ANSWERED)
    with pytest.raises(DataError, match=r"log\.jsonl, line 3: expected one JSON object"):
        read_log(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a decision log, found no header"),
        (b"hello\n", "found no header"),
        (b"hello\nworld\n", "line 1: expected one JSON object"),
        (b'{"a": 1}\n', "line 1: expected a header or a request"),
        (b"[1]\n", "line 1: expected a header or a request"),
        (
            b'{"kind": "header", "schema_version": 9}\n',
            "line 1: a header: expected schema version 2, found 9; install a newer",
        ),
        (json.dumps(ANSWERED.to_dict()).encode(), "line 1: expected the header of a decision log first"),
        (b"\xff\xfe\n\xff\n", "line 1: expected one JSON object"),
    ],
)
def test_another_file_is_said_to_be_one(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as raised:
        read_log(path)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there(path: Path) -> None:
    with pytest.raises(DataError, match="could not be read"):
        read_log(path)


def test_a_place_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="the decision log could not be opened"):
        DecisionLog(tmp_path)


def test_a_closed_log_drops_lines(path: Path) -> None:
    log = DecisionLog(path)
    log.close()
    log.close()
    log.write(HEADER)
    assert path.read_text() == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_ends_the_log_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    log = DecisionLog("/dev/full")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            log.write(HEADER)
    log.close()
    assert [record.getMessage() for record in caplog.records] == [
        f"/dev/full: the decision log ends here ({os.strerror(errno.ENOSPC)})"
    ]
