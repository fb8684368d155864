from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest

from gearshift.device_profiles.profile import LatencyTable
from gearshift.errors import BundleError, ProfileError, SchemaError, SelfTestError
from gearshift.runtime import startup
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.bundle.manifest import SELF_TEST
from gearshift.runtime.inference.providers import CPU
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.profiles.own import own_path
from gearshift.runtime.profiles.store import save_table, this_device
from gearshift.runtime.startup import default_threads, start
from tests.runtime.altered import change_manifest, change_self_test


def _start(
    bundle: Bundle, precision: str = "auto", *, profile: Path | None = None
) -> tuple[ElasticSession, LatencyTable]:
    loaded = start(bundle, precision=precision, threads=1, profile=profile, providers=CPU)
    return loaded.opened.session, loaded.table


def _with_wrong(directory: Path, *precisions: str) -> Bundle:
    """The bundle with expected logits that no graph of these precisions gives."""
    starts = tuple(f"logits.{precision}." for precision in precisions)
    change_self_test(directory, lambda name, array: np.zeros_like(array) if name.startswith(starts) else array)
    return open_bundle(directory)


@pytest.mark.parametrize(("cpus", "threads"), [(0.5, 1), (1, 1), (2, 1), (3.9, 1), (4, 2), (8, 4), (64, 32)])
def test_half_of_the_cpus_are_used(cpus: float, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "effective_cpus", lambda: cpus)
    assert default_threads() == threads


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_named_precision_is_taken(bundle: Bundle, precision: str) -> None:
    session, table = _start(bundle, precision)
    assert session.precision == table.precision == precision
    assert table.median_ms.keys() == bundle.pool(precision).keys()


@pytest.mark.parametrize("faster", ["fp32", "int8"])
def test_auto_takes_the_faster_precision_and_closes_the_other(
    bundle: Bundle, faster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    close = ElasticSession.close

    def closing(self: ElasticSession) -> None:
        closed.append(self.precision)
        close(self)

    monkeypatch.setattr(ElasticSession, "close", closing)
    monkeypatch.setattr(startup, "run_ms", lambda session, *_: 1.0 if session.precision == faster else 2.0)
    session, table = _start(bundle)
    assert session.precision == table.precision == faster
    assert closed == [precision for precision in bundle.precisions if precision != faster]


def test_auto_leaves_a_precision_that_is_wrong_on_this_cpu_with_a_warning(
    bundle_copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = _with_wrong(bundle_copy, "int8")
    with caplog.at_level(logging.WARNING):
        session, _ = _start(broken)
    assert session.precision == "fp32"
    (record,) = caplog.records
    assert "int8 self-test, subnet" in record.getMessage()
    assert record.getMessage().endswith("going on with fp32")


def test_a_named_precision_that_is_wrong_on_this_cpu_is_an_error(bundle_copy: Path) -> None:
    with pytest.raises(SelfTestError, match="int8 self-test, subnet w100-d100"):
        _start(_with_wrong(bundle_copy, "int8"), "int8")


def test_no_precision_that_is_right_is_an_error(bundle_copy: Path) -> None:
    with pytest.raises(SelfTestError, match="fp32 self-test"):
        _start(_with_wrong(bundle_copy, "fp32", "int8"))


def test_a_bundle_with_a_graph_that_is_none_is_not_used_at_all(bundle_copy: Path) -> None:
    (bundle_copy / "int8.onnx").write_bytes(b"no graph")
    change_manifest(bundle_copy)
    with pytest.raises(SchemaError, match=r"int8\.onnx: expected a graph as .* found"):
        _start(open_bundle(bundle_copy))


def test_an_unknown_precision_is_refused(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="no int4 graph in this bundle"):
        _start(bundle, "int4")


def _saved(bundle: Bundle, path: Path, **largest_ms: float) -> Path:
    for precision, ms in largest_ms.items():
        times: dict[str, tuple[float, ...]] = dict.fromkeys(bundle.pool(precision), (ms,))
        save_table(
            path,
            LatencyTable(bundle.hash, precision, CPU[0], 1, (16,), times, times, 1, "by hand", "2026-01-31"),
        )
    return path


def test_a_profile_is_used_instead_of_measuring(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(*_: object, **__: object) -> None:
        raise AssertionError("measured though there is a profile")

    monkeypatch.setattr(startup, "measure_table", measured)
    session, table = _start(bundle, profile=_saved(bundle, tmp_path / "p.json", fp32=2.0, int8=1.0))
    assert session.precision == table.precision == "int8"
    assert table.method == "by hand"


def test_with_a_profile_the_next_precision_is_taken_where_the_fastest_is_wrong(
    bundle_copy: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = _with_wrong(bundle_copy, "int8")
    profile = _saved(broken, tmp_path / "p.json", fp32=2.0, int8=1.0)
    with caplog.at_level(logging.WARNING):
        session, table = _start(broken, profile=profile)
    assert session.precision == table.precision == "fp32"


def test_a_profile_of_another_precision_does_not_help(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="int8 with 1 threads on CPUExecutionProvider, found fp32 with 1 threads"):
        _start(bundle, "int8", profile=_saved(bundle, tmp_path / "p.json", fp32=2.0))


def _with_fp16(directory: Path, *, alone: bool = False) -> Bundle:
    """The bundle with a pool at fp16 too, which is the fp32 graph under that name."""
    bundle = open_bundle(directory)
    entries = bundle.pool("fp32").values()
    half = tuple(dataclasses.replace(entry, precision="fp16") for entry in entries)
    with np.load(directory / SELF_TEST) as arrays:
        logits = {name: arrays[name] for name in arrays.files}
    logits |= {name.replace(".fp32.", ".fp16."): array for name, array in logits.items() if ".fp32." in name}
    np.savez(directory / SELF_TEST, allow_pickle=False, **logits)
    change_manifest(directory, pool=half if alone else (*bundle.manifest.pool, *half))
    return open_bundle(directory)


def test_auto_leaves_fp16_to_other_providers_than_the_cpus(bundle_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_fp16 = _with_fp16(bundle_copy)
    assert with_fp16.precisions == ("fp32", "int8", "fp16")
    monkeypatch.setattr(startup, "run_ms", lambda session, *_: 0.1 if session.precision == "fp16" else 1.0)
    assert _start(with_fp16)[0].precision != "fp16"
    assert _start(with_fp16, "fp16")[0].precision == "fp16"  # for those who ask for it


def test_auto_takes_fp16_where_it_is_the_fastest_on_another_provider(bundle_copy: Path) -> None:
    with_fp16 = _with_fp16(bundle_copy)
    assert startup._eligible(with_fp16, ("CUDAExecutionProvider", *CPU)) == ("fp32", "fp16")


def test_a_bundle_of_fp16_alone_says_what_a_cpu_needs(bundle_copy: Path) -> None:
    only = _with_fp16(bundle_copy, alone=True)
    with pytest.raises(BundleError, match="expected fp32 or int8 for a CPU, found fp16; export one of these too"):
        _start(only)


def test_a_profile_of_another_provider_is_not_used(bundle: Bundle, tmp_path: Path) -> None:
    _, table = _start(bundle, "fp32")
    save_table(tmp_path / "gpu.json", dataclasses.replace(table, provider="CUDAExecutionProvider"))
    message = r"with 1 threads on CPUExecutionProvider, found fp32 with 1 threads on CUDAExecutionProvider"
    with pytest.raises(ProfileError, match=message):
        _start(bundle, "fp32", profile=tmp_path / "gpu.json")
    save_table(tmp_path / "gpu.json", table)  # beside the other
    assert _start(bundle, "fp32", profile=tmp_path / "gpu.json")[1] == table


def test_this_devices_own_profile_is_used_instead_of_measuring(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(*_: object, **__: object) -> None:
        raise AssertionError("measured though there is a profile")

    monkeypatch.setenv("GEARSHIFT_PROFILE_DIR", str(tmp_path))
    _saved(bundle, own_path(this_device()), fp32=2.0, int8=1.0)
    monkeypatch.setattr(startup, "measure_table", measured)
    session, table = _start(bundle)
    assert session.precision == table.precision == "int8"
    assert table.method == "by hand"


def test_a_profile_that_lacks_a_precision_is_measured_anew(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEARSHIFT_PROFILE_DIR", str(tmp_path))
    _saved(bundle, own_path(this_device()), fp32=2.0)
    assert _start(bundle)[1].method != "by hand"
    assert _start(bundle, "fp32")[1].method == "by hand"
