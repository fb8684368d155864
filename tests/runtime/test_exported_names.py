from __future__ import annotations

import subprocess
import sys

import pytest

import gearshift.runtime

NAMES = [
    "AnswerFuture",
    "Bundle",
    "BundleError",
    "Caps",
    "Classification",
    "DeadlineError",
    "DeadlinePassedError",
    "DeadlineTooShortError",
    "Embedding",
    "EncoderShape",
    "Engine",
    "EngineClosedError",
    "Entity",
    "Fleet",
    "GearshiftError",
    "ImageToImage",
    "InputError",
    "IntegrityError",
    "Manifest",
    "MultiLabelClassification",
    "MultiTask",
    "Objective",
    "Option",
    "Pipeline",
    "PoolEntry",
    "ProfileError",
    "QuestionAnswering",
    "QueueFullError",
    "Ranked",
    "Ranking",
    "Regression",
    "Rules",
    "SchemaError",
    "SelfTestError",
    "Sensors",
    "SignatureError",
    "Space",
    "Stage",
    "Steering",
    "StorageError",
    "Subnet",
    "TokenClassification",
    "UnknownSubnetError",
    "Word",
    "Words",
    "ZeroShot",
    "layer_space",
    "open_bundle",
    "pipeline",
    "uniform_grid",
]


def test_these_are_the_public_names() -> None:
    assert gearshift.runtime.__all__ == NAMES
    assert all(hasattr(gearshift.runtime, name) for name in NAMES)


PACKAGES = ["numpy", "onnxruntime", "psutil", "tokenizers"]
"""What a device has beside the standard library."""

SELDOM = [
    *["argparse", "asyncio", "http.server", "importlib.resources", "subprocess"],
    *["gearshift.runtime.dan.model", "gearshift.runtime.graph.check", "gearshift.runtime.reading.windows"],
    *["gearshift.runtime.pipelines", "gearshift.runtime.trust.trial"],
]
"""Modules that only some engines need, or only some of their methods."""


def loaded_by(statement: str, names: list[str]) -> list[str]:
    """Those of these modules that a fresh process has after a statement."""
    code = f"import sys\n{statement}\nprint(*[name for name in {names} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_importing_brings_no_package_before_a_name_is_asked_for() -> None:
    assert loaded_by("import gearshift.runtime", [*PACKAGES, *SELDOM, "gearshift.runtime.engine"]) == []


def test_a_part_of_the_runtime_brings_no_other() -> None:
    assert loaded_by("from gearshift.runtime import Subnet", [*PACKAGES, *SELDOM, "gearshift.runtime.engine"]) == []


def test_an_engine_brings_nothing_that_few_engines_need() -> None:
    assert loaded_by("from gearshift.runtime import Engine", SELDOM) == []
    assert loaded_by("from gearshift.runtime import Engine", PACKAGES) == ["numpy", "onnxruntime", "tokenizers"]


def test_a_name_that_there_is_not_is_told() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Engin'"):
        gearshift.runtime.Engin  # noqa: B018


def test_importing_brings_no_heavy_package_and_starts_no_thread() -> None:
    heavy = ["torch", "transformers", "onnx", "optimum", "matplotlib", "tqdm", "huggingface_hub", "cryptography"]
    code = (
        "import sys, threading, gearshift.runtime\n"
        "gearshift.runtime.Engine\n"
        f"print([name for name in {heavy} if name in sys.modules], threading.active_count())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "[] 1"
    assert done.stderr == ""
