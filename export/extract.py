"""Extraction of one subnet as an ordinary, smaller Hugging Face model, for `from_pretrained`.

A config states the number of layers, one number of neurons for all, and the pruned heads of each layer
(`pruned_heads`). Any subnet whose layers keep the same number of neurons can be written. Only transformers below 5
reads a model with pruned heads; later versions have no head pruning. Of MPNet, ModernBERT, DeBERTa and ALBERT only
subnets with all heads can be written, and of ModernBERT only those whose windows are where a config puts them.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import transformers
from torch import Tensor

from gearshift.errors import ExportError, UnknownSubnetError
from gearshift.export.checks.parity import FP32_TOLERANCE
from gearshift.export.cut import require_even
from gearshift.runtime.bundle.tasks import TASKS
from gearshift.runtime.files.atomic import replacing_directory
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.subnet import Subnet
from gearshift.trainer.data.batches import Batch
from gearshift.trainer.data.tokenizer import save_tokenizer
from gearshift.trainer.model.configs import neurons_field, shape_of
from gearshift.trainer.model.elastic import TaskModel
from gearshift.trainer.model.huggingface import HEAD_ORDER, checkpoint_state
from gearshift.trainer.model.loading import HEADS, quiet, set_dtype
from gearshift.trainer.model.names import ARCHITECTURES, CLASS_SUFFIXES
from gearshift.trainer.model.run import SUBNET, WEIGHTS, Run, optional_fields
from gearshift.trainer.model.sentence_files import write_sentence_model

LEADING = tuple(
    f"{part}.{kind}"
    for part in ("query", "key", "value", "position_key", "position_query")
    for kind in ("weight", "bias")
)
"""Weights of a layer whose rows are the dimensions of its heads."""


@dataclass(frozen=True)
class Extracted:
    """Extracted model, as written."""

    path: Path
    parameters: int
    """Number of all parameters, including the task head."""
    prunes_heads: bool
    """Whether heads are pruned, so that only transformers below 5 can load it."""
    parity: float | None
    """Largest difference of its answers from the supernet's; None if the installed transformers cannot load it."""


def extract_subnet(run: Run, name: str, subnet: Subnet, out: Path) -> Extracted:
    """Write a subnet of a run as a Hugging Face model, atomically, and check its answers against the supernet.

    Raises ExportError if layers keep different numbers of neurons, or if an answer differs; StorageError if `out` has
    anything but such a model.
    """
    checkpoint = run.checkpoint
    neurons = {kept.neurons for kept in subnet.kept()}
    if len(neurons) > 1:
        raise ExportError(
            f"{name}: its layers keep {', '.join(map(str, sorted(neurons)))} neurons, but a Hugging Face config has "
            f"one number for all; write it with --portable {name}"
        )
    if checkpoint.model.shape.shared:
        require_even(subnet)
    config = small_config(run, subnet)
    _require_expressible(run, name, subnet, config)
    weights = small_weights(checkpoint.model.state_dict(), subnet, checkpoint.model.shape)
    state = checkpoint_state(weights, config, checkpoint.task)
    prunes = bool(config.pruned_heads)
    with replacing_directory(out, marker=SUBNET) as fresh, quiet():
        config.save_pretrained(fresh)
        (fresh / WEIGHTS).write_bytes(safetensors.torch.save(state, metadata={"format": "pt"}))
        save_tokenizer(checkpoint, fresh)
        if checkpoint.task == "embedding":
            write_sentence_model(fresh, checkpoint.model, checkpoint.model.shape.hidden, checkpoint.sentence)
        (fresh / "README.md").write_text(_card(run, name, subnet, prunes), encoding="utf-8")
        described: dict[str, object] = {
            "name": name,
            "layers": [list(layer) for layer in subnet.layers],
            "of": str(run.path.resolve()),
        }
        described |= optional_fields(name, null_threshold=run.thresholds if name in run.thresholds else None)
        (fresh / SUBNET).write_text(json.dumps(described) + "\n", encoding="utf-8")
        parity = _check(run, name, subnet, fresh) if not prunes or can_prune_heads() else None
    return Extracted(out, sum(tensor.numel() for tensor in state.values()), prunes, parity)


def named_subnet(run: Run, name: str) -> Subnet:
    """Return a subnet of the run's pool, or a trained one; raises UnknownSubnetError, which lists them."""
    known = {**run.trained, **run.subnets}
    if name not in known:
        raise UnknownSubnetError(f"checkpoint: unknown subnet {name!r}; expected one of {', '.join(known)}")
    return known[name]


def can_prune_heads() -> bool:
    """Return whether the installed transformers can load a model with pruned heads."""
    return hasattr(transformers.PreTrainedModel, "prune_heads")


def small_config(run: Run, subnet: Subnet) -> Any:
    """Return the run's config with the layers, neurons and heads of the subnet."""
    config = copy.deepcopy(transformers.AutoConfig.from_pretrained(run.path, local_files_only=True))
    set_dtype(config, run.checkpoint.model)
    for field in (HEADS, HEAD_ORDER):
        if hasattr(config, field):
            delattr(config, field)
    heads = run.checkpoint.model.shape.heads
    kept = subnet.kept()
    config.num_hidden_layers = len(kept)
    setattr(config, neurons_field(config), kept[0].neurons)
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[layer.layer] for layer in kept]
    config.pruned_heads = {
        place: list(range(layer.heads, heads)) for place, layer in enumerate(kept) if layer.heads < heads
    }
    return config


def _require_expressible(run: Run, name: str, subnet: Subnet, config: Any) -> None:
    """Raise ExportError unless a config of its architecture can state what the subnet keeps."""
    shape, kept = run.checkpoint.model.shape, subnet.kept()
    if config.pruned_heads and not ARCHITECTURES[config.model_type].prunes_heads:
        raise ExportError(
            f"{name}: some of its layers lack heads, which a config of {config.model_type} cannot state; "
            f"write it with --portable {name}"
        )
    small = shape_of(config)
    whole = all(
        tuple(getattr(shape, field)[layer.layer] for layer in kept) == getattr(small, field)
        for field in ("windows", "rotary")
        if getattr(shape, field)
    )
    if not whole or (shape.norm_first and kept[0].layer != 0):
        raise ExportError(
            f"{name}: a config of {config.model_type} cannot state which of its layers have windows, or no norm; "
            f"write it with --portable {name}"
        )


def small_weights(weights: Mapping[str, Tensor], subnet: Subnet, shape: EncoderShape) -> dict[str, Tensor]:
    """Cut the weights of an elastic model down to the subnet, with its layers renumbered from 0."""
    small = {name: tensor for name, tensor in weights.items() if not name.startswith("layers.")}
    for place, kept in enumerate(Subnet(shape.stored(subnet.layers)).kept()):
        start, inner = f"layers.{kept.layer}.", kept.heads * shape.head_size
        for name in [name for name in weights if name.startswith(start)]:
            part = name.removeprefix(start)
            small[f"layers.{place}.{part}"] = _cut(weights[name], part, inner, kept.neurons).contiguous()
    return small


def _cut(weight: Tensor, part: str, inner: int, neurons: int) -> Tensor:
    if part in LEADING:
        return weight[:inner]
    if part == "attention_output.weight":
        return weight[:, :inner]
    if part.startswith(("ffn_in.", "ffn_gate.")):
        return weight[:neurons]
    return weight[:, :neurons] if part == "ffn_out.weight" else weight


@torch.no_grad()
def _check(run: Run, name: str, subnet: Subnet, path: Path) -> float:
    """Return the largest difference of the model, loaded by transformers, from the supernet.

    Raises ExportError above FP32_TOLERANCE.
    """
    task = run.checkpoint.task
    suffix = CLASS_SUFFIXES[task]
    auto = getattr(transformers, f"AutoModel{suffix if suffix != 'Model' else ''}")
    loaded = auto.from_pretrained(path, local_files_only=True).eval()
    model = run.checkpoint.model.eval()
    shape, skipped = model.shape, model.head.skipped
    longest = min(16 + skipped, shape.positions)
    batch = _sample(shape.vocabulary, longest, 1 + skipped, loaded.config.pad_token_id or 0)
    found, expected = _answer(loaded, batch, model), model(batch, subnet).logits
    real = batch.attention_mask.bool() if TASKS[task].per_token else slice(None)
    difference = float((found[real] - expected[real]).abs().max())
    if not difference <= FP32_TOLERANCE:
        raise ExportError(
            f"{name}: expected a model within {FP32_TOLERANCE:g} of the supernet, off by {difference:.2g}"
        )
    return difference


def _sample(vocabulary: int, tokens: int, least: int, pad_id: int) -> Batch:
    """Return a batch of four rows of random tokens, of different lengths from `least` to `tokens`."""
    source = torch.Generator().manual_seed(0)
    lengths = torch.tensor([tokens, max(tokens // 2, least), tokens - 1, least])
    mask = (torch.arange(tokens)[None] < lengths[:, None]).long()
    ids = torch.randint(0, vocabulary, mask.shape, generator=source)
    ids = torch.where(ids == pad_id, (pad_id + 1) % vocabulary, ids) * mask + pad_id * (1 - mask)
    return Batch(ids, mask, torch.zeros_like(mask), torch.zeros(4, 0), torch.arange(4))


def _answer(loaded: Any, batch: Batch, model: TaskModel) -> Tensor:
    """Compute the answer of a transformers model, in the form of an elastic model's answer."""
    output = loaded(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
    if model.head.task == "question-answering":
        return torch.stack([output.start_logits, output.end_logits], dim=-1)
    if model.head.task != "embedding":
        logits: Tensor = output.logits
        return logits
    vectors: Tensor = model.answer(output.last_hidden_state, batch.attention_mask)
    return vectors


def _card(run: Run, name: str, subnet: Subnet, prunes: bool) -> str:
    """Write the README of the directory."""
    kept = subnet.kept()
    heads: Sequence[int] = [layer.heads for layer in kept]
    kind = ARCHITECTURES[transformers.AutoConfig.from_pretrained(run.path, local_files_only=True).model_type]
    lines = [
        f"# {name}",
        "",
        f"A subnet of a gearshift supernet: {len(kept)} layers with {', '.join(map(str, heads))} heads "
        f"and {kept[0].neurons} neurons each. `{kind.class_name(run.checkpoint.task)}.from_pretrained` loads it.",
    ]
    if name in run.thresholds:
        lines += [
            "",
            f"A question has no answer where its null score difference is above {run.thresholds[name]:.4g} "
            "(`null_score_diff_threshold` of transformers' `run_qa.py`).",
        ]
    if prunes:
        lines += ["", PRUNED_NOTE]
    return "\n".join(lines) + "\n"


PRUNED_NOTE = (
    "It lacks heads (`pruned_heads` in its config), which transformers below 5 can load; later versions have no head "
    "pruning. A subnet of full width loads in all of them."
)
