from __future__ import annotations

import subprocess
import sys

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


def test_importing_brings_no_heavy_package_and_starts_no_thread() -> None:
    heavy = ["torch", "transformers", "onnx", "optimum", "matplotlib", "tqdm", "huggingface_hub", "cryptography"]
    code = (
        "import sys, threading, gearshift.runtime\n"
        f"print([name for name in {heavy} if name in sys.modules], threading.active_count())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "[] 1"
    assert done.stderr == ""
