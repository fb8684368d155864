"""Sessions over the graph of a bundle, and the self-test that they must pass."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from gearshift.errors import BundleError, InputError, SchemaError, SelfTestError
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.bundle.known_values import SESSION_OPTIONS
from gearshift.runtime.bundle.manifest import SELF_TEST
from gearshift.runtime.inference import self_test
from gearshift.runtime.inference.opened import random_inputs
from gearshift.runtime.inference.self_test import check_self_test
from gearshift.runtime.inference.session import OPTIMIZATION_KEY, OPTIMIZATION_LEVELS, ElasticSession
from tests.runtime.altered import change_manifest, change_self_test


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_every_subnet_gives_the_logits_that_the_bundle_says(bundle: Bundle, precision: str) -> None:
    check_self_test(ElasticSession(bundle, precision, threads=1), bundle)


def test_every_subnet_gives_other_logits(session: ElasticSession, bundle: Bundle) -> None:
    inputs = random_inputs(bundle, 12)
    seen = {name: session.run(inputs, entry.choice).tobytes() for name, entry in bundle.pool("fp32").items()}
    assert len(set(seen.values())) == len(seen)


def test_a_row_of_a_batch_gives_what_it_gives_alone(session: ElasticSession, bundle: Bundle) -> None:
    rows = [random_inputs(bundle, 9, seed) for seed in range(3)]
    batch = {name: np.concatenate([row[name] for row in rows]) for name in bundle.manifest.inputs}
    for entry in bundle.pool("fp32").values():
        logits = session.run(batch, entry.choice)
        assert logits.shape == (3, len(bundle.manifest.labels))
        assert logits.dtype == np.float32
        for index, row in enumerate(rows):
            assert session.run(row, entry.choice)[0] == pytest.approx(logits[index], abs=1e-4)


def test_padding_changes_nothing(session: ElasticSession, bundle: Bundle) -> None:
    short = random_inputs(bundle, 5)
    padded = {name: np.pad(array, ((0, 0), (0, 6))) for name, array in short.items()}
    for entry in bundle.pool("fp32").values():
        assert session.run(padded, entry.choice) == pytest.approx(session.run(short, entry.choice), abs=1e-4)


def test_threads_may_run_different_subnets_at_once(session: ElasticSession, bundle: Bundle) -> None:
    inputs = random_inputs(bundle, 16)
    pool = bundle.pool("fp32")
    alone = {name: session.run(inputs, entry.choice) for name, entry in pool.items()}
    wrong: list[str] = []

    def repeat(name: str) -> None:
        for _ in range(20):
            if not np.allclose(session.run(inputs, pool[name].choice), alone[name], atol=1e-5):
                wrong.append(name)

    workers = [threading.Thread(target=repeat, args=(name,)) for name in pool]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


def test_inputs_that_the_graph_does_not_take_are_one_line(session: ElasticSession) -> None:
    with pytest.raises(BundleError, match="onnxruntime could not run it") as caught:
        session.run({"pixels": np.zeros((1, 4), dtype=np.int64)}, (0, 0, 0, 0))
    assert "\n" not in str(caught.value)


def test_a_graph_that_cannot_be_loaded_is_one_line(bundle_copy: Path) -> None:
    (bundle_copy / "fp32.onnx").write_bytes(b"no graph")
    change_manifest(bundle_copy)
    with pytest.raises(BundleError, match=r"fp32\.onnx: expected a graph as .* found") as caught:
        ElasticSession(open_bundle(bundle_copy), "fp32", threads=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("threads", [0, -1, True, 1.5, "2", None])
def test_a_number_of_threads_that_is_none_is_refused(bundle: Bundle, threads: Any) -> None:
    with pytest.raises(InputError, match="threads: expected a whole number from 1 to 1024"):
        ElasticSession(bundle, "fp32", threads=threads)


@pytest.mark.parametrize("providers", [[], ["NoSuchProvider"], "CPUExecutionProvider"])
def test_an_unknown_provider_is_answered_with_those_there_are(bundle: Bundle, providers: Any) -> None:
    with pytest.raises(InputError, match=r"providers: expected a list out of .*CPUExecutionProvider"):
        ElasticSession(bundle, "fp32", threads=1, providers=providers)


def test_a_bundle_for_a_newer_onnxruntime_says_what_to_install(bundle_copy: Path) -> None:
    change_manifest(bundle_copy, minimum_onnxruntime="99.1")
    with pytest.raises(SchemaError, match=rf"needs onnxruntime 99\.1 or newer, found {ort.__version__}"):
        ElasticSession(open_bundle(bundle_copy), "fp32", threads=1)


@pytest.mark.parametrize("version", ["1.9", "1.23", "1.23.0rc1", ort.__version__])
def test_versions_are_compared_as_numbers(bundle_copy: Path, version: str) -> None:
    change_manifest(bundle_copy, minimum_onnxruntime=version)
    ElasticSession(open_bundle(bundle_copy), "fp32", threads=1)


def test_every_level_that_a_manifest_may_name_is_known() -> None:
    assert tuple(OPTIMIZATION_LEVELS) == SESSION_OPTIONS[OPTIMIZATION_KEY]


def test_a_version_that_means_nothing_is_refused(bundle_copy: Path) -> None:
    change_manifest(bundle_copy, minimum_onnxruntime="new")
    with pytest.raises(SchemaError, match=r"expected a version of onnxruntime such as 1\.23, found 'new'"):
        ElasticSession(open_bundle(bundle_copy), "fp32", threads=1)


@pytest.mark.parametrize(("entries", "spins"), [({}, "0"), ({"session.intra_op.allow_spinning": "1"}, "1")])
def test_the_session_options_of_the_manifest_reach_onnxruntime(
    bundle_copy: Path, monkeypatch: pytest.MonkeyPatch, entries: dict[str, str], spins: str
) -> None:
    options: list[ort.SessionOptions] = []
    load = ort.InferenceSession

    def loading(path: str, given: ort.SessionOptions, **others: Any) -> Any:
        options.append(given)
        return load(path, given, **others)

    monkeypatch.setattr(ort, "InferenceSession", loading)
    change_manifest(bundle_copy, session_options={"graph_optimization_level": "basic", **entries})
    ElasticSession(open_bundle(bundle_copy), "fp32", threads=3)
    (given,) = options
    assert given.intra_op_num_threads == 3
    assert given.inter_op_num_threads == 1
    assert given.graph_optimization_level == ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    assert given.get_session_config_entry("session.intra_op.allow_spinning") == spins


def test_a_graph_is_not_optimized_again_unless_asked(bundle_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    levels: list[ort.GraphOptimizationLevel] = []
    load = ort.InferenceSession

    def loading(path: str, given: ort.SessionOptions, **others: Any) -> Any:
        levels.append(given.graph_optimization_level)
        return load(path, given, **others)

    monkeypatch.setattr(ort, "InferenceSession", loading)
    change_manifest(bundle_copy, session_options={})
    ElasticSession(open_bundle(bundle_copy), "fp32", threads=1)
    assert levels == [ort.GraphOptimizationLevel.ORT_DISABLE_ALL]


Array = NDArray[np.generic]


def _wrong(precision: str, subnet: str, by: float) -> Any:
    """Moves the expected logits of one subnet by that many of their standard deviations, label by label."""

    def change(name: str, array: Array) -> Array:
        if name != f"logits.{precision}.{subnet}":
            return array
        signs = np.where(np.arange(array.shape[-1]) % 2, 1.0, -1.0)
        return np.asarray(array + by * np.std(array.astype(np.float64)) * signs, dtype=np.float32)

    return change


@pytest.mark.parametrize(("precision", "by"), [("fp32", 0.05), ("int8", 0.3)])
@pytest.mark.parametrize("subnet", ["w100-d100", "w025-d050"])
def test_one_wrong_subnet_is_found_and_named(bundle_copy: Path, precision: str, by: float, subnet: str) -> None:
    change_self_test(bundle_copy, _wrong(precision, subnet, by))
    changed = open_bundle(bundle_copy)
    with pytest.raises(SelfTestError, match=rf"{precision} self-test, subnet {subnet}: .* expected at most"):
        check_self_test(ElasticSession(changed, precision, threads=1), changed)


def test_int8_may_differ_by_a_step_of_quantization(bundle_copy: Path) -> None:
    change_self_test(bundle_copy, _wrong("int8", "w100-d100", 0.01))
    changed = open_bundle(bundle_copy)
    check_self_test(ElasticSession(changed, "int8", threads=1), changed)


def test_int8_that_gives_other_labels_is_found_though_its_logits_are_near(
    bundle_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_label(name: str, array: Array) -> Array:
        if not name.startswith("logits.int8."):
            return array
        return np.roll(array, 1, axis=-1).astype(np.float32)

    monkeypatch.setattr(self_test, "INT8_ERROR", 10.0)  # as if every logit were near enough
    change_self_test(bundle_copy, other_label)
    changed = open_bundle(bundle_copy)
    with pytest.raises(SelfTestError, match="int8 self-test: expected the same label on 90% of"):
        check_self_test(ElasticSession(changed, "int8", threads=1), changed)


def test_not_a_number_is_found(bundle_copy: Path) -> None:
    change_self_test(bundle_copy, lambda name, array: array * np.nan if "int8.w100-d100" in name else array)  # type: ignore[operator]
    changed = open_bundle(bundle_copy)
    with pytest.raises(SelfTestError, match="found nan"):
        check_self_test(ElasticSession(changed, "int8", threads=1), changed)


def test_a_self_test_without_an_array_is_a_schema_error(bundle_copy: Path) -> None:
    change_self_test(bundle_copy, lambda name, array: None if name == "logits.fp32.w050-d100" else array)
    changed = open_bundle(bundle_copy)
    with pytest.raises(SchemaError, match=r"selftest\.npz: not readable .*export the bundle again"):
        check_self_test(ElasticSession(changed, "fp32", threads=1), changed)


def test_a_self_test_with_other_labels_is_found(bundle_copy: Path) -> None:
    change_self_test(bundle_copy, lambda name, array: array[:, 1:] if name.startswith("logits") else array)
    changed = open_bundle(bundle_copy)
    with pytest.raises(SelfTestError, match="expected logits of shape"):
        check_self_test(ElasticSession(changed, "fp32", threads=1), changed)


def test_a_self_test_that_holds_objects_is_not_unpickled(bundle_copy: Path) -> None:
    with np.load(bundle_copy / SELF_TEST) as arrays:
        kept = {name: arrays[name] for name in arrays.files}
    kept["input_ids"] = np.array([{"a": 1}], dtype=object)
    np.savez(bundle_copy / SELF_TEST, allow_pickle=True, **kept)
    change_manifest(bundle_copy)
    changed = open_bundle(bundle_copy)
    with pytest.raises(SchemaError, match=r"input_ids: an array .* of object, which was not expected"):
        check_self_test(ElasticSession(changed, "fp32", threads=1), changed)
