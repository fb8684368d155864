"""Model card of a bundle: a README for the person who unpacks it."""

from __future__ import annotations

from gearshift.escaping import escaped
from gearshift.runtime.bundle.manifest import DAN_EXECUTOR, Manifest, PoolEntry
from gearshift.runtime.bundle.task_heads import TaskHead
from gearshift.runtime.bundle.tasks import IMAGE_TASKS

MEANINGS = {
    "accuracy": "Accuracy is the share of {rows} held-out rows answered right",
    "micro_f1": "Micro F1 is that of all labels of {rows} held-out rows together",
    "spearman": "Spearman is the rank correlation with the numbers of {rows} held-out rows",
    "entity_f1": "Entity F1 is that of whole entities in {rows} held-out rows",
    "answer_f1": "Answer F1 is that of the answers' words, the mean over {rows} held-out questions",
    "pixel_similarity": "Pixel similarity is 1 less the mean absolute error of the colours of {rows} held-out images, "
    "as a share of their range",
    "cosine": "Cosine is the mean one with the full-size net's vectors in torch, over {rows} held-out texts",
}
"""Metric -> its meaning in words; `{rows}` is the number of held-out rows.

They stand here because a card is also written without torch.
"""


def model_card(manifest: Manifest) -> str:
    """Write the model card in Markdown: task, labels, and a table of the pool."""
    precisions = list(dict.fromkeys(entry.precision for entry in manifest.pool))
    by_name: dict[str, dict[str, PoolEntry]] = {}
    for entry in manifest.pool:
        by_name.setdefault(entry.name, {})[entry.precision] = entry
    sizes = {entry.name: (entry.parameters, entry.macs) for entry in manifest.pool}
    graph = {entry.name for entry in manifest.pool if entry.executor != DAN_EXECUTOR}
    beside = " and a DAN (n-gram embeddings) below them" if len(graph) < len(by_name) else ""
    header = [
        "subnet",
        "parameters",
        f"MACs at {manifest.counted}",
        *(f"{manifest.metric} {p}" for p in precisions),
        *(f"{head.name} {p}" for p in precisions for head in manifest.heads),
        *(f"dev {p}" for p in precisions if manifest.chosen_by),
    ]
    rows = [
        [
            name,
            _short(sizes[name][0]),
            _short(sizes[name][1]),
            *(f"{100 * found[p].accuracy:.1f} %" if p in found else "" for p in precisions),
            *(
                f"{100 * found[p].head_accuracies[head.name]:.1f} %" if p in found else ""
                for p in precisions
                for head in manifest.heads
            ),
            *(
                f"{100 * found[p].choosing_accuracy:.1f} %" if p in found else ""
                for p in precisions
                if manifest.chosen_by
            ),
        ]
        for name, found in by_name.items()
    ]
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in [header, ["---"] * len(header), *rows])
    table = "\n\n".join([table, *_about_dev(manifest), *_about_int8(manifest), *_about_no_answer(manifest)])
    labels = f"{len(manifest.labels)} labels: {escaped(', '.join(manifest.labels))}.\n\n" if manifest.labels else ""
    if manifest.heads:
        labels = "".join(f"{_about_head(head)}\n\n" for head in manifest.heads)
    vectors = f"Answers are {manifest.vectors}.\n\n" if manifest.vectors is not None else ""
    meaning = _meaning(manifest)
    asked = {
        "question-answering": '("a question", "a text with its answer")',
        **dict.fromkeys(IMAGE_TASKS, '"image.png"'),
    }
    given = asked.get(manifest.task, '"some text"')
    title = escaped(manifest.name)
    return f"""# {title}

A gearshift bundle: one {manifest.task} model with {len(graph)} subnets in one graph{beside}.

{labels}{vectors}{meaning}, measured on the exported graphs.

{table}

Licence: {escaped(manifest.licence)}. Made by {escaped(manifest.made_by)}.

```python
from gearshift.runtime import Engine

with Engine.load("{title}.gearshift") as engine:
    print(engine.run({given}, deadline_ms=20))
```
"""


def _about_head(head: TaskHead) -> str:
    """Write the task and the labels of one of several heads."""
    return f"{head.name}: {head.task}, {len(head.labels)} labels: {escaped(', '.join(head.labels))}."


def _meaning(manifest: Manifest) -> str:
    """Write the meaning of the metric; of several heads that of each of their metrics."""
    if manifest.heads:
        metrics = " and ".join(f"{head.metric} of {head.name}" for head in manifest.heads)
        return f"Mean is that of {metrics}, over {manifest.accuracy_rows} held-out rows"
    meaning = MEANINGS.get(manifest.metric, f"{manifest.metric} is that of {{rows}} held-out rows")
    return meaning.format(rows=manifest.accuracy_rows)


def _about_dev(manifest: Manifest) -> list[str]:
    """Write which rows choose, if others report."""
    if not manifest.chosen_by:
        return []
    return [
        f"The columns marked dev are of {manifest.dev_rows} other held-out rows, by which an engine chooses between "
        "the subnets; nothing was chosen on the rows of the others."
    ]


def _about_int8(manifest: Manifest) -> list[str]:
    """Write the layers that the int8 graph keeps in fp32, and the subnets that lose much accuracy in int8."""
    layers = ", ".join(str(layer) for layer in manifest.wide_layers)
    losses = ", ".join(f"{name} {100 * loss:.1f} points" for name, loss in manifest.losses.items())
    said = [f"The int8 graph computes these layers (counted from 0) in fp32, as they lost too much in int8: {layers}."]
    lost = [f"In int8 these lose more accuracy against fp32 than the export allowed: {losses}."]
    return [*(said if layers else []), *(lost if losses else [])]


def _about_no_answer(manifest: Manifest) -> list[str]:
    """Write that the model may say that there is no answer, if it learnt that."""
    if all(entry.null_threshold is None for entry in manifest.pool):
        return []
    return [
        "A question may have no answer in its text: `answerable` is false then, and the answer is empty. Each subnet "
        "has a threshold of its own for that, which was chosen on dev rows; held-out questions without an answer count "
        "as right if none is given."
    ]


def _short(number: int) -> str:
    """Write a number as `12.3 M` or `45 k`."""
    return f"{number / 1e6:.1f} M" if number >= 1e6 else f"{number / 1e3:.0f} k"
