"""Bundles of random weights for timing: the time of a product does not depend on its numbers."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from benchmarks.graph.subjects import LABELS, random_weights, write_graph
from gearshift.export.checks.tokens import token_vectors
from gearshift.export.prepare import MINIMUM_ONNXRUNTIME, SESSION_OPTIONS
from gearshift.runtime.bundle.bundle import Bundle, open_bundle, write_manifest
from gearshift.runtime.bundle.manifest import INPUTS, MACS_TOKENS, MANIFEST, SELF_TEST, TOKENIZER, Manifest, PoolEntry
from gearshift.runtime.files.atomic import replacing_directory
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.inference.token_vectors import write_token_vectors
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import Space, cut_space
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.space.uniform import subnet_name, uniform_grid, uniform_subnet

WIDTHS = (1.0, 0.75, 0.5, 0.25)
SELF_TEST_TOKENS = 16
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def random_bundle(
    path: Path,
    shape: EncoderShape,
    pool: Mapping[str, Subnet],
    *,
    layers_per_stage: int = 1,
    precisions: tuple[str, ...] = ("fp32", "int8"),
    max_length: int = 128,
) -> Bundle:
    """Make a bundle of that shape and pool that verifies; its accuracies rise with the size of a subnet and mean
    nothing."""
    weights = random_weights(shape)
    space = cut_space(shape, list(pool.values()), layers_per_stage)
    with replacing_directory(path, marker=MANIFEST) as fresh:
        for precision in precisions:
            write_graph(fresh / f"{precision}.onnx", weights, space, precision)
        (fresh / TOKENIZER).write_text(_tokenizer(shape.vocabulary).to_str(), encoding="utf-8")
        manifest = _manifest(path, shape, space, pool, precisions, max_length)
        ids = np.random.default_rng(0).integers(len(SPECIAL), shape.vocabulary, (2, SELF_TEST_TOKENS))
        inputs = dict(zip(INPUTS, (ids, np.ones_like(ids), np.zeros_like(ids)), strict=True))
        arrays: dict[str, Any] = dict(inputs)
        draft = Bundle(fresh, manifest, hash="", known=True)
        for precision in precisions:
            session = ElasticSession(draft, precision, threads=1)
            for name, entry in draft.pool(precision).items():
                arrays[f"logits.{precision}.{name}"] = session.run(inputs, entry.choice)
            session.close()
        np.savez_compressed(fresh / SELF_TEST, allow_pickle=False, **arrays)
        write_token_vectors(fresh, token_vectors(draft))
        write_manifest(fresh, manifest)
    return open_bundle(path)


def five_options(shape: EncoderShape, *, mixed: int = 12, seed: int = 0) -> dict[str, Subnet]:
    """Return the uniform pool of DynaBERT and some mixed subnets, so that every layer has four widths and can be
    skipped."""
    pool = uniform_grid(shape)
    sizes = [uniform_subnet(shape, width, 1.0).layers[0] for width in WIDTHS]
    draw = random.Random(seed)
    for layer in range(shape.layers):  # each layer is skipped by some subnet
        layers = [draw.choice(sizes) for _ in range(shape.layers)]
        layers[layer] = (0, 0)
        subnet = Subnet(tuple(layers))
        pool[subnet_name(shape, subnet)] = subnet
    while len(pool) < len(uniform_grid(shape)) + mixed:
        subnet = random_subnet(cut_space(shape, list(pool.values()), 1), draw)
        pool.setdefault(subnet_name(shape, subnet), subnet)
    return pool


def random_subnet(space: Space, draw: random.Random) -> Subnet:
    """Draw any subnet of the space, all with equal probability; never one that skips all layers."""
    while True:
        choice = tuple(draw.randrange(len(stage.options)) for stage in space.stages)
        if any(not stage.options[option].skips for stage, option in zip(space.stages, choice, strict=True)):
            return space.subnet(choice)


def _manifest(
    path: Path,
    shape: EncoderShape,
    space: Space,
    pool: Mapping[str, Subnet],
    precisions: tuple[str, ...],
    max_length: int,
) -> Manifest:
    full = Subnet(((shape.heads, shape.neurons),) * shape.layers).macs(shape, MACS_TOKENS)
    entries = tuple(
        PoolEntry(
            name=name,
            subnet=subnet,
            executor="elastic",
            file=f"{precision}.onnx",
            choice=space.choice(subnet),
            precision=precision,
            accuracy=round(0.9 * (subnet.macs(shape, MACS_TOKENS) / full) ** 0.1, 4),
            parameters=subnet.parameters(shape),
            macs=subnet.macs(shape, MACS_TOKENS),
        )
        for precision in precisions
        for name, subnet in pool.items()
    )
    return Manifest(
        name=path.name.removesuffix(".gearshift"),
        task="classification",
        metric="accuracy",
        labels=tuple(f"label{number}" for number in range(LABELS)),
        max_length=max_length,
        pad_id=0,
        inputs=INPUTS,
        space=space,
        pool=entries,
        macs_tokens=MACS_TOKENS,
        session_options=SESSION_OPTIONS,
        minimum_onnxruntime=MINIMUM_ONNXRUNTIME,
        accuracy_rows=1,
        licence="unspecified",
        made_by="benchmarks.graph.bundles",
        files={},
    )


def _tokenizer(vocabulary: int) -> Tokenizer:
    """Return a tokenizer with the words `w4`, `w5` ... as tokens of their own."""
    words = [*SPECIAL, *(f"w{number}" for number in range(len(SPECIAL), vocabulary))]
    tokenizer = Tokenizer(models.WordPiece({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # which clients in other languages have too
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer
