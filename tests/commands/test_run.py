"""`gearshift run` on a real bundle: what it answers, what it reads, and how it ends."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from gearshift.runtime import Bundle, Engine
from tests.command_line import Command, Ended

TEXT = "turn the lights off"


def type_lines(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Let standard input hold this, as a pipe would."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))


def test_run_prints_one_line_for_each_text(answer: Command, bundle: Bundle) -> None:
    ended = answer(TEXT, "what is the weather like")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert len(lines) == 2
    for line in lines:
        label, score, subnet, latency, unit, reason = line.split()
        assert label in bundle.manifest.labels
        assert 0 <= float(score) <= 1
        assert subnet in bundle.pool("fp32")
        assert float(latency) > 0
        assert (unit, reason) == ("ms", "no_deadline")


def test_run_as_json_has_the_facts_of_every_answer(answer: Command, tiny_bundle: Path, profile: Path) -> None:
    ended = answer("--json", "--precision", "fp32", "--deadline-ms", 5000, "--", TEXT, "Größe")
    assert (ended.code, ended.err) == (0, "")
    assert (ended.json["precision"], ended.json["threads"]) == ("fp32", 1)
    first, second = ended.json["answers"]
    assert (first["text"], second["text"]) == (TEXT, "Größe")
    with Engine.load(tiny_bundle, threads=1, precision="fp32", profile=profile) as engine:
        engine.pin(first["subnet"])
        expected = engine.run(TEXT)
    assert first["label"] == expected.label
    assert first["scores"] == pytest.approx(expected.scores)
    assert (first["reason"], first["deadline_ms"], first["deadline_met"]) == ("fits", 5000, True)


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["one", "--json", "two", "--deadline-ms", "5000", "three"], ["one", "two", "three"]),
        (["--json", "--", "--5 degrees", "two"], ["--5 degrees", "two"]),
        (["one", "--json", "two", "--", "-v"], ["one", "two", "-v"]),
    ],
)
def test_texts_may_stand_before_and_after_options(answer: Command, arguments: list[str], texts: list[str]) -> None:
    assert [given["text"] for given in answer(*arguments).json["answers"]] == texts


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_every_subnet_can_be_asked_for_at_every_precision(answer: Command, bundle: Bundle, precision: str) -> None:
    for name in bundle.pool(precision):
        ended = answer(TEXT, "--json", "--subnet", name, "--precision", precision, "--deadline-ms", "0.001")
        (only,) = ended.json["answers"]
        assert (only["subnet"], only["reason"], ended.json["precision"]) == (name, "pinned", precision)


def test_a_deadline_that_nothing_keeps_is_answered_by_the_fastest_and_called_late(answer: Command) -> None:
    ended = answer(TEXT, "--deadline-ms", "0.0001")
    assert ended.code == 0
    assert ended.out.endswith("best_effort  late\n")


def test_a_text_that_was_cut_says_so(answer: Command) -> None:
    assert answer("light " * 20_000).out.endswith("no_deadline  truncated\n")


@pytest.mark.parametrize("arguments", [[], ["-"]], ids=["no text", "a dash"])
def test_texts_come_from_standard_input_one_a_line(
    answer: Command, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    type_lines(monkeypatch, f"{TEXT}\r\n\n   \n next one ".encode())
    ended = answer("--json", *arguments)
    assert [given["text"] for given in ended.json["answers"]] == [TEXT, "next one"]


def test_a_dash_among_texts_stands_for_standard_input(answer: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    type_lines(monkeypatch, b"b\nc\n")
    ended = answer("a", "-", "d", "--json")
    assert [given["text"] for given in ended.json["answers"]] == ["a", "b", "c", "d"]


def test_each_line_is_answered_before_the_next_one_is_read(
    answer: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answered: list[str] = []

    class Typing(io.StringIO):
        def __next__(self) -> str:  # type: ignore[override]  # typeshed gives the lines of StringIO two types
            answered.append(capsys.readouterr().out)
            return super().__next__()

    monkeypatch.setattr(sys, "stdin", Typing("one\ntwo\n"))
    assert answer().code == 0
    assert [out.count("\n") for out in answered] == [0, 1, 1]


def test_no_text_at_all_gives_no_answers(answer: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    type_lines(monkeypatch, b"\n")
    assert answer("--json").json["answers"] == []
    assert answer() == Ended(0, "", "")


def test_a_terminal_is_told_that_texts_are_waited_for(answer: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("hello\n"))
    ended = answer()
    assert ended.err == "gearshift: type one text a line, and end with Ctrl-D\n"
    assert ended.out.count("\n") == 1


@pytest.mark.parametrize("json_too", [True, False])
def test_a_text_that_is_refused_takes_no_earlier_answer_with_it(answer: Command, json_too: bool) -> None:
    ended = answer(TEXT, "", *(["--json"] if json_too else []))
    assert ended.code == 1
    assert ended.err == "gearshift: empty text; expected at least one word\n"
    assert len(ended.json["answers"] if json_too else ended.out.splitlines()) == 1


def test_a_saved_profile_is_used_instead_of_measuring(
    command: Command, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "device.json"
    one_thread = ("run", tiny_bundle, TEXT, "--threads", 1)
    assert command(*one_thread, "--save-profile", path).code == 0

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr("gearshift.runtime.startup.measure_table", fail)
    assert command(*one_thread, "--profile", path).code == 0
    with pytest.raises(AssertionError, match="measured again"):
        command(*one_thread)


def test_the_log_has_one_line_of_json_for_each_request(answer: Command, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    ended = answer(TEXT, "again", "--json", "--deadline-ms", 5000, "--log", log)
    header, *lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert header["kind"] == "header"
    assert [line["subnet"] for line in lines] == [given["subnet"] for given in ended.json["answers"]]
    assert all(line["deadline_ms"] == 5000 for line in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([TEXT, "--subnet", "w999"], "unknown subnet 'w999'; this bundle has w100-d100, w075-d100"),
        ([TEXT, "--deadline-ms", "-5"], "deadline_ms: expected a positive number of milliseconds or None, got -5.0"),
        ([TEXT, "--deadline-ms", "0"], "deadline_ms: expected a positive number"),
        (["  "], "empty text; expected at least one word"),
        (["\udcff"], "not valid Unicode"),
        (
            [TEXT, "--threads", "7"],
            "expected a table of this bundle, fp32 or int8 with 7 threads on CPUExecutionProvider, found fp32 with 1",
        ),
        ([TEXT, "--profile", "nowhere.json"], "nowhere.json: could not be read (No such file or directory)"),
        ([TEXT, "--log", "no/such/folder.jsonl"], "the decision log could not be opened (No such file or directory)"),
        ([TEXT, "--save-profile", "no/such/p.json"], "no/such/p.json: could not be written"),
    ],
)
def test_what_run_cannot_use_is_one_line(answer: Command, arguments: list[str], message: str) -> None:
    assert message in answer(*arguments).error


def test_a_number_of_threads_that_is_none_is_one_line(command: Command, tiny_bundle: Path) -> None:
    error = command("run", tiny_bundle, TEXT, "--threads", 0).error
    assert error == "threads: expected a whole number from 1 to 1024, got 0"


def test_what_is_asked_of_the_engine_can_be_said(answer: Command, bundle: Bundle) -> None:
    pool = bundle.pool("fp32")
    floor = max(entry.accuracy for entry in pool.values())
    (found,) = answer(TEXT, "--precision", "fp32", "--min-accuracy", floor, "--json").json["answers"]
    assert (found["reason"], pool[found["subnet"]].accuracy) == ("accuracy_floor", floor)
    (found,) = answer(TEXT, "--max-cpu-share", 0.5, "--target", 0.9, "--json").json["answers"]
    assert found["reason"] == "cpu_share"
    assert "max_cpu_share: expected a share above 0 and up to 1, got 3.0" in answer(TEXT, "--max-cpu-share", 3).error
    assert "target: expected a share of deadlines" in answer(TEXT, "--target", 2).error


def test_a_live_view_that_is_piped_changes_nothing(answer: Command) -> None:
    ended = answer("--live", TEXT)
    assert (ended.code, ended.err, len(ended.out.splitlines())) == (0, "", 1)


@pytest.mark.parametrize("both", [True, False])
def test_a_live_view_on_a_terminal_stands_in_for_the_answers(
    answer: Command, monkeypatch: pytest.MonkeyPatch, both: bool
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: both)
    ended = answer("--live", TEXT, TEXT)
    assert ended.code == 0
    assert "2 requests" in ended.err
    assert len(ended.out.splitlines()) == (0 if both else 2)


def test_a_refused_text_takes_no_answer_from_the_others(command: Command, tiny_bundle: Path) -> None:
    texts = ["turn the lights off", "play some music", "what is the weather"]
    ended = command("run", tiny_bundle, *texts, "--deadline-ms", "0.01", "--on-miss", "reject", "--no-cache", "--json")
    assert ended.code == 0
    first, *others = ended.json["answers"]  # the first is tried: nothing was for a second
    assert first["reason"] == "best_effort"
    assert [one["text"] for one in others] == texts[1:]
    assert all(one["error"].startswith("refused: ") for one in others)
