"""The tasks a bundle may be made for: what their graphs give out."""

from __future__ import annotations

from dataclasses import dataclass

LOGITS = "logits"
EMBEDDING = "embedding"


@dataclass(frozen=True)
class Task:
    """What a graph answers."""

    name: str
    output: str
    """Name of the graph's output."""
    labelled: bool
    """Whether the outputs stand for labels by name."""
    per_token: bool
    """Whether the graph answers for every token, (batch, tokens, outputs), or once for each text, (batch, outputs)."""
    outputs: int | None = None
    """How many numbers an answer has, where that is fixed; else the number of labels, or the model's width."""


TASKS = {
    task.name: task
    for task in (
        Task("classification", LOGITS, labelled=True, per_token=False),
        Task("multi-label-classification", LOGITS, labelled=True, per_token=False),
        Task("regression", LOGITS, labelled=False, per_token=False, outputs=1),
        Task("token-classification", LOGITS, labelled=True, per_token=True),
        Task("question-answering", LOGITS, labelled=False, per_token=True, outputs=2),
        Task("embedding", EMBEDDING, labelled=False, per_token=False),
    )
}
"""`question-answering`: logits of a token being the first and the last of the answer. `embedding`: of length 1."""
