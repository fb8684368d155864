"""ONNX Runtime's execution providers: the packages that bring them, and the ones that cannot run an elastic graph."""

from __future__ import annotations

from collections.abc import Sequence

import onnxruntime as ort

from gearshift.device_profiles.latency_table import CPU_PROVIDER
from gearshift.errors import InputError

CPU = (CPU_PROVIDER,)

PACKAGES = {
    "CUDAExecutionProvider": "onnxruntime-gpu",
    "TensorrtExecutionProvider": "onnxruntime-gpu",
    "OpenVINOExecutionProvider": "onnxruntime-openvino",
    "DmlExecutionProvider": "onnxruntime-directml",
    "MIGraphXExecutionProvider": "onnxruntime-migraphx",
    "ROCMExecutionProvider": "onnxruntime-rocm",
    "QNNExecutionProvider": "onnxruntime-qnn",
    "CANNExecutionProvider": "onnxruntime-cann",
}
"""Provider -> the package that brings it. All install into the folder `onnxruntime`: the last one installed counts."""

WITHOUT_CONTROL_FLOW = {
    "TensorrtExecutionProvider",
    "NvTensorRTRTXExecutionProvider",
    "QNNExecutionProvider",
    "NnapiExecutionProvider",
    "CoreMLExecutionProvider",
}
"""Providers that refuse `If`, or leave its branches to the CPU, which hold all of the encoder."""


WITHOUT_INT8 = {"CUDAExecutionProvider"}
"""Providers without a kernel for the operators of an int8 graph, which would run on the CPU, with copies around each
(ONNX Runtime's docs/OperatorKernels.md)."""


def has_kernels(precision: str, providers: Sequence[str]) -> bool:
    """Return whether the most wanted provider has kernels for the graph of a precision."""
    return precision != "int8" or next(iter(providers), "") not in WITHOUT_INT8


def check_kernels(precision: str, providers: Sequence[str]) -> None:
    """Raise InputError if the most wanted provider has no kernels for the graph of a precision."""
    if not has_kernels(precision, providers):
        raise InputError(
            f"precision: {providers[0]} has no kernels for int8, got int8; take fp32 or fp16, or the CPU's provider"
        )


def check_providers(providers: Sequence[str]) -> None:
    """Raise InputError if a provider is not installed, or cannot run an elastic graph."""
    available = ort.get_available_providers()
    if isinstance(providers, str) or not providers or not all(isinstance(name, str) for name in providers):
        raise InputError(f"providers: expected a list out of {', '.join(available)}, got {providers!r}")
    for name in providers:
        if name in WITHOUT_CONTROL_FLOW:
            raise InputError(
                f"providers: {name} does not run the `If` of an elastic graph; "
                "name another provider, or give it a static graph (gearshift export --portable)"
            )
        if name not in available:
            package = PACKAGES.get(name)
            hint = f"install {package} (docs/devices.md, Providers)" if package else "check its name"
            raise InputError(f"providers: expected a list out of {', '.join(available)}, got {name}; {hint}")


def check_started(session: ort.InferenceSession, providers: Sequence[str]) -> None:
    """Raise InputError if onnxruntime left out the wanted provider, as it does if its drivers are missing."""
    started = session.get_providers()
    if started[0] != providers[0]:
        raise InputError(
            f"providers: expected {providers[0]} to start, found {', '.join(started)} alone; "
            "check its drivers and libraries (for CUDA: pip install 'onnxruntime-gpu[cuda,cudnn]')"
        )
