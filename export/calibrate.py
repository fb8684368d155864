"""Typical inputs of the linear layers of a net, by which coarse weights are chosen (`graph.quantizer`)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from gearshift.export.graph.segments import Array
from gearshift.trainer.data.batches import EncodedRows
from gearshift.trainer.model.elastic import ElasticClassifier

ROWS = 256
"""Number of rows whose tokens are counted; each passes through two subnets."""
BATCH = 16


@torch.no_grad()
def input_products(model: ElasticClassifier, subnets: Mapping[str, Any], rows: EncodedRows) -> dict[str, Array]:
    """Return name of each linear layer of the encoder -> mean products of its inputs, (in, in), over real tokens.

    All subnets take turns: their inputs differ. What a subnet does not compute counts as 0.
    """
    model.eval()
    seen = _Inputs(model)
    turns = itertools.cycle(subnets.values())
    for batch in rows.batches(BATCH):
        seen.real = batch.attention_mask.bool()
        with seen:
            for subnet in itertools.islice(turns, 2):
                model(batch, subnet)
    return {name: products.numpy() / seen.tokens[name] for name, products in seen.products.items()}


class _Inputs(TorchFunctionMode):
    """Mode in which torch adds up the products of the inputs of linear layers."""

    def __init__(self, model: ElasticClassifier) -> None:
        super().__init__()
        found = {name: part for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)}
        encoder = {name: part for name, part in found.items() if name.startswith("layers.")}
        # A narrow subnet takes a part of a matrix, which begins where the whole one does.
        self.names = {part.weight.data_ptr(): name for name, part in encoder.items()}
        self.sizes = {name: part.in_features for name, part in encoder.items()}
        self.products: dict[str, Tensor] = {}
        self.tokens: dict[str, int] = {}
        self.real = torch.zeros(0)
        """Mask of the tokens of the current batch, (batch, tokens)."""

    def __torch_function__(self, function: Any, types: Any, given: Any = (), named: Any = None) -> Any:
        if function is F.linear and (name := self.names.get(given[1].data_ptr())) is not None:
            self._count(name, given[0][self.real].double())
        return function(*given, **(named or {}))

    def _count(self, name: str, inputs: Tensor) -> None:
        size, width = self.sizes[name], inputs.shape[1]
        total = self.products.setdefault(name, torch.zeros(size, size, dtype=torch.double))
        total[:width, :width] += inputs.T @ inputs
        self.tokens[name] = self.tokens.get(name, 0) + len(inputs)
