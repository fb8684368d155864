"""Kinds of changes by name."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import graph, self_test, tokenizer, weights

TINY = Path(__file__).parents[1] / "data" / "tiny.gearshift"


@dataclass(frozen=True)
class Kind:
    label: str
    name: str
    """File that is changed."""
    change: Callable[[bytes, random.Random], bytes]


KINDS: Mapping[str, Kind] = {
    "graph": Kind("graph", graph.NAME, graph.change),
    "tokenizer": Kind("tokenizer", tokenizer.NAME, tokenizer.change),
    "self_test": Kind("self_test", self_test.NAME, self_test.change),
    "weights": Kind("weights", weights.NAME, weights.change),
    "int8_graph": Kind("int8_graph", "int8.onnx", graph.change),
}
