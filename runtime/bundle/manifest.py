"""The manifest: the description of a bundle in `manifest.json`.

The dataclasses check their own fields, so a manifest that exists is valid. `bundle` checks that it is consistent with
itself and with the files beside it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gearshift.errors import InputError, IntegrityError
from gearshift.number_checks import is_finite, is_whole
from gearshift.runtime.bundle.digest import DIGEST, checked_digest, with_digest
from gearshift.runtime.bundle.tag_schemes import Scheme
from gearshift.runtime.bundle.tagging import Tagging
from gearshift.runtime.bundle.task_heads import TaskHead, check_task_heads
from gearshift.runtime.bundle.tasks import MEAN, MULTI_TASK, TASKS
from gearshift.runtime.bundle.words import WordRule
from gearshift.runtime.images.preparation import Preparation
from gearshift.runtime.space.convolutions import ConvolutionShape
from gearshift.runtime.space.space import Space, read_subnet
from gearshift.runtime.space.subnet import Subnet
from gearshift.schema import Schema

SCHEMA = Schema(
    version=2,
    advice="export the bundle again",
    damaged=IntegrityError,
    repair="copy the bundle again",
    most_bytes=4 << 20,  # room for 100,000 labels
)

FIRST_SCHEMA = dataclasses.replace(SCHEMA, version=1)
"""Schema of bundles that were made before manifests had a digest; their manifests are read as they are."""

MANIFEST = "manifest.json"
SELF_TEST = "selftest.npz"
TOKEN_VECTORS = "selftest.json"
TOKENIZER = "tokenizer.json"
CPU_PRECISIONS = ("fp32", "int8")

MACS_TOKENS = 128
"""Length in tokens of the text that MACs are counted for, as in the papers; tables and manifests state it."""

PRECISIONS = (*CPU_PRECISIONS, "fp16")
"""Precisions of graphs. fp16 is for GPUs: CPUs have no kernels for it, and the library would convert every value back
to fp32."""
MOST_COUNTED = (1 << 31) - 1
"""Largest id and number of tokens or rows: arrays and the tokenizer have no room for much larger ones."""

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""Inputs that a graph of texts may take besides CHOICE."""
PIXELS = "pixels"
"""Input of a graph of images besides CHOICE: float32 (batch, 3, height, width), prepared as the manifest says."""
ELASTIC_EXECUTOR = "elastic"
DAN_EXECUTOR = "dan"
DAN_FILE = "dan.safetensors"
CHOICE = "choice"
"""Input of the graph that selects the subnet: int64, an option for each stage."""


@dataclass(frozen=True)
class FileEntry:
    """Expected size and hash of a file of the bundle."""

    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        _require(is_whole(self.bytes, 0), "bytes of a file", self.bytes)
        _require(isinstance(self.sha256, str), "sha256 of a file", self.sha256)


@dataclass(frozen=True)
class PoolEntry:
    """A measured subnet of the pool, or the DAN, and how it is executed."""

    name: str
    subnet: Subnet[Any]
    executor: str
    """ELASTIC_EXECUTOR: the graph in `file` takes `choice` as an input. DAN_EXECUTOR: `file` is a DAN (`runtime.dan`),
    without layers and without a choice."""
    file: str
    choice: tuple[int, ...]
    precision: str
    accuracy: float
    """Value of the bundle's metric on held-out rows at this precision, from 0 to 1; higher is better. With a
    `dev_accuracy` beside it, these are test rows, by which nothing is chosen."""
    parameters: int
    macs: int
    """Multiply-accumulates for a text of `Manifest.macs_tokens` tokens, or an image of as many pixels."""
    null_threshold: float | None = None
    """Threshold of the null score difference (`spans.find_answer`) above which a question has no answer, chosen on dev
    rows; None for other tasks, and for a net that was not trained on such questions: it always gives an answer."""
    dev_accuracy: float | None = None
    """Value of the metric on dev rows; None in a bundle that was made without."""
    head_accuracies: Mapping[str, float] = field(default_factory=dict)
    """Head -> value of its own metric on the rows of `accuracy`, which is their mean; empty for a model with one."""

    @property
    def choosing_accuracy(self) -> float:
        """Accuracy by which subnets are chosen: that on dev rows if there is one, so that the other stays a test."""
        return self.accuracy if self.dev_accuracy is None else self.dev_accuracy

    def __post_init__(self) -> None:
        for name in ("name", "executor", "file", "precision"):
            _require(isinstance(getattr(self, name), str), f"{name} of a pool entry", getattr(self, name))
        for name in ("parameters", "macs"):
            _require(is_whole(getattr(self, name), 0), f"{name} of {self.name}", getattr(self, name))
        _require(all(map(_is_count, self.choice)), f"choice of {self.name}", self.choice)
        _require(_is_share(self.accuracy), f"accuracy of {self.name} (a share from 0 to 1)", self.accuracy)
        dev = self.dev_accuracy
        _require(dev is None or _is_share(dev), f"dev_accuracy of {self.name} (a share from 0 to 1)", dev)
        of_heads = self.head_accuracies
        shares = isinstance(of_heads, dict) and all(map(_is_share, of_heads.values()))
        _require(shares, f"head_accuracies of {self.name} (shares from 0 to 1 by head)", of_heads)
        threshold = self.null_threshold
        _require(threshold is None or is_finite(threshold), f"null_threshold of {self.name}", threshold)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON; a threshold, an accuracy on dev rows and those of heads only if there
        are some."""
        seldom = ("null_threshold", "dev_accuracy", "head_accuracies")
        return {
            **{name: value for name, value in vars(self).items() if name not in seldom or value not in (None, {})},
            "subnet": self.subnet.to_plain(),
            "choice": list(self.choice),
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> PoolEntry:
        """Read the entry that `to_dict` wrote."""
        return cls(**{**raw, "subnet": read_subnet(raw["subnet"]), "choice": tuple(raw["choice"])})


SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
"""Ways to compare two vectors, as sentence-transformers names them."""


@dataclass(frozen=True)
class Vectors:
    """Form of the vectors of an embedding, and the text that is put before every text."""

    width: int
    """Count of a vector's numbers."""
    normalized: bool
    """Whether vectors have length 1."""
    similarity: str = "cosine"
    """Similarity that the model was trained for, one of SIMILARITIES."""
    prompt: str = ""
    """Text that the engine puts before every text; empty for none."""
    prompts: Mapping[str, str] = field(default_factory=dict)
    """Name -> text of the prompts that a request may ask for in its place."""
    pools_prompt: bool = True
    """Whether the pooling takes the tokens of a prompt; if not, the graph leaves out those of `prompt`, and no other
    can be asked for."""
    dimensions: tuple[int, ...] = ()
    """Counts of numbers, from the first on, that vectors were trained to be cut to (Matryoshka), rising."""

    def __post_init__(self) -> None:
        _require(is_whole(self.width, 1), "width of vectors", self.width)
        _require(isinstance(self.normalized, bool), "normalized of vectors", self.normalized)
        _require(self.similarity in SIMILARITIES, f"similarity of vectors (out of {SIMILARITIES})", self.similarity)
        _require(isinstance(self.prompt, str), "prompt", self.prompt)
        prompts = self.prompts
        texts = isinstance(prompts, dict) and all(isinstance(text, str) for pair in prompts.items() for text in pair)
        _require(texts, "prompts (text by name)", prompts)
        _require(isinstance(self.pools_prompt, bool), "pools_prompt of vectors", self.pools_prompt)
        rising = all(is_whole(each, 1, self.width - 1) for each in self.dimensions)
        rising = rising and list(self.dimensions) == sorted(set(self.dimensions))
        _require(rising, f"dimensions (rising, below the width {self.width})", self.dimensions)

    def __str__(self) -> str:
        length = "of length 1, " if self.normalized else ""
        prompt = f"; {self.prompt!r} is put before every text" if self.prompt else ""
        cut = f", trained to be cut to {', '.join(map(str, self.dimensions))}" if self.dimensions else ""
        named = f"; prompts: {', '.join(sorted(self.prompts))}" if self.prompts else ""
        return f"vectors of {self.width} numbers, {length}compared by {self.similarity}{cut}{prompt}{named}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON; fields that older releases do not know only if they say something."""
        seldom = {"prompts": dict(self.prompts), "dimensions": list(self.dimensions)}
        return {
            **{name: getattr(self, name) for name in ("width", "normalized", "similarity", "prompt")},
            **{name: value for name, value in seldom.items() if value},
            **({} if self.pools_prompt else {"pools_prompt": False}),
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Vectors:
        """Read the form that `to_dict` wrote."""
        return cls(**{**raw, "dimensions": _tuple(raw.get("dimensions", []))})


@dataclass(frozen=True)
class Manifest:
    """Contents of a bundle."""

    name: str
    task: str
    """Name of one of `tasks.TASKS`, or MULTI_TASK for a model with several heads."""
    metric: str
    """Name of the task's metric in `PoolEntry.accuracy`, such as `accuracy` or `spearman`; of several heads MEAN."""
    labels: tuple[str, ...]
    """Names of the labels in the order of the logits; empty if the task has none, or several heads have their own."""
    max_length: int
    """Greatest length of a text in tokens, including the special ones; longer texts are cut. 1 for images."""
    pad_id: int
    inputs: tuple[str, ...]
    """Names of the graph's token inputs, each int64 of shape (batch, tokens); of images PIXELS alone."""
    space: Space[Any, Any]
    pool: tuple[PoolEntry, ...]
    macs_tokens: int
    session_options: dict[str, str]
    """Configuration entries that ONNX Runtime needs for this graph."""
    minimum_onnxruntime: str
    accuracy_rows: int
    """Number of held-out rows that the accuracies of the pool were measured on, not counting dev rows."""
    licence: str
    made_by: str
    files: dict[str, FileEntry]
    losses: dict[str, float] = field(default_factory=dict)
    """Subnet -> loss of accuracy in int8 against fp32, for losses above the tolerance of the export; on the rows that
    choose, since layers are kept in fp32 by it."""
    wide_layers: tuple[int, ...] = ()
    """Layers that the int8 graph computes in fp32, as the export requested because int8 loses too much there; whole
    stages for mixed operations."""
    tagging: Tagging | None = None
    """Words and tags of token classification; None for other tasks, and in bundles that were made without."""
    vectors: Vectors | None = None
    """Form of an embedding's vectors; None for other tasks, and in older bundles, whose vectors have length 1 and no
    prompt."""
    chosen_by: str = ""
    """Rows by whose accuracy subnets are chosen: `dev`. Empty for a bundle with one accuracy, which chooses."""
    dev_rows: int = 0
    """Number of dev rows that every `dev_accuracy` was measured on."""
    heads: tuple[TaskHead, ...] = ()
    """Heads of a model for MULTI_TASK, in the order of the graph's outputs; empty for a model with one."""
    images: Preparation | None = None
    """Size and colours of the images that the graph reads; None for a task of texts."""
    blocked: bool = False
    """Whether the graphs of images compute in blocks of channels, whose size a session sets."""

    @property
    def every_head(self) -> tuple[TaskHead, ...]:
        """Heads of the model, each with an output of the graph: its `heads`, or the one that it has, without a name."""
        return self.heads or (TaskHead("", self.task, self.metric, self.labels, self.tagging),)

    def require_one_head(self, what: str) -> None:
        """Raise InputError for a model with several heads, which `what` cannot take."""
        if self.heads:
            names = ", ".join(head.name for head in self.heads)
            raise InputError(
                f"{self.name}: has several heads ({names}), which {what} cannot take; use a bundle of one task"
            )

    @property
    def per_token(self) -> bool:
        """Whether some answer has places in the text; not for a task that this version does not know."""
        return any(TASKS[head.task].per_token for head in self.every_head if head.task in TASKS)

    @property
    def tags(self) -> bool:
        """Whether words are tagged, so that a text may be given as words."""
        return any(head.task == "token-classification" for head in self.every_head)

    @property
    def words(self) -> WordRule | None:
        """Rule of the words that are tagged; None if none are, and in bundles that were made without."""
        return next((head.tagging.words for head in self.every_head if head.tagging is not None), None)

    def require_texts(self, doing: str) -> None:
        """Raise InputError, which names what was to be done, if the bundle is of images."""
        if self.images is not None:
            raise InputError(
                f"{doing}: expected a bundle of texts, got {self.name} ({self.task}), which it cannot take yet"
            )

    @property
    def counted(self) -> str:
        """Text or image that MACs are counted for: `128 tokens`, `32 x 32 pixels`."""
        images = self.images
        return f"{self.macs_tokens} tokens" if images is None else f"{images.height} x {images.width} pixels"

    @property
    def prompt(self) -> str:
        """Text that is put before every text; empty for none."""
        return "" if self.vectors is None else self.vectors.prompt

    def __post_init__(self) -> None:
        for name in ("name", "task", "metric", "minimum_onnxruntime", "licence", "made_by"):
            _require(isinstance(getattr(self, name), str), name, getattr(self, name))
        for name in ("max_length", "pad_id", "macs_tokens", "accuracy_rows"):
            _require(is_whole(getattr(self, name), 0, MOST_COUNTED), name, getattr(self, name))
        known = TASKS.get(self.task)
        if known is not None:  # an unknown task is refused by the engine, with advice
            wanted = "different texts" if known.labelled else "none"
            _require(_texts(self.labels) if known.labelled else not self.labels, f"labels ({wanted})", self.labels)
        named = (PIXELS,) if self.images is not None else INPUTS
        _require(_texts(self.inputs) and set(self.inputs) <= set(named), f"inputs (out of {named})", self.inputs)
        of_images = self.images is not None
        reads_images = known.images if known is not None else of_images and self.task != MULTI_TASK
        _require(reads_images == of_images, "images (of a task of images)", self.task)
        fits = isinstance(self.space.shape, ConvolutionShape) == of_images and (not of_images or self.max_length == 1)
        _require(fits, "space (of convolutions, and a max_length of 1, for images alone)", self.space.shape.kind)
        _require(isinstance(self.blocked, bool) and of_images >= self.blocked, "blocked (for images)", self.blocked)
        self._check_heads()
        thresholds = [entry.null_threshold is not None for entry in self.pool]
        agreed = not any(thresholds) or (all(thresholds) and self.task == "question-answering")
        _require(agreed, "null_threshold (of every subnet, for question answering, or of none)", self.task)
        options = self.session_options
        whole = isinstance(options, dict) and all(isinstance(text, str) for pair in options.items() for text in pair)
        _require(whole, "session_options (text by text)", options)
        shares = isinstance(self.losses, dict) and all(
            isinstance(name, str) and isinstance(loss, float) and 0 <= loss <= 1 for name, loss in self.losses.items()
        )
        _require(shares, "losses (shares of 1 by subnet)", self.losses)
        _require(all(map(_is_count, self.wide_layers)), "wide_layers", self.wide_layers)
        tagged = self.tagging is None or self.task == "token-classification"
        _require(tagged, f"tagging (of token-classification, not of {self.task})", self.tagging)
        _require(self.vectors is None or self.task == "embedding", "vectors (for an embedding)", self.vectors)
        _require(self.chosen_by in ("", "dev"), "chosen_by (dev, or left out)", self.chosen_by)
        _require(is_whole(self.dev_rows, 0) and (self.dev_rows > 0) == bool(self.chosen_by), "dev_rows", self.dev_rows)
        lacking = {entry.dev_accuracy is None for entry in self.pool if entry.executor != DAN_EXECUTOR}
        _require(lacking <= {not self.chosen_by}, "dev_accuracy (of every subnet, or of none)", self.chosen_by)

    def _check_heads(self) -> None:
        """Raise InputError unless a model for MULTI_TASK, and no other, has heads, each with its accuracies."""
        several = self.task == MULTI_TASK
        _require(several == bool(self.heads), f"heads (of {MULTI_TASK}, and of nothing else)", self.task)
        if several:
            check_task_heads(self.heads)
            fits = self.metric == MEAN and not self.labels
            _require(fits, f"metric and labels (of {MULTI_TASK}: {MEAN}, and none)", (self.metric, self.labels))
        names = [head.name for head in self.heads]
        agreed = all(entry.head_accuracies.keys() == set(names) for entry in self.pool)
        _require(agreed, "head_accuracies (of every head)", names)
        alone = not several or all(entry.executor != DAN_EXECUTOR for entry in self.pool)
        _require(alone, f"executors (no DAN beside {MULTI_TASK})", self.task)

    @property
    def scheme(self) -> Scheme | None:
        """Scheme of the labels of token classification, that of the labels' form if none is recorded; else None, and
        for several heads, each of which has its own."""
        return None if self.heads else self.every_head[0].scheme

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON; rarely used fields only if they are set."""
        seldom = {
            "losses": self.losses,
            "wide_layers": list(self.wide_layers),
            "tagging": None if self.tagging is None else self.tagging.to_dict(),
            "vectors": None if self.vectors is None else self.vectors.to_dict(),
            "chosen_by": self.chosen_by,
            "dev_rows": self.dev_rows,
            "heads": [head.to_dict() for head in self.heads],
            "images": None if self.images is None else self.images.to_dict(),
            "blocked": self.blocked,
        }
        return {
            "schema_version": SCHEMA.version,
            **{name: value for name, value in vars(self).items() if name not in seldom},
            **{name: value for name, value in seldom.items() if value},
            "labels": list(self.labels),
            "inputs": list(self.inputs),
            "space": self.space.to_dict(),
            "pool": [entry.to_dict() for entry in self.pool],
            "files": {name: vars(entry) for name, entry in sorted(self.files.items())},
        }

    def to_content(self) -> bytes:
        """Return the content of a manifest file, with its digest."""
        return with_digest(self.to_dict())

    @classmethod
    def from_content(cls, content: bytes, path: Path) -> Manifest:
        """Read the content of a manifest file; raises IntegrityError or SchemaError, which name the file."""
        if checked_digest(content, path) is None:
            return FIRST_SCHEMA.read_content(content, cls._from_fields, path)
        return SCHEMA.read_content(content, cls._from_fields_and_digest, path)

    @classmethod
    def _from_fields_and_digest(cls, fields: dict[str, Any]) -> Manifest:
        return cls._from_fields({name: value for name, value in fields.items() if name != DIGEST})

    @classmethod
    def _from_fields(cls, fields: dict[str, Any]) -> Manifest:
        _check_texts(fields)
        return cls(
            **{
                **fields,
                "labels": _tuple(fields["labels"]),
                "inputs": _tuple(fields["inputs"]),
                "wide_layers": _tuple(fields.get("wide_layers", [])),
                "tagging": None if fields.get("tagging") is None else Tagging.from_dict(fields["tagging"]),
                "heads": tuple(TaskHead.from_dict(head) for head in _tuple(fields.get("heads", []))),
                "vectors": Vectors.from_dict(fields["vectors"]) if "vectors" in fields else None,
                "images": Preparation.from_dict(fields["images"]) if "images" in fields else None,
                "space": Space.from_dict(fields["space"]),
                "pool": tuple(PoolEntry.from_dict(entry) for entry in fields["pool"]),
                "files": {name: FileEntry(**entry) for name, entry in fields["files"].items()},
            }
        )


def _check_texts(fields: dict[str, Any]) -> None:
    """Raise InputError for a text that no file and no terminal can be given: JSON can escape half of a character."""
    try:
        json.dumps(fields, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"a text: expected whole characters, found {error.object[error.start]!r}") from error


def stored_manifest(directory: Path) -> bytes:
    """Return the bytes of a bundle's manifest; raises SchemaError."""
    return SCHEMA.content(directory / MANIFEST)


def weights_of(graph: Path) -> Path:
    """Return the file of a graph's weights, which lies beside it."""
    return graph.with_suffix(".weights")


def _require(holds: bool, what: str, found: object) -> None:
    if not holds:
        raise InputError(f"{what}: not usable: {found!r}")


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1  # no NaN


def _is_count(value: object) -> bool:
    return is_whole(value, 0)


def _texts(values: tuple[object, ...]) -> bool:
    """Return whether the values are texts, at least one and no two equal."""
    return bool(values) and all(isinstance(value, str) for value in values) and len(set(values)) == len(values)


def _tuple(raw: object) -> tuple[Any, ...]:
    if not isinstance(raw, list):  # tuple() would split a text into letters
        raise TypeError(f"expected a list, found {raw!r}")
    return tuple(raw)
