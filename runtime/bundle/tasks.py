"""Tasks of a bundle, and the outputs of their graphs."""

from __future__ import annotations

from dataclasses import dataclass

LOGITS = "logits"
EMBEDDING = "embedding"
IMAGE = "image"


@dataclass(frozen=True)
class Task:
    """The form of a graph's answers."""

    name: str
    output: str
    """Name of the graph's output."""
    labelled: bool
    """Whether the outputs stand for named labels."""
    per_token: bool
    """Whether the graph answers for every token, (batch, tokens, outputs), or once per text, (batch, outputs)."""
    outputs: int | None = None
    """Count of numbers in an answer if the task fixes it; None if it is the number of labels, or a vector's width."""
    images: bool = False
    """Whether the graph reads images rather than texts."""

    @property
    def makes_images(self) -> bool:
        """Whether the graph answers with images as wide and high as those that it reads, normalised as they are."""
        return self.output == IMAGE


TASKS = {
    task.name: task
    for task in (
        Task("classification", LOGITS, labelled=True, per_token=False),
        Task("multi-label-classification", LOGITS, labelled=True, per_token=False),
        Task("regression", LOGITS, labelled=False, per_token=False, outputs=1),
        Task("token-classification", LOGITS, labelled=True, per_token=True),
        Task("question-answering", LOGITS, labelled=False, per_token=True, outputs=2),
        Task("embedding", EMBEDDING, labelled=False, per_token=False),
        Task("image-classification", LOGITS, labelled=True, per_token=False, images=True),
        Task("image-to-image", IMAGE, labelled=False, per_token=False, images=True),
    )
}
"""Task by name. The two outputs of `question-answering` are logits for a token to be the first and the last of the
answer. Outputs of `embedding` are vectors, described in the manifest; those of `image-to-image` images (batch, 3,
height, width)."""

TEXT_TASKS = tuple(name for name, task in TASKS.items() if not task.images)
"""Names of the tasks whose rows are texts."""

IMAGE_TASKS = tuple(name for name, task in TASKS.items() if task.images)
"""Names of the tasks whose rows are images."""

MULTI_TASK = "multi-task"
"""Task of a model with several heads behind one encoder, each with a task of its own; the manifest lists them
(`task_heads`). It is none of TASKS, which have one output."""

METRICS = ("accuracy", "micro_f1", "spearman", "entity_f1", "answer_f1", "cosine", "pixel_similarity")
"""Metrics of the tasks; of each a higher value is better."""

MEAN = "mean"
"""Metric of MULTI_TASK: the mean of the metrics of its heads."""
