"""The command line on real bundles: what it prints, where, and how it ends."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import onnx
import pytest

import gearshift
from examples.demo.commands import generate, write
from gearshift.__main__ import BROKEN_PIPE, INTERRUPTED, main, parse
from gearshift.commands import device_commands, training_commands
from gearshift.commands.training_arguments import SETTINGS
from gearshift.runtime import Bundle, Engine, open_bundle
from gearshift.runtime.doctor.examine import WARNED
from gearshift.trainer.dynabert.settings import Settings
from tests.command_line import PATIENCE_S, Command, Ended
from tests.data.make_tiny_bundle import make_checkpoint

TEXT = "turn the lights off"


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return open_bundle(tiny_bundle)


@pytest.fixture(scope="module")
def profile(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Latencies of both precisions on one thread, so that no test measures again."""
    path = tmp_path_factory.mktemp("profile") / "device.json"
    for precision in ("fp32", "int8"):
        with Engine.load(tiny_bundle, threads=1, precision=precision) as engine:
            engine.save_profile(path)
    return path


@pytest.fixture
def answer(command: Command, tiny_bundle: Path, profile: Path) -> Command:
    """`gearshift run` on the tiny bundle with one thread."""
    return lambda *arguments: command("run", tiny_bundle, "--threads", 1, "--profile", profile, *arguments)


def type_lines(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Let standard input hold this, as a pipe would."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))


# What a bundle holds


def test_inspect_lists_labels_and_every_subnet_with_its_accuracies(
    command: Command, bundle: Bundle, tiny_bundle: Path
) -> None:
    ended = command("inspect", tiny_bundle)
    assert (ended.code, ended.err) == (0, "")
    assert all(label in ended.out for label in bundle.manifest.labels)
    rows = {line.split()[0]: line for line in ended.out.splitlines() if line.startswith("w")}
    assert list(rows) == list(bundle.pool("fp32"))
    for name, row in rows.items():
        shares = [f"{100 * bundle.entry(name, precision).accuracy:.1f} %" for precision in ("fp32", "int8")]
        assert row.endswith("  ".join(share.rjust(len("accuracy fp32")) for share in shares))
        assert f"{bundle.entry(name, 'fp32').parameters / 1e6:.3f} M" in row


def test_inspect_as_json_is_the_manifest_with_path_and_hash(
    command: Command, bundle: Bundle, tiny_bundle: Path
) -> None:
    ended = command("inspect", tiny_bundle, "--json")
    assert (ended.code, ended.err) == (0, "")
    expected = {"bundle": str(tiny_bundle), "hash": bundle.hash, **bundle.manifest.to_dict()}
    assert ended.json == json.loads(json.dumps(expected))


def test_verify_says_what_was_checked(command: Command, tiny_bundle: Path) -> None:
    ended = command("verify", tiny_bundle)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == (
        f"{tiny_bundle}: 7 files as they must be, 12 subnets right at fp32, 12 subnets right at int8\n"
    )


def test_verify_as_json(command: Command, bundle: Bundle, tiny_bundle: Path) -> None:
    ended = command("verify", tiny_bundle, "--json")
    assert (ended.code, ended.err) == (0, "")
    expected = {"bundle": str(tiny_bundle), "hash": bundle.hash, "verified": True, "precisions": ["fp32", "int8"]}
    assert ended.json == expected


def test_verify_finds_numbers_that_are_wrong(command: Command, tiny_bundle: Path, tmp_path: Path) -> None:
    wrong = shutil.copytree(tiny_bundle, tmp_path / "wrong.gearshift")
    altered = bytearray((wrong / "fp32.weights").read_bytes())
    altered[: len(altered) // 2] = bytes(len(altered) // 2)
    (wrong / "fp32.weights").write_bytes(altered)
    manifest = json.loads((wrong / "manifest.json").read_bytes())
    manifest["files"]["fp32.weights"]["sha256"] = hashlib.sha256(altered).hexdigest()
    (wrong / "manifest.json").write_text(json.dumps(manifest))
    assert "fp32 self-test, subnet w100-d100" in command("verify", wrong).error


def test_doctor_shows_one_line_for_each_finding(command: Command) -> None:
    ended = command("doctor")
    assert ended.code in (0, WARNED) and ended.err == ""
    subjects = ended.out.splitlines()
    assert any(line.split()[:2] == ["ok", "onnxruntime"] for line in subjects)


def test_doctor_as_json(command: Command) -> None:
    ended = command("doctor", "--json")
    warned = any(finding["level"] == "warning" for finding in ended.json["findings"])
    assert (ended.code, ended.err) == (WARNED if warned else 0, "")
    assert ended.json["ok"] is True
    assert ended.json["device"]["cores"] >= 1


def test_doctor_ends_with_1_where_a_package_is_too_old(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenizers.__version__", "0.1.0")
    ended = command("doctor", "--json")
    assert ended.code == 1
    assert ended.json["ok"] is False
    assert ended.err == 'gearshift: tokenizers: 0.1.0; expected 0.20 or newer; pip install "tokenizers>=0.20"\n'


# Answers


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


# What is wrong ends with 1 and one line


@pytest.mark.parametrize("name", ["inspect", "verify", "run"])
def test_a_bundle_that_is_not_there_is_named(command: Command, tmp_path: Path, name: str) -> None:
    error = command(name, tmp_path / "nowhere").error
    assert error == (
        f"{tmp_path}/nowhere: expected a bundle directory, found no such directory; make one with `gearshift export`"
    )


@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["text", "json"])
@pytest.mark.parametrize("name", ["inspect", "verify", "run"])
def test_a_truncated_file_is_named_with_both_sizes(
    command: Command, tiny_bundle: Path, tmp_path: Path, name: str, as_json: list[str]
) -> None:
    cut = shutil.copytree(tiny_bundle, tmp_path / "cut.gearshift")
    size = (cut / "int8.weights").stat().st_size
    os.truncate(cut / "int8.weights", size - 1)
    error = command(name, cut, *as_json).error
    assert error == f"{cut}/int8.weights: expected {size} bytes, found {size - 1}; copy the bundle again"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([TEXT, "--subnet", "w999"], "unknown subnet 'w999'; this bundle has w100-d100, w075-d100"),
        ([TEXT, "--deadline-ms", "nan"], "deadline_ms: expected a positive number of milliseconds or None, got nan"),
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


def test_standard_input_that_is_no_text_is_one_line(answer: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    type_lines(monkeypatch, b"\xff\xfe\n")
    assert answer("-").error == "standard input: expected utf-8 text, found invalid start byte; convert it"


def test_data_that_cannot_be_read_is_named_with_its_line(command: Command, tmp_path: Path) -> None:
    data = tmp_path / "data.tsv"
    data.write_text("sentence\tlabel\nhello\tx\n\nbye\ty\n")
    error = command("train", "--data", data, "-o", tmp_path / "run").error
    assert error == f"{data}:3: empty row; expected 2 fields; delete the line"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.tsv"]


def test_a_column_is_read_by_the_name_that_was_given(command: Command, tmp_path: Path) -> None:
    data = tmp_path / "data.tsv"
    data.write_text("utterance\tintent\nhello\tx\n")
    error = command("train", "--data", data, "--text-column", "utterance", "-o", tmp_path / "run").error
    assert error == f"{data}:1: no column 'label'; found utterance, intent; name the column to use"


@pytest.fixture
def small_data(tmp_path: Path) -> Path:
    write(tmp_path / "data", generate(train=60, dev=30, test=30))
    return tmp_path / "data"


def test_an_unknown_architecture_is_answered_with_those_that_are_known(
    command: Command, small_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "gpt2"}')
    error = command("train", "--data", small_data, "--model", tmp_path / "model", "-o", tmp_path / "run").error
    known = "bert, roberta, xlm-roberta, electra, distilbert"
    assert error == f"{tmp_path}/model: architecture 'gpt2' is not supported; expected one of {known}"


def test_a_directory_of_somebody_else_is_refused_before_training(
    command: Command, small_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    error = command("train", "--data", small_data, "--model", tmp_path, "-o", tmp_path / "mine").error
    assert "the directory is not empty and has no supernet.json" in error


def test_a_run_that_is_none_cannot_be_exported(command: Command, tmp_path: Path) -> None:
    error = command("export", tmp_path, "-o", tmp_path / "out.gearshift").error
    assert "expected a run directory with supernet.json, found none; make one with `gearshift train`" in error


def test_what_is_asked_of_the_engine_can_be_said(answer: Command, bundle: Bundle) -> None:
    pool = bundle.pool("fp32")
    floor = max(entry.accuracy for entry in pool.values())
    (found,) = answer(TEXT, "--precision", "fp32", "--min-accuracy", floor, "--json").json["answers"]
    assert (found["reason"], pool[found["subnet"]].accuracy) == ("accuracy_floor", floor)
    (found,) = answer(TEXT, "--max-cpu-share", 0.5, "--target", 0.9, "--json").json["answers"]
    assert found["reason"] == "cpu_share"
    assert "max_cpu_share: expected a share above 0 and up to 1, got 3.0" in answer(TEXT, "--max-cpu-share", 3).error
    assert "target: expected a share of deadlines" in answer(TEXT, "--target", 2).error


BLOCKED = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
from gearshift.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def without(missing: Sequence[str], *arguments: object) -> Ended:
    """A command in an interpreter of its own that finds none of these packages."""
    call = [sys.executable, "-c", BLOCKED.format(missing=tuple(missing)), *map(str, arguments)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    return Ended(done.returncode, done.stdout, done.stderr)


EXTRAS = ("torch", "transformers", "safetensors", "huggingface_hub", "platformdirs", "tqdm", "onnx", "matplotlib")


@pytest.mark.parametrize(
    ("missing", "arguments", "message"),
    [
        (["torch"], ["train", "--data", "x", "-o", "y"], "this needs torch, which is not installed; run: pip install"),
        (EXTRAS, ["train", "--data", "x", "-o", "y"], "'gearshift[train]'"),
        (["onnx"], ["export", "x", "-o", "y"], "this needs onnx, which is not installed; run: pip install"),
        (
            ["onnx"],
            ["trim", "x", "-o", "y", "--keep", "z"],
            "this needs onnx, which is not installed; run: pip install",
        ),
        (EXTRAS, ["export", "x", "-o", "y"], "'gearshift[export]'"),
    ],
)
def test_a_missing_extra_is_one_line_with_the_command_that_installs_it(
    missing: Sequence[str], arguments: list[str], message: str
) -> None:
    assert message in without(missing, *arguments).error


def test_what_a_device_needs_works_without_any_extra(tiny_bundle: Path, profile: Path) -> None:
    ended = without(EXTRAS, "run", tiny_bundle, TEXT, "--threads", 1, "--profile", profile, "--json")
    assert (ended.code, ended.err) == (0, "")
    assert len(ended.json["answers"]) == 1
    assert "--teacher-epochs" in without(EXTRAS, "train", "--help").out


# Wrong usage ends with 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["inspect"], "the following arguments are required: BUNDLE"),
        (["inspect", "a", "b"], "unrecognized arguments: b"),
        (["inspect", "a", "--", "b"], "unrecognized arguments: b"),
        (["run", "a", "text", "--speed", "9"], "unrecognized arguments: --speed 9"),
        (["run", "a", "--deadline-ms", "soon"], "argument --deadline-ms: invalid float value: 'soon'"),
        (["run", "a", "--precision", "fp4"], "invalid choice: 'fp4'"),
        (["train", "--data", "a"], "the following arguments are required: -o/--output"),
        (["train", "--data", "a", "-o", "b", "--seed", "x"], "argument --seed: invalid int value: 'x'"),
        (
            ["train", "--data", "a", "-o", "b", "--widths", "abc"],
            "argument --widths: expected numbers with commas between them, such as 1,0.5, got 'abc'",
        ),
        (["train", "--data", "a", "-o", "b", "--depths", "1,,0.5"], "argument --depths: expected numbers with commas"),
        (["train", "--data", "a", "-o", "b", "--task", "poetry"], "invalid choice: 'poetry'"),
        (["export", "a", "-o", "b", "--precision", "fp4"], "--precision: expected some of fp32,int8,fp16, got 'fp4'"),
        (["export", "a", "-o", "b", "--precision", ""], "--precision: expected some of fp32,int8,fp16, got ''"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_why(command: Command, arguments: list[str], message: str) -> None:
    ended = command(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err.splitlines()[-1]
    assert ended.err.startswith("usage: gearshift")


def test_precisions_may_have_blanks_and_repeat() -> None:
    assert parse(["export", "a", "-o", "b", "--precision", "int8, fp32,int8"]).precision == ("int8", "fp32")
    assert parse(["export", "a", "-o", "b"]).precision is None  # all that the operators have on a CPU


def test_multipliers_are_numbers_with_commas() -> None:
    assert parse(["train", "--data", "a", "-o", "b", "--widths", "1,0.5,.25"]).widths == (1.0, 0.5, 0.25)


def test_every_setting_of_training_has_a_flag_whose_shown_default_is_the_default(command: Command) -> None:
    assert set(SETTINGS) == {field.name for field in fields(Settings)}
    described = " ".join(command("train", "--help").out.split()).partition("settings: ")[2]
    for name, value in Settings().to_dict().items():
        flag = f"--{name.replace('_', '-')}"
        if value == "":  # what is left out has no default to show
            assert f" {flag} NAME " in described
            continue
        found = re.search(rf"{flag}[ ,].*?\(default: (.*?)\)", described)
        assert found, name
        shown = found[1].replace(" ", "")
        if isinstance(value, bool):
            typed = [flag if shown == "yes" else flag.replace("--", "--no-", 1)]
        else:
            typed = [flag, shown]
        assert getattr(parse(["train", "--data", "a", "-o", "b", *typed]), name) == value, name


@pytest.mark.parametrize("name", ["train", "export", "inspect", "verify", "run", "doctor"])
def test_help_says_what_every_argument_is_for(command: Command, name: str) -> None:
    ended = command(name, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert "print one JSON object" in ended.out
    alone = [line for line in ended.out.splitlines() if line.startswith("  -") and line.split()[-1].isupper()]
    for line in alone:  # too long for its help to stand beside it
        assert len(line) > 20, line


def test_the_version_is_the_package_s(command: Command) -> None:
    assert command("--version").out == f"gearshift {gearshift.__version__}\n"


# Ends that are nobody's fault


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["doctor"], "gearshift: interrupted\n"),
        (
            ["train", "--data", "x", "-o", "y"],
            "gearshift: interrupted; the same command goes on from where it last saved\n",
        ),
    ],
)
def test_an_interruption_is_one_line(
    command: Command, monkeypatch: pytest.MonkeyPatch, arguments: list[str], line: str
) -> None:
    def interrupt(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(training_commands if arguments[0] == "train" else device_commands, arguments[0], interrupt)
    assert command(*arguments) == Ended(INTERRUPTED, "", line)


def test_a_reader_that_goes_away_is_no_error(tiny_bundle: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    call = [sys.executable, "-m", "gearshift", "inspect", str(tiny_bundle)]
    done = subprocess.run(call, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=PATIENCE_S, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (BROKEN_PIPE, "")


def test_verbose_may_stand_before_and_after_the_command() -> None:
    given = [parse(arguments).verbose for arguments in (["doctor"], ["-v", "doctor"], ["doctor", "-v"])]
    assert given == [False, True, True]


def test_verbose_logs_what_is_done(
    command: Command,
    small_data: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging.getLogger("gearshift"), "level", logging.NOTSET)  # put back as it was
    (small_data / "test.tsv").unlink()
    arguments = ("train", "--data", small_data, "--model", tmp_path, "-o", tmp_path / "run")
    command(*arguments)
    assert caplog.messages == []
    command(*arguments, "-v")
    assert [(record.name, record.levelname) for record in caplog.records] == [("gearshift.trainer.data.splits", "INFO")]
    assert "no test file" in caplog.text


# From nothing to a bundle that switches

FEW_STEPS = ["--max-length", 32, "--batch-size", 32, "--importance-rows", 64, "--teacher-lr", 3e-3]


EPOCHS = ["--teacher-epochs", 1.5, "--width-epochs", 0.5, "--depth-epochs", 0.5]


def test_a_few_steps_of_training_become_a_bundle_that_switches_between_all_subnets(
    command: Command, tmp_path: Path
) -> None:
    splits = generate(train=300, dev=30, test=60)
    write(tmp_path / "data", splits)
    texts = [row.text for row in splits["train"]]
    make_checkpoint(tmp_path / "model", texts, labels=30)
    run, made = tmp_path / "run", tmp_path / "made.gearshift"

    trained = command(
        "train", "--data", tmp_path / "data", "--model", tmp_path / "model", "-o", run, "--json", *FEW_STEPS, *EPOCHS
    )
    assert trained.code == 0, trained.err
    assert trained.json["rows"] == {"train": 300, "dev": 30, "test": 60}
    names = [subnet["name"] for subnet in trained.json["subnets"]]
    assert len(names) == 12
    sizes = [(subnet["macs"], subnet["parameters"]) for subnet in trained.json["subnets"]]
    assert max(sizes) == sizes[0] and min(sizes) == sizes[-1]

    exported = command("export", run, "-o", made, "--licence", "Apache-2.0", "--json")
    assert exported.code == 0, exported.err
    assert exported.json["parity"] < 1e-4
    in_fp32 = {entry["name"]: entry["accuracy"] for entry in exported.json["pool"] if entry["precision"] == "fp32"}
    assert in_fp32 == pytest.approx({subnet["name"]: subnet["accuracy"] for subnet in trained.json["subnets"]})

    given = ("--granularity", "pool", "--precision", "fp32", "--portable", "w025-d050", "--json")
    whole = command("export", run, "-o", tmp_path / "w.gearshift", *given)
    assert [len(stage["options"]) for stage in whole.json["space"]["stages"]] == [12]
    assert whole.json["parity"] < 1e-4
    static = tmp_path / "w.gearshift.portable"
    assert whole.json["portable"] == {"path": str(static), "parity": {"w025-d050": pytest.approx(0, abs=1e-4)}}
    assert (static / "w025-d050" / "model.onnx").is_file()
    refused = command("export", run, "-o", tmp_path / "x.gearshift", "--portable", "w025-d050,huge").error
    assert refused.startswith("portable: unknown subnet 'huge'; expected all, or some of w100-d100, w075-d100")
    assert not (tmp_path / "x.gearshift").exists()

    standard = command("export", run, "-o", tmp_path / "s.gearshift", "--operators", "standard", "--json")
    assert {entry["precision"] for entry in standard.json["pool"]} == {"fp32"}
    model = onnx.load(tmp_path / "s.gearshift" / "fp32.onnx", load_external_data=False)
    assert [opset.domain for opset in model.opset_import] == [""]
    strict = ("--int8-tolerance", 0, "--wider", "--precision", "fp32,int8,fp16")
    mixed = command("export", run, "-o", tmp_path / "m.gearshift", *strict, "--json").json
    in_int8 = [entry for entry in mixed["pool"] if entry["precision"] == "int8"]
    lost = {entry["name"]: in_fp32[entry["name"]] - entry["accuracy"] for entry in in_int8}
    assert mixed["int8_losses"] == {name: pytest.approx(loss) for name, loss in lost.items() if loss > 1e-6}
    assert {entry["precision"] for entry in mixed["pool"]} == {"fp32", "int8", "fp16"}
    refused = command("export", run, "-o", tmp_path / "x.gearshift", "--int8-tolerance", 2).error
    assert refused == "int8 tolerance: expected a share of 1, such as 0.01, got 2.0"

    assert command("verify", made).code == 0
    ended = command("run", made, *texts[:3], "--json", "--save-profile", tmp_path / "profile.json")
    assert [given["text"] for given in ended.json["answers"]] == texts[:3]
    with Engine.load(made, profile=tmp_path / "profile.json") as engine:
        scores: dict[str, dict[str, float]] = {}
        for name in [*names, *reversed(names)]:
            engine.pin(name)
            given = engine.run(texts[0])
            assert given.subnet == name
            assert scores.setdefault(name, given.scores) == given.scores
        assert engine.stats()["switches"] == 22
    assert len({tuple(values.values()) for values in scores.values()}) == 12


# A smaller bundle


def test_trim_writes_a_bundle_that_verifies_and_answers(command: Command, tiny_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "smaller.gearshift"
    ended = command("trim", tiny_bundle, "-o", out, "--keep", "w025-d050, w050-d050", "--precision", "int8")
    assert (ended.code, ended.err) == (0, "")
    assert re.match(rf"{re.escape(str(out))}: written and verified, 0\.\d MB of 0\.5 MB\n", ended.out)
    assert [line.split()[0] for line in ended.out.splitlines()[2:]] == ["w050-d050", "w025-d050"]
    verified = command("verify", out)
    assert verified.out == f"{out}: 5 files as they must be, 2 subnets right at int8\n"
    ran = command("run", out, "--threads", 1, "--subnet", "w025-d050", TEXT)
    assert (ran.code, ran.out.split()[0]) == (0, "lights_off")


def test_trim_to_a_size_as_json_describes_what_was_written(command: Command, tiny_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "smaller.gearshift"
    ended = command("trim", tiny_bundle, "-o", out, "--max-mb", 0.3, "--json")
    assert (ended.code, ended.err) == (0, "")
    assert ended.json["hash"] == open_bundle(out).hash
    assert sum(path.stat().st_size for path in out.iterdir()) <= 300_000


def test_trim_to_a_size_that_nothing_has_ends_in_one_line(command: Command, tiny_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "smaller.gearshift"
    error = command("trim", tiny_bundle, "-o", out, "--max-mb", 0.001).error
    assert error.startswith("trim: no subnet fits into 0.001 MB; expected 0.")
    assert not out.exists()


@pytest.mark.parametrize("given", [(), ("--keep", "w050-d050", "--max-mb", "1"), ("--max-mb", "much")])
def test_trim_wants_either_names_or_a_size(
    command: Command, tiny_bundle: Path, tmp_path: Path, given: tuple[str, ...]
) -> None:
    ended = command("trim", tiny_bundle, "-o", tmp_path / "out", *given)
    assert ended.code == 2
    assert "--max-mb" in ended.err


# Policies


def test_policies_are_tried_on_a_made_up_trace_and_on_a_decision_log(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile, log = tmp_path / "profile.json", tmp_path / "log.jsonl"
    run = ["run", str(tiny_bundle), "turn the lights off", "--threads", "1", "--deadline-ms", "60000"]
    assert main([*run, "--save-profile", str(profile), "--log", str(log)]) == 0
    capsys.readouterr()
    simulate = ["simulate", str(tiny_bundle), "--profile", str(profile), "--json", "--seconds", "1"]
    assert main([*simulate, "--trace", "contention", "--policy", "gearshift,kalman"]) == 0
    made_up = json.loads(capsys.readouterr().out)
    assert list(made_up["policies"]) == ["gearshift", "kalman"]
    assert made_up["requests"] > 10
    assert all(0 < found["goodput_accuracy"] <= 1 for found in made_up["policies"].values())
    assert main([*simulate, "--trace", str(log)]) == 0
    replayed = json.loads(capsys.readouterr().out)
    assert (replayed["requests"], replayed["policies"]["gearshift"]["deadlines_met"]) == (1, 1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trace", "night"], "unknown trace 'night'"),
        (["--trace", "steady", "--policy", "best"], "--policy: expected some of gearshift, .*, got best"),
    ],
)
def test_a_trace_or_policy_that_there_is_not_is_one_line(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    profile = tmp_path / "profile.json"
    with Engine.load(tiny_bundle, threads=1) as engine:
        engine.save_profile(profile)
    assert main(["simulate", str(tiny_bundle), "--profile", str(profile), *arguments]) == 1
    assert re.search(message, capsys.readouterr().err)


# What a log shows


def test_a_log_of_run_is_drawn(answer: Command, command: Command, tmp_path: Path) -> None:
    log, picture = tmp_path / "log.jsonl", tmp_path / "plot.svg"
    assert answer("--log", log, "--deadline-ms", 5000, "--", TEXT, "play some music").code == 0
    ended = command("plot", log, "-o", picture)
    assert (ended.code, ended.out, ended.err) == (0, f"{picture}: 2 requests\n", "")
    assert "<svg" in picture.read_text()
    assert command("plot", log, "-o", picture, "--json").json == {"plot": str(picture), "requests": 2}


def test_what_is_no_log_or_no_picture_is_one_line(command: Command, tiny_bundle: Path, tmp_path: Path) -> None:
    assert "no decision log" in command("plot", tiny_bundle / "manifest.json", "-o", tmp_path / "a.png").error
    assert "could not be read" in command("plot", tmp_path / "none.jsonl", "-o", tmp_path / "a.png").error


def test_plotting_without_matplotlib_names_the_command(tiny_bundle: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        f"from gearshift.__main__ import main; sys.exit(main(['plot', 'log', '-o', {str(tmp_path / 'a.png')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "gearshift: this needs matplotlib, which is not installed; run: pip install 'gearshift[plot]'\n"
    )


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
