"""Graphs to time: one random encoder, as an elastic graph, as dedicated graphs of ours, and as exported by optimum.

Weights are random: the time of a product does not depend on its numbers.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
import transformers

from benchmarks.graph.sessions import plain_session
from gearshift.device_profiles import read_fingerprint
from gearshift.export.cut import cut_encoder
from gearshift.export.graph.elastic import write_elastic_graph
from gearshift.export.graph.segments import Array
from gearshift.export.portable import write_static_graph
from gearshift.runtime.bundle.manifest import INPUTS
from gearshift.runtime.space.shape import EncoderShape
from gearshift.runtime.space.space import Space
from gearshift.runtime.space.subnet import Subnet
from gearshift.trainer.model.elastic import ElasticClassifier


def modernbert_base(layers: int) -> EncoderShape:
    """Return the shape of a ModernBERT-base of so many layers: every third sees all tokens, the others 64 on a side."""
    full = [layer % 3 == 0 for layer in range(layers)]
    return EncoderShape(
        layers=layers,
        hidden=768,
        heads=12,
        neurons=1152,
        vocabulary=50368,
        positions=2048,
        types=0,
        gated=True,
        norm_first=True,
        biases=False,
        rotary=tuple(160000.0 if each else 10000.0 for each in full),
        windows=tuple(0 if each else 64 for each in full),
    )


SHAPES = {
    "minilm-l6": EncoderShape(6, 384, 12, 1536, 30522, 512, 2),
    "bert-base": EncoderShape(12, 768, 12, 3072, 30522, 512, 2),
    "mpnet-base": EncoderShape(12, 768, 12, 3072, 30527, 512, 0, relative_buckets=32),
    "modernbert-base": modernbert_base(22),
    "modernbert-base-3": modernbert_base(3),
}
LABELS = 2


@dataclass(frozen=True)
class Inputs:
    """Token inputs of one text."""

    arrays: dict[str, Array]

    @classmethod
    def of_length(cls, shape: EncoderShape, tokens: int) -> Inputs:
        """Return random token ids, no padding, batch 1."""
        ids = np.random.default_rng(tokens).integers(1, shape.vocabulary, (1, tokens))
        return cls(dict(zip(INPUTS, (ids, np.ones_like(ids), np.zeros_like(ids)), strict=True)))


def random_weights(shape: EncoderShape) -> dict[str, Array]:
    """Return the weights of a freshly made classifier."""
    torch.manual_seed(0)
    return {name: tensor.numpy() for name, tensor in ElasticClassifier(shape, LABELS).state_dict().items()}


def write_graph(path: Path, weights: dict[str, Array], space: Space, precision: str) -> Path:
    """Write our graph of a space: elastic, or dedicated if the space is one subnet."""
    write_elastic_graph(path, weights, space, precision=precision, norm_eps=1e-12)
    return path


def their_session(path: Path, threads: int = 1) -> ort.InferenceSession:
    """Return a session as a user of optimum has it: all optimisations on."""
    return plain_session(path, ort.GraphOptimizationLevel.ORT_ENABLE_ALL, threads)


def export_with_optimum(directory: Path, shape: EncoderShape, subnet: Subnet, precision: str) -> dict[str, Path]:
    """Export the subnet alone, as a user would today: optimum's graph, plain and fused.

    int8: onnxruntime's dynamic quantization per channel, of both; 7-bit weights if the CPU has no int8 dot product, as
    recommended in onnxruntime's own guide (with 8 bits its products overflow there).
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers.optimizer import optimize_model

    directory.mkdir(parents=True, exist_ok=True)
    write_static_graph(cut_model(shape, subnet), directory, "classification")
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        fused = optimize_model(
            str(directory / "model.onnx"),
            model_type="bert",
            num_heads=0,  # 0: found in the graph; a pruned layer's heads x head size is not its hidden size
            hidden_size=0,
            opt_level=1,
        )
    fused.save_model_to_file(str(directory / "fused.onnx"))
    graphs = {"plain": directory / "model.onnx", "fused": directory / "fused.onnx"}
    if precision == "fp32":
        return graphs
    for name, path in graphs.items():
        quantize_dynamic(
            path,
            directory / f"{name}.int8.onnx",
            per_channel=True,
            reduce_range=not read_fingerprint({}).int8_dot_product,
            weight_type=QuantType.QInt8,
            # The quantizer does not know the type of a value behind a fused operator.
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
    return {name: directory / f"{name}.int8.onnx" for name in graphs}


def cut_model(shape: EncoderShape, subnet: Subnet) -> transformers.PreTrainedModel:
    """Return a transformers classifier of exactly this subnet's size, with random weights."""
    config = transformers.BertConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.neurons,
        max_position_embeddings=shape.positions,
        num_labels=LABELS,
        attn_implementation="eager",
    )
    model = transformers.BertForSequenceClassification(config).eval()
    cut_encoder(model, subnet)
    return model
