"""Masked language modelling: the masking of words, and the heads that predict them (BERT, section 3.1)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F

from gearshift.errors import ModelError, first_line
from gearshift.trainer.data.batches import Batch
from gearshift.trainer.model.loading import load_transformers

REPLACED, KEPT = 0.8, 0.1
"""Shares of the chosen tokens that become the mask, and that stay; the rest become random words."""


class MaskedHead(nn.Module):
    """Head that predicts the word of a state: a dense layer, then a product with the word table."""

    def __init__(self, hidden: int, words: int, width: int, norm_eps: float) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden, width)
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.bias = nn.Parameter(torch.zeros(words))

    def forward(self, states: Tensor, words: Tensor) -> Tensor:
        """Compute logits (n, words) from states (n, hidden) and the word table (words, width)."""
        return F.linear(self.norm(F.gelu(self.dense(states))), words, self.bias)


def mask_words(
    batch: Batch, *, share: float, mask_id: int, words: int, special: Tensor, seed: int
) -> tuple[Batch, Tensor]:
    """Return the batch with some tokens masked, and a mask (batch, tokens) of the tokens to predict.

    The same batch and seed give the same masking. `special`: ids that are never masked.
    """
    source = torch.Generator().manual_seed(seed)
    ids = batch.input_ids
    eligible = batch.attention_mask.bool() & ~torch.isin(ids, special.to(ids.device))
    chosen = eligible & (torch.rand(ids.shape, generator=source).to(ids.device) < share)
    if not chosen.any() and eligible.any():  # a batch with nothing to predict has no loss
        chosen[tuple(eligible.nonzero()[0])] = True
    # Drawn on the CPU, so that the same words are masked on every device.
    fate = torch.rand(ids.shape, generator=source).to(ids.device)
    random = torch.randint(0, words, ids.shape, generator=source).to(ids.device)
    hidden = torch.where(fate < REPLACED, mask_id, torch.where(fate < REPLACED + KEPT, ids, random))
    return dataclasses.replace(batch, input_ids=torch.where(chosen, hidden, ids)), chosen


def teacher_head(path: Path) -> tuple[MaskedHead, Tensor]:
    """Load a checkpoint's head for masked words, and its word table; raises ModelError if it has none."""
    try:
        config = transformers.AutoConfig.from_pretrained(path, local_files_only=True)
        if not any(name.endswith("ForMaskedLM") for name in config.architectures or ()):
            raise ValueError(f"it is a {', '.join(config.architectures or ['model without a head'])}")
        loaded = load_transformers("AutoModelForMaskedLM", path)
        if loaded.missing:
            raise ValueError(f"its weights have no {loaded.missing[0]}")
        dense, norm, decoder = _parts(loaded.model)
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(
            f"{path}: expected a teacher with a head for masked words ({first_line(error)}); "
            "let the net learn hidden states instead (objective hidden)"
        ) from error
    words = decoder.weight.detach()
    head = MaskedHead(dense.in_features, len(words), words.shape[1], norm.eps)
    head.dense.load_state_dict(dense.state_dict())
    head.norm.load_state_dict(norm.state_dict())
    head.bias.data.copy_(decoder.bias.detach())
    return head.eval().requires_grad_(False), words


def _parts(model: nn.Module) -> tuple[nn.Linear, nn.LayerNorm, nn.Linear]:
    """Return dense layer, norm and word table of the head of BERT, DistilBERT, ELECTRA or RoBERTa."""
    if hasattr(model, "cls"):
        transform = model.cls.predictions.transform  # type: ignore[union-attr]
        return transform.dense, transform.LayerNorm, model.cls.predictions.decoder  # type: ignore[union-attr, return-value]
    if hasattr(model, "vocab_projector"):
        return model.vocab_transform, model.vocab_layer_norm, model.vocab_projector  # type: ignore[return-value]
    if hasattr(model, "generator_lm_head"):
        inner = model.generator_predictions
        return inner.dense, inner.LayerNorm, model.generator_lm_head  # type: ignore[union-attr, return-value]
    head = model.lm_head
    return head.dense, head.layer_norm, head.decoder  # type: ignore[union-attr, return-value]
