"""Providers that are missing, cannot run the graph, or do not start: one line each that says what to do."""

from __future__ import annotations

import dataclasses
from typing import Any

import onnxruntime as ort
import pytest

from gearshift.errors import BundleError, InputError
from gearshift.runtime import Engine
from gearshift.runtime.bundle.bundle import Bundle
from gearshift.runtime.inference.providers import CPU, PACKAGES, WITHOUT_CONTROL_FLOW, check_providers
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.startup import _eligible


def available(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: [*names, *CPU])


def test_the_cpu_is_always_there() -> None:
    check_providers(CPU)


@pytest.mark.parametrize(("provider", "package"), sorted(PACKAGES.items()))
def test_a_missing_provider_names_the_package_that_brings_it(
    provider: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    available(monkeypatch)
    wanted = "does not run the `If`" if provider in WITHOUT_CONTROL_FLOW else rf"got {provider}; install {package} "
    with pytest.raises(InputError, match=wanted) as caught:
        check_providers([provider, *CPU])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("provider", sorted(WITHOUT_CONTROL_FLOW))
def test_a_provider_without_control_flow_is_refused_though_it_is_there(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    available(monkeypatch, provider)
    with pytest.raises(InputError, match=rf"{provider} does not run the `If` of an elastic graph; .*--portable"):
        check_providers([provider])


def test_a_name_that_no_package_brings_is_to_be_checked() -> None:
    with pytest.raises(InputError, match=r"got CudaExecutionProvider; check its name"):
        check_providers(["CudaExecutionProvider"])


def test_a_provider_that_is_installed_but_does_not_start_is_no_silent_cpu(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check it as with onnxruntime-gpu on a machine without CUDA: the library goes on with the CPU."""
    available(monkeypatch, "CUDAExecutionProvider")
    build = ort.InferenceSession

    def on_the_cpu(path: str, options: Any, *, providers: list[str]) -> Any:
        return build(path, options, providers=[name for name in providers if name in CPU])

    monkeypatch.setattr(ort, "InferenceSession", on_the_cpu)
    with pytest.raises(InputError, match=r"expected CUDAExecutionProvider to start, found CPUExecutionProvider alone"):
        ElasticSession(bundle, "fp32", threads=1, providers=["CUDAExecutionProvider", *CPU])


def test_the_engine_says_so_in_one_line(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    available(monkeypatch)
    with pytest.raises(
        InputError, match=r"got CUDAExecutionProvider; install onnxruntime-gpu \(docs/devices.md, Providers\)"
    ):
        Engine.load(bundle.path, providers=["CUDAExecutionProvider"])


def test_int8_on_cuda_is_refused_in_one_line(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    available(monkeypatch, "CUDAExecutionProvider")
    with pytest.raises(
        InputError, match=r"^precision: CUDAExecutionProvider has no kernels for int8, .*fp16"
    ) as caught:
        Engine.load(bundle.path, precision="int8", providers=["CUDAExecutionProvider", *CPU])
    assert "\n" not in str(caught.value)


def test_auto_leaves_int8_out_on_cuda(bundle: Bundle) -> None:
    assert "int8" in _eligible(bundle, CPU)
    assert _eligible(bundle, ["CUDAExecutionProvider", *CPU]) == ("fp32",)
    pool = tuple(entry for entry in bundle.manifest.pool if entry.precision == "int8")
    alone = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, pool=pool))
    with pytest.raises(BundleError, match=r"expected fp32 or fp16 for CUDAExecutionProvider, found int8; export"):
        _eligible(alone, ["CUDAExecutionProvider"])
