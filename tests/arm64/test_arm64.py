"""The runtime on emulated arm64 boards answers as it does on this machine: every subnet, fp32 and int8."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gearshift.runtime import Bundle, open_bundle
from gearshift.runtime.bench.other_devices import device_rows, find_subjects
from gearshift.runtime.bundle.manifest import SELF_TEST
from gearshift.runtime.dan.model import save_dan
from gearshift.runtime.inference.opened import random_inputs
from tests.arm64 import answers, dan_answers
from tests.arm64.answers import Arrays, answer_all, write_cases
from tests.arm64.boards import BOARDS, Board, run_python
from tests.arm64.prepare import BUILD
from tests.runtime.dans import made_dan

pytestmark = pytest.mark.arm64

FP32_TOLERANCE = 1e-5
"""Tolerance of a logit: sums are added in another order. The largest difference seen was 3e-6."""

INT8_TOLERANCE = 1e-4
INT8_ERROR = 0.01
"""Integer products are the same everywhere, so that int8 differs by no more than the rounding of what is float
between them, except where that turns a value by a quantization step: at least half of a subnet's calls stay within
INT8_TOLERANCE, and the others within INT8_ERROR of the spread of their logits (mean). Seen: 68 of 72, and .0009."""

TOLERANCES = [("fp32", FP32_TOLERANCE), ("int8", INT8_TOLERANCE)]

LENGTHS = (1, 2, 17, 32)


@dataclass(frozen=True)
class Run:
    """Answers of one machine."""

    arrays: Arrays
    facts: dict[str, Any]

    def of(self, kind: str, precision: str) -> Arrays:
        """The arrays of that kind and precision."""
        return {key: array for key, array in self.arrays.items() if key.startswith(f"{kind}/{precision}/")}


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return open_bundle(tiny_bundle)


@pytest.fixture(scope="module")
def cases(bundle: Bundle) -> dict[str, Arrays]:
    """The bundle's own inputs, texts of each length alone, and all lengths as one padded batch."""
    rows = {length: random_inputs(bundle, length, seed=length) for length in LENGTHS}
    found = {f"{length}-tokens": row for length, row in rows.items()}
    padded = [
        {name: np.pad(array, ((0, 0), (0, max(LENGTHS) - length))) for name, array in row.items()}
        for length, row in rows.items()
    ]
    found["padded"] = {name: np.concatenate([row[name] for row in padded]) for name in bundle.manifest.inputs}
    with np.load(bundle.path / SELF_TEST, allow_pickle=False) as arrays:
        found["self-test"] = {name: arrays[name] for name in bundle.manifest.inputs}
    return found


@pytest.fixture(scope="module")
def here(bundle: Bundle, cases: dict[str, Arrays]) -> Run:
    return Run(*answer_all(bundle.path, cases))


@functools.cache
def run_on(board: Board, bundle: Path, inputs: Path, scratch: Path) -> Run:
    """Return what the board answers; each is started once."""
    done = run_python(board, scratch, Path(answers.__file__), bundle, inputs, scratch / "outputs.npz")
    assert done.returncode == 0, done.stderr
    with np.load(scratch / "outputs.npz", allow_pickle=False) as arrays:
        return Run(dict(arrays), json.loads(done.stdout))


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, cases: dict[str, Arrays]) -> dict[str, Path]:
    """A folder for each board, with the inputs."""
    assert (BUILD / "stamp").is_file(), "no emulated boards in build/arm64; run: make test-arm64"
    found = {board.cpu: tmp_path_factory.mktemp(board.cpu) for board in BOARDS}
    for place in found.values():
        write_cases(place / "inputs.npz", cases)
    return found


@pytest.fixture(scope="module", params=BOARDS, ids=lambda board: board.cpu)
def board(request: pytest.FixtureRequest) -> Board:
    assert isinstance(request.param, Board)
    return request.param


@pytest.fixture(scope="module")
def there(board: Board, bundle: Bundle, places: dict[str, Path]) -> Run:
    return run_on(board, bundle.path, places[board.cpu] / "inputs.npz", places[board.cpu])


def test_the_board_is_one_of_its_kind(board: Board, there: Run) -> None:
    assert there.facts["machine"] == "aarch64"
    assert there.facts["dot_product"] is board.dot_product is (board.cpu == "cortex-a76")


def test_the_board_has_the_four_dependencies_alone(there: Run) -> None:
    installed = {path.name.split("-")[0] for path in (BUILD / "site").glob("*.dist-info")}
    assert installed == {"numpy", "onnxruntime", "psutil", "tokenizers"}
    assert {"numpy", "onnxruntime", "tokenizers"} <= set(there.facts["packages"]) <= installed


def test_every_subnet_answers_at_both_precisions(bundle: Bundle, cases: dict[str, Arrays], there: Run) -> None:
    assert bundle.precisions == ("fp32", "int8")
    expected = set()
    for precision in bundle.precisions:
        for name in bundle.pool(precision):
            expected |= {f"graph/{precision}/{name}/{case}" for case in cases} | {f"scores/{precision}/{name}"}
    assert there.arrays.keys() == expected


def test_fp32_gives_the_logits_of_this_machine(here: Run, there: Run) -> None:
    for key, expected in here.of("graph", "fp32").items():
        assert np.abs(there.arrays[key] - expected).max() <= FP32_TOLERANCE, key


def test_int8_gives_the_logits_of_this_machine(bundle: Bundle, cases: dict[str, Arrays], here: Run, there: Run) -> None:
    for name in bundle.pool("int8"):
        close = 0
        for case in cases:
            expected = here.arrays[f"graph/int8/{name}/{case}"]
            error = np.abs(there.arrays[f"graph/int8/{name}/{case}"] - expected)
            assert error.mean() <= INT8_ERROR * expected.std(), (name, case)
            close += error.max() <= INT8_TOLERANCE
        assert close >= len(cases) / 2, name


@pytest.mark.parametrize(("precision", "limit"), TOLERANCES)
def test_the_logits_are_those_that_the_bundle_was_made_with(
    bundle: Bundle, there: Run, precision: str, limit: float
) -> None:
    with np.load(bundle.path / SELF_TEST, allow_pickle=False) as arrays:
        for name in bundle.pool(precision):
            found = there.arrays[f"graph/{precision}/{name}/self-test"]
            assert np.abs(found - arrays[f"logits.{precision}.{name}"]).max() <= limit, name


@pytest.mark.parametrize(("precision", "limit"), TOLERANCES)
def test_the_inputs_tell_the_subnets_apart(
    bundle: Bundle, cases: dict[str, Arrays], here: Run, precision: str, limit: float
) -> None:
    """Check that they do by far more than is allowed: a board that ran another subnet would be noticed."""
    for case in cases:
        for one, other in itertools.combinations(bundle.pool(precision), 2):
            first, second = (here.arrays[f"graph/{precision}/{name}/{case}"] for name in (one, other))
            assert np.abs(first - second).max() >= 100 * limit, (case, one, other)


@pytest.mark.parametrize(("precision", "limit"), [("fp32", 1e-5), ("int8", 1e-3)])
def test_texts_get_the_tokens_and_scores_of_this_machine(here: Run, there: Run, precision: str, limit: float) -> None:
    assert there.facts["chosen"]["tokens"] == here.facts["chosen"]["tokens"]
    for key, expected in here.of("scores", precision).items():
        assert expected.sum(axis=-1) == pytest.approx(np.ones(len(answers.TEXTS)))
        assert np.abs(there.arrays[key] - expected).max() <= limit, key
        assert (there.arrays[key].argmax(-1) == expected.argmax(-1)).all(), key


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_engine_picks_by_deadline(there: Run, precision: str) -> None:
    chosen = there.facts["chosen"][precision]
    assert chosen["patient"] == [chosen["ladder"][0], "fits"]
    subnet, reason = chosen["hasty"]
    assert reason == "best_effort"
    # The fastest for that text, most often the last; an emulator's times may leave one rung.
    assert subnet in (chosen["ladder"][1:] or chosen["ladder"])


def test_the_engine_picks_a_precision_that_is_right_there(bundle: Bundle, there: Run) -> None:
    auto = there.facts["chosen"]["auto"]
    assert auto["precision"] in bundle.precisions
    assert auto["subnet"] in bundle.pool(auto["precision"])


def test_both_boards_give_the_same_bits(bundle: Bundle, places: dict[str, Path]) -> None:
    """Their int8 kernels are others, and their products exact."""
    runs = [run_on(each, bundle.path, places[each.cpu] / "inputs.npz", places[each.cpu]) for each in BOARDS]
    for key, first in runs[0].arrays.items():
        assert (runs[1].arrays[key] == first).all(), key


def test_a_dan_answers_as_on_this_machine(board: Board, tmp_path: Path) -> None:
    texts = [
        text if isinstance(text, str) else " ".join(text if isinstance(text, tuple) else text.words)
        for text in answers.TEXTS
    ]
    dan = made_dan(5, texts=texts)
    save_dan(tmp_path / "dan", dan)
    done = run_python(board, tmp_path, Path(dan_answers.__file__), tmp_path / "dan", *texts)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(dan.logits(text)[1] > 0 for text in texts)
    np.testing.assert_allclose(json.loads(done.stdout), dan.run(texts), atol=FP32_TOLERANCE)


def test_doctor_knows_the_board(board: Board, tmp_path: Path) -> None:
    done = run_python(board, tmp_path, "-m", "gearshift", "doctor", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    device = report["device"]
    assert (device["machine"], device["cpu_model"], device["cores"]) == ("aarch64", board.model, 4)
    assert ("asimddp" in device["cpu_features"]) is board.dot_product
    (int8,) = (finding for finding in report["findings"] if finding["subject"] == "int8")
    assert int8["level"] == ("ok" if board.dot_product else "note")
    found = {finding["subject"]: finding for finding in report["findings"]}
    assert found["emulated"]["text"] == "this CPU is emulated by qemu: times measured here mean nothing"
    assert found["profile"]["advice"] == "gearshift bench BUNDLE"


def test_bench_runs_on_the_board_and_says_that_its_times_mean_nothing(
    board: Board, bundle: Bundle, tmp_path: Path
) -> None:
    given = ("--budget", "6", "--lengths", "8", "--threads", "1", "--compare", "raspberry-pi-4-b", "--json")
    written = ("--report", tmp_path / "r.html", "--plot", tmp_path / "r.svg")
    done = run_python(board, tmp_path, "-m", "gearshift", "bench", bundle.path, *given, *written)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["device"]["emulator"] == "qemu"
    assert found["device"]["cpu_model"] == board.model
    said = "this CPU is emulated by qemu: the figures show that everything runs, but the times mean nothing"
    assert said in (tmp_path / "r.html").read_text()
    assert {condition["precision"] for condition in found["conditions"]} == {"fp32", "int8"}
    for condition in found["conditions"]:
        assert {row["subnet"] for row in condition["subnets"]} == set(bundle.pool(condition["precision"]))
    # The operators of a subnet are the same everywhere, and so is what is estimated from them.
    subjects = find_subjects(["raspberry-pi-4-b"])
    here = [row.to_dict() for name in bundle.precisions for row in device_rows(bundle, subjects, name, (8,))]
    assert found["compare"] == [pytest.approx(row) for row in here]
    # A profile of it would be found by the engine.
    assert found["profile"] is None
    assert not (tmp_path / ".local").exists()


def test_int8_runs_on_the_dot_products_of_a_board_that_has_them(tiny_bundle: Path, tmp_path: Path) -> None:
    """onnxruntime goes by the part number, and one that lies dies of it: the kernels of the two boards do differ."""
    small, large = BOARDS
    assert (small.dot_product, large.dot_product) == (False, True)
    liar = dataclasses.replace(small, part=large.part)
    done = run_python(liar, tmp_path, "-m", "gearshift", "verify", tiny_bundle)
    assert done.returncode == -signal.SIGILL, done.stderr
