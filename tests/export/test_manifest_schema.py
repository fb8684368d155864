"""The JSON schema of manifests takes what the runtime takes, and refuses what it refuses."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gearshift.errors import BundleError
from gearshift.runtime.bundle import manifest as module
from gearshift.runtime.bundle.bundle import open_bundle
from gearshift.runtime.bundle.digest import with_digest
from gearshift.runtime.bundle.known_values import SESSION_OPTIONS, check_known_values
from gearshift.runtime.bundle.manifest import MANIFEST, FileEntry, Manifest, PoolEntry, Vectors
from gearshift.runtime.bundle.tag_schemes import _FORMS, NAMES, Scheme
from gearshift.runtime.bundle.tagging import Tagging
from gearshift.runtime.bundle.task_heads import HEAD_TASKS, TaskHead
from gearshift.runtime.bundle.tasks import MEAN, METRICS, MULTI_TASK, TASKS, TEXT_TASKS
from gearshift.runtime.bundle.words import WordRule
from gearshift.runtime.images.preparation import Preparation
from gearshift.runtime.space.blocks import Block, BlockShape, BlockSubnet
from gearshift.runtime.space.convolutions import Convolution, ConvolutionShape, Group
from gearshift.runtime.space.shape import ACTIVATIONS
from gearshift.runtime.space.space import block_space, layer_space, listed_space
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.trainer.model.configs import read_config
from gearshift.trainer.model.huggingface import load_model
from tests.export.test_tasks import write_bundle
from tests.runtime.bundle.test_manifest import MANIFEST_VALUE
from tests.trainer.encoders import ENCODERS, FORMS, HEADS, write_model

SCHEMA = json.loads(Path(module.__file__).with_name("manifest.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

CONTENT = b"x"
NAMES_OF_FILES = ("tokenizer.json", "selftest.npz", "fp32.onnx", "dan.safetensors")
FILES = {name: FileEntry(len(CONTENT), hashlib.sha256(CONTENT).hexdigest()) for name in NAMES_OF_FILES}
PLAIN = dataclasses.replace(MANIFEST_VALUE, files=FILES)
DAN = PoolEntry("dan", Subnet(()), "dan", "dan.safetensors", (), "int8", 0.5, 1, 1)


def of_task(task: str, **changes: Any) -> Manifest:
    labels = PLAIN.labels if TASKS[task].labelled else ()
    return dataclasses.replace(PLAIN, task=task, labels=labels, **changes)


def with_pool(manifest: Manifest, **changes: Any) -> Manifest:
    return dataclasses.replace(manifest, pool=tuple(dataclasses.replace(one, **changes) for one in manifest.pool))


def with_dev_rows() -> Manifest:
    pool = tuple(dataclasses.replace(one, dev_accuracy=0.5) for one in PLAIN.pool)
    return dataclasses.replace(PLAIN, pool=pool, chosen_by="dev", dev_rows=9)


def of_blocks() -> Manifest:
    subnets = [BlockSubnet((Block(8, operations),)) for operations in (("attention", "ffn"), ("conv3",))]
    space = block_space(BlockShape(vocabulary=100, positions=32, types=2, embedding=8, head_size=4), subnets)
    pool = (dataclasses.replace(PLAIN.pool[0], subnet=subnets[0], choice=space.choice(subnets[0])),)
    return dataclasses.replace(PLAIN, space=space, pool=pool)


def of_heads(**changes: Any) -> Manifest:
    tagging = Tagging(WordRule(), Scheme("IOB2"))
    heads = (
        TaskHead("intent", "classification", "accuracy", ("cold", "hot")),
        TaskHead("slots", "token-classification", "entity_f1", ("B-x", "O"), tagging),
    )
    pool = tuple(dataclasses.replace(one, head_accuracies={"intent": 0.5, "slots": 1.0}) for one in PLAIN.pool)
    made: dict[str, Any] = {"task": MULTI_TASK, "metric": "mean", "labels": (), "heads": heads, "pool": pool}
    return dataclasses.replace(PLAIN, **{**made, **changes})


def of_images() -> Manifest:
    shape = ConvolutionShape(
        (Group(8), Group(16, 3, 0, 0)),
        (Convolution(3, 8, 9, target=0), Convolution(8, 4, source=0), Convolution(4, 16, target=1, block=0)),
    )
    subnets = [shape.full, shape.subnet(((4, 1), (0, 0)))]
    space = listed_space(shape, subnets)
    pool = tuple(
        dataclasses.replace(PLAIN.pool[0], name=f"s{place}", subnet=subnet, choice=(place,))
        for place, subnet in enumerate(subnets)
    )
    files = {name: entry for name, entry in PLAIN.files.items() if name != "tokenizer.json"}
    return dataclasses.replace(
        PLAIN,
        task="image-classification",
        max_length=1,
        pad_id=0,
        inputs=("pixels",),
        space=space,
        pool=pool,
        files=files,
        images=Preparation(32, 32),
        blocked=True,
    )


TAKEN = {
    **{task: of_task(task) for task in TEXT_TASKS},
    "image-classification": of_images(),
    "with a DAN": dataclasses.replace(PLAIN, pool=(*PLAIN.pool, DAN)),
    "of blocks": of_blocks(),
    "with tags": of_task(
        "token-classification",
        tagging=Tagging(WordRule({".": True}, {"Po": False}, ("'s",), frozenset({"Mr."})), Scheme("IOBES", "x_B")),
    ),
    "with vectors": of_task("embedding", vectors=Vectors(384, True, "dot", "query: ")),
    "with prompts and dimensions": of_task(
        "embedding", vectors=Vectors(384, True, prompts={"query": "q: "}, pools_prompt=False, dimensions=(64, 128))
    ),
    "with thresholds": with_pool(of_task("question-answering"), null_threshold=-1.5),
    "with dev rows": with_dev_rows(),
    "with losses": dataclasses.replace(PLAIN, losses={"w100-d100": 0.02}, wide_layers=(0, 1)),
    "of heads": of_heads(),
    "without options": dataclasses.replace(PLAIN, session_options={}),
}
"""Case -> manifest that the runtime writes."""


def found_by_schema(raw: dict[str, Any]) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(raw)]


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("case", TAKEN)
def test_what_the_runtime_writes_fits(case: str) -> None:
    content = TAKEN[case].to_content()
    assert Manifest.from_content(content, Path(MANIFEST)) == TAKEN[case]
    assert found_by_schema(json.loads(content)) == []


@pytest.mark.parametrize("head", HEADS)
def test_a_bundle_of_every_task_fits(head: str, tmp_path: Path) -> None:
    made = write_bundle(tmp_path, "BERT", HEADS[head])
    assert found_by_schema(json.loads((made.path / MANIFEST).read_bytes())) == []


@pytest.mark.parametrize("encoder", [*ENCODERS, *FORMS])
def test_a_bundle_of_every_encoder_fits(encoder: str, tmp_path: Path) -> None:
    write_model(tmp_path, encoder, HEADS["classification"])
    model, _ = load_model(tmp_path, read_config(tmp_path), "classification", HEADS["classification"].outputs)
    grid = list(uniform_grid(model.shape).values())
    manifest = dataclasses.replace(PLAIN, space=layer_space(model.shape, grid))
    assert found_by_schema(json.loads(manifest.to_content())) == []


def test_the_committed_bundle_fits(tiny_bundle: Path) -> None:
    assert found_by_schema(json.loads((tiny_bundle / MANIFEST).read_bytes())) == []


def set_at(*path: Any, value: Any) -> Callable[[Any], None]:
    def change(raw: Any) -> None:
        for step in path[:-1]:
            raw = raw[step]
        raw[path[-1]] = value

    return change


def removed(*path: Any) -> Callable[[Any], None]:
    def change(raw: Any) -> None:
        for step in path[:-1]:
            raw = raw[step]
        del raw[path[-1]]

    return change


REQUIRED = [name for name in SCHEMA["required"] if name not in ("schema_version", "digest")]

OF_SUBNETS = SCHEMA["$defs"]["entry"]["required"]


def with_heads(raw: dict[str, Any]) -> None:
    """Give a manifest the task and the heads of `of_heads`."""
    heads = of_heads().to_dict()
    raw.update({name: heads[name] for name in ("task", "metric", "labels", "heads")})
    for entry in raw["pool"]:
        entry["head_accuracies"] = heads["pool"][0]["head_accuracies"]


REFUSED: dict[str, tuple[str, Callable[[Any], None]]] = {
    **{f"no {name}": ("classification", removed(name)) for name in REQUIRED},
    **{f"no {name} of a subnet": ("classification", removed("pool", 0, name)) for name in OF_SUBNETS},
    "a field of its own": ("classification", set_at("more", value=1)),
    "a field of its own in a subnet": ("classification", set_at("pool", 0, "more", value=1)),
    "version 3": ("classification", set_at("schema_version", value=3)),
    "another task": ("classification", set_at("task", value="translation")),
    "another metric": ("classification", set_at("metric", value="loss")),
    "another executor": ("classification", set_at("pool", 0, "executor", value="static")),
    "another precision": ("classification", set_at("pool", 0, "precision", value="int4")),
    "another option": ("classification", set_at("session_options", "session.load_model_format", value="ORT")),
    "another level": ("classification", set_at("session_options", "graph_optimization_level", value="most")),
    "no labels": ("classification", set_at("labels", value=[])),
    "a label twice": ("classification", set_at("labels", value=["no", "no"])),
    "labels of a number": ("regression", set_at("labels", value=["no"])),
    "a label that is a number": ("classification", set_at("labels", value=["no", 1])),
    "another input": ("classification", set_at("inputs", value=["input_ids", "past"])),
    "no inputs": ("classification", set_at("inputs", value=[])),
    "a length below 0": ("classification", set_at("max_length", value=-1)),
    "a length in words": ("classification", set_at("max_length", value="32")),
    "an accuracy of 2": ("classification", set_at("pool", 0, "accuracy", value=2)),
    "a choice below 0": ("classification", set_at("pool", 0, "choice", value=[-1, 0])),
    "a path": ("classification", set_at("files", "../other", value=vars(FILES["fp32.onnx"]))),
    "a path of Windows": ("classification", set_at("files", "..\\other", value=vars(FILES["fp32.onnx"]))),
    "bytes below 0": ("classification", set_at("files", "fp32.onnx", "bytes", value=-1)),
    "no tokenizer": ("classification", removed("files", "tokenizer.json")),
    "no self-test": ("classification", removed("files", "selftest.npz")),
    "tags of another task": ("classification", set_at("tagging", value={"words": {}, "scheme": {}})),
    "another scheme": ("with tags", set_at("tagging", "scheme", "name", value="IOB3")),
    "a rule without initials": ("with tags", removed("tagging", "words", "initials")),
    "vectors of another task": ("classification", set_at("vectors", value={"width": 4, "normalized": True})),
    "vectors without a width": ("with vectors", removed("vectors", "width")),
    "a prompt that is no text": ("with vectors", set_at("vectors", "prompts", value={"query": 1})),
    "dimensions that are no numbers": ("with vectors", set_at("vectors", "dimensions", value=["2"])),
    "another similarity": ("with vectors", set_at("vectors", "similarity", value="jaccard")),
    "a threshold of one subnet": ("question-answering", set_at("pool", 0, "null_threshold", value=0.5)),
    "a threshold of another task": ("classification", set_at("pool", 0, "null_threshold", value=0.5)),
    "dev rows that nothing chose by": ("classification", set_at("dev_rows", value=3)),
    "a choice by test rows": ("with dev rows", set_at("chosen_by", value="test")),
    "a subnet without dev accuracy": ("with dev rows", removed("pool", 1, "dev_accuracy")),
    "a loss of 2": ("with losses", set_at("losses", "w100-d100", value=2.0)),
    "heads of one task": ("classification", set_at("heads", value=of_heads().to_dict()["heads"])),
    "several tasks without heads": ("of heads", removed("heads")),
    "a single head": ("of heads", removed("heads", 1)),
    "a mean of one task": ("classification", set_at("metric", value="mean")),
    "accuracies of heads that there are not": (
        "classification", set_at("pool", 0, "head_accuracies", value={"a": 0.5, "b": 0.5}),
    ),
    "several heads by one metric": ("of heads", set_at("metric", value="accuracy")),
    "labels beside heads": ("of heads", set_at("labels", value=["a"])),
    "no accuracies of heads": ("of heads", removed("pool", 0, "head_accuracies")),
    "an accuracy of a head of 2": ("of heads", set_at("pool", 0, "head_accuracies", "intent", value=2)),
    "a head with a dot": ("of heads", set_at("heads", 0, "name", value="in.tent")),
    "a head of questions": ("of heads", set_at("heads", 0, "task", value="question-answering")),
    "a head by another metric": ("of heads", set_at("heads", 0, "metric", value="loss")),
    "a head without labels": ("of heads", set_at("heads", 0, "labels", value=[])),
    "a head with a label twice": ("of heads", set_at("heads", 0, "labels", value=["a", "a"])),
    "a head that tags without words": ("of heads", removed("heads", 1, "tagging")),
    "a head with words that tags none": (
        "of heads", set_at("heads", 0, "tagging", value=of_heads().to_dict()["heads"][1]["tagging"]),
    ),
    "a field of its own in a head": ("of heads", set_at("heads", 0, "more", value=1)),
    "a DAN beside heads": ("of heads", set_at("pool", 0, "executor", value="dan")),
    "images of a text": ("classification", set_at("images", value=Preparation().to_dict())),
    "blocks of a text": ("classification", set_at("blocked", value=True)),
    "pixels of a text": ("classification", set_at("inputs", value=["pixels"])),
    "tokens of an image": ("image-classification", set_at("inputs", value=["input_ids"])),
    "an image of no size": ("image-classification", removed("images")),
    "an image of no height": ("image-classification", set_at("images", "height", value=0)),
    "two colours": ("image-classification", set_at("images", "mean", value=[0.5, 0.5])),
    "an image of two tokens": ("image-classification", set_at("max_length", value=2)),
    "an encoder of images": ("image-classification", set_at("space", value=json.loads(PLAIN.to_content())["space"])),
    "images of several heads": ("image-classification", with_heads),
    "an empty pool": ("classification", set_at("pool", value=[])),
}  # fmt: skip
"""Case -> manifest of TAKEN that is changed, and the change."""

KEPT_BY_RUNTIME = {"a rule without initials"}
"""Cases that the runtime takes: it knows values for what is missing, and never writes such a manifest."""


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_runtime_refuses_does_not_fit(case: str, tmp_path: Path) -> None:
    base, change = REFUSED[case]
    raw = json.loads(TAKEN[base].to_content())
    altered = copy.deepcopy(raw)
    change(altered)
    assert found_by_schema(raw) == []
    assert found_by_schema(altered)
    for name in NAMES_OF_FILES:
        (tmp_path / name).write_bytes(CONTENT)
    (tmp_path / MANIFEST).write_bytes(with_digest(raw))
    open_bundle(tmp_path)
    (tmp_path / MANIFEST).write_bytes(with_digest(altered))
    if case in KEPT_BY_RUNTIME:
        open_bundle(tmp_path)
        return
    with pytest.raises(BundleError):
        open_bundle(tmp_path)


def test_the_digest_is_64_digits() -> None:
    raw = json.loads(PLAIN.to_content())
    for digest in ("", "0" * 63, "Z" * 64, None):
        assert found_by_schema({**raw, "digest": digest})


def test_names_of_the_schema_are_those_of_the_runtime() -> None:
    properties = SCHEMA["properties"]
    assert properties["task"]["enum"] == [*TASKS, MULTI_TASK]
    assert properties["metric"]["enum"] == [*METRICS, MEAN]
    head = SCHEMA["$defs"]["head"]["properties"]
    assert (head["task"]["enum"], head["metric"]["enum"]) == (list(HEAD_TASKS), list(METRICS))
    assert set(head) == {field.name for field in dataclasses.fields(TaskHead)}
    assert properties["inputs"]["items"]["enum"] == [*module.INPUTS, module.PIXELS]
    assert properties["vectors"]["properties"]["similarity"]["enum"] == list(module.SIMILARITIES)
    options = properties["session_options"]["properties"]
    assert {name: tuple(one["enum"]) for name, one in options.items()} == SESSION_OPTIONS
    entry = SCHEMA["$defs"]["entry"]["properties"]
    assert entry["executor"]["enum"] == [module.ELASTIC_EXECUTOR, module.DAN_EXECUTOR]
    assert entry["precision"]["enum"] == list(module.PRECISIONS)
    scheme = SCHEMA["$defs"]["tagging"]["properties"]["scheme"]["properties"]
    assert (scheme["name"]["enum"], scheme["form"]["enum"]) == (list(NAMES), list(_FORMS))
    shape = SCHEMA["$defs"]["encoder"]["properties"]
    assert shape["activation"]["enum"] == list(ACTIVATIONS)
    check_known_values(PLAIN, Path())
    assert set(properties) == {"schema_version", "digest", *(field.name for field in dataclasses.fields(Manifest))}
    assert set(entry) == {field.name for field in dataclasses.fields(PoolEntry)}
