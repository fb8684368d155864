"""Checkpoints: a Hugging Face model, loaded as an elastic model for a task with its tokenizer and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

from tokenizers import Tokenizer

from gearshift.runtime.bundle.tasks import MULTI_TASK, TASKS
from gearshift.trainer.data.heads import DataHead
from gearshift.trainer.data.tokenizer import load_tokenizer
from gearshift.trainer.model.configs import read_config
from gearshift.trainer.model.elastic import ElasticClassifier, TaskModel
from gearshift.trainer.model.head_files import take_heads
from gearshift.trainer.model.huggingface import load_joint_model, load_model
from gearshift.trainer.model.labels import known_labels, label_names
from gearshift.trainer.model.loading import quiet
from gearshift.trainer.model.names import CLASS_SUFFIXES
from gearshift.trainer.model.sentence_head import read_sentence_head
from gearshift.trainer.model.sentence_modules import encoder_folder
from gearshift.trainer.model.sentence_settings import SentenceSettings

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    M = TypeVar("M", bound=TaskModel, default=ElasticClassifier)
else:
    from typing import TypeVar

    M = TypeVar("M")

PROBLEM_TYPES = {"regression": "regression", "multi-label-classification": "multi_label_classification"}
"""Task -> `problem_type` in the config of a sequence classifier."""


@dataclass(frozen=True)
class Checkpoint(Generic[M]):
    """Model for a task, with its tokenizer and labels."""

    model: M
    tokenizer: Tokenizer
    labels: tuple[str, ...]
    """Labels in the order of the model's logits; empty if the task has none."""
    source: Path
    """Directory of the tokenizer's files."""
    has_classifier: bool = True
    """Whether the checkpoint has a head for this task and these labels; if not, its weights are random."""
    sentence: SentenceSettings = field(default_factory=SentenceSettings)
    """Settings of an embedding model, such as its prompt."""
    lacking: tuple[str, ...] = ()
    """Names of weights of such a head that its config promises and its weights do not have."""
    heads: tuple[DataHead, ...] = ()
    """Heads with labels of their own, in the order of the model's answers, if there are several."""

    @property
    def task(self) -> str:
        """Name of the task, one of `tasks.TASKS` or MULTI_TASK; `embedding` before tuning."""
        return self.model.head.task


def load_checkpoint(
    path: Path, labels: Sequence[str] = (), *, task: str = "classification", heads: Sequence[DataHead] = ()
) -> Checkpoint:
    """Load the encoder of a Hugging Face checkpoint, with a head for a task; raises ModelError.

    `labels`: labels of the task, if it has any. If the checkpoint has a head for the same task and set of labels, the
    head and the order of its labels are kept. For `embedding` the modules of sentence-transformers are the head.
    `heads`: those of MULTI_TASK; they are kept if the checkpoint has the same.
    """
    folder = encoder_folder(path)
    config = read_config(folder)
    if task == MULTI_TASK:
        return _load_joint(folder, config, tuple(heads))
    wanted = TASKS[task]
    outputs = wanted.outputs or len(labels) or config.hidden_size
    named = any(name.endswith(CLASS_SUFFIXES[task]) for name in config.architectures or ())
    same = known_labels(config) == set(labels) if wanted.labelled else len(config.id2label) == outputs
    # A softmax head is no head for multi-label classification, though its weights have the same shape.
    of_several = config.problem_type == PROBLEM_TYPES["multi-label-classification"]
    same_problem = of_several == (task == "multi-label-classification")
    promised = task == "embedding" or (named and same and same_problem)
    ordered = label_names(config, folder / "config.json") if promised and wanted.labelled else tuple(labels)
    with quiet():
        tokenizer = load_tokenizer(folder, config.vocab_size)
    if task != "embedding":
        model, lacking = load_model(folder, config, task, outputs)
        has_head = promised and not lacking
        return Checkpoint(model, tokenizer, ordered, folder, has_head, lacking=lacking if promised else ())
    head = read_sentence_head(path, folder, config.hidden_size)
    tokenizer = head.tokenizer(tokenizer)
    model, _ = load_model(folder, config, task, outputs, head.modules, head.skipped(tokenizer))
    return Checkpoint(model, tokenizer, ordered, folder, True, head.settings)


def _load_joint(folder: Path, config: Any, heads: tuple[DataHead, ...]) -> Checkpoint:
    with quiet():
        tokenizer = load_tokenizer(folder, config.vocab_size)
    model = load_joint_model(folder, config, {head.name: (head.task, len(head.labels)) for head in heads})
    return Checkpoint(model, tokenizer, (), folder, take_heads(folder, model, heads), heads=heads)
