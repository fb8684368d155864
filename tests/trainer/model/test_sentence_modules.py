"""Embedding models in the layouts of sentence-transformers: the full subnet answers as `encode` does, or the model is
refused by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers

from gearshift.errors import ModelError
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.trainer.data.batches import encode as tokenized
from gearshift.trainer.data.rows import Row
from gearshift.trainer.dynabert.supernet import Supernet
from gearshift.trainer.model.checkpoint import Checkpoint, load_checkpoint
from gearshift.trainer.model.elastic import Head
from gearshift.trainer.model.embedding_head import ACTIVATIONS, Normalize
from gearshift.trainer.model.run import load_supernet, save_run
from tests.trainer.sentence_models import (
    DROPOUT,
    HIDDEN,
    LAYOUTS,
    MEAN,
    NORMALIZE,
    PROMPT,
    TEXTS,
    Array,
    Layout,
    Module,
    dense,
    encode,
    layer_norm,
    pooling,
    write_sentence_model,
)

OF_ALL = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
SHAPES = (Layout((MEAN, dense(HIDDEN, 8))), Layout((MEAN, dense(HIDDEN, 8), NORMALIZE), 6))


@torch.no_grad()
def vectors_of(checkpoint: Checkpoint) -> Array:
    """Return the vectors of the full subnet, all texts in one padded batch."""
    length, prompt = checkpoint.sentence.max_length or 32, checkpoint.sentence.prompt
    rows = [Row(text, None, None) for text in TEXTS]
    encoded = tokenized(rows, (), checkpoint.tokenizer, max_length=length, task="embedding", prompt=prompt)
    model = checkpoint.model.eval()
    return np.asarray(model(encoded.select(range(len(TEXTS))), model.full).logits.numpy())


def save(checkpoint: Checkpoint, target: Path) -> Path:
    grid = uniform_grid(checkpoint.model.shape)
    save_run(target, checkpoint, subnets=grid, accuracies=dict.fromkeys(grid, 0.5), facts={"max_length": 16})
    return target


@OF_ALL
def test_the_full_subnet_answers_as_sentence_transformers_encodes(
    layout: Layout, checkpoint_path: Path, tmp_path: Path
) -> None:
    path = write_sentence_model(tmp_path / "model", layout, checkpoint_path)
    checkpoint = load_checkpoint(path, task="embedding")
    wanted, found = encode(path, layout), vectors_of(checkpoint)
    assert found.shape == wanted.shape == (len(TEXTS), layout.width)
    assert np.abs(found - wanted).max() < 1e-5
    assert checkpoint.model.head.width(HIDDEN) == layout.width


@OF_ALL
def test_a_run_of_it_is_a_model_with_the_same_modules_and_settings(
    layout: Layout, checkpoint_path: Path, tmp_path: Path
) -> None:
    path = write_sentence_model(tmp_path / "model", layout, checkpoint_path)
    checkpoint = load_checkpoint(path, task="embedding")
    back = load_supernet(save(checkpoint, tmp_path / "run")).checkpoint
    assert (back.model.head, back.sentence) == (checkpoint.model.head, checkpoint.sentence)
    assert np.array_equal(vectors_of(back), vectors_of(checkpoint))


def test_a_run_says_its_pooling_as_older_releases_read_it_if_it_can(checkpoint_path: Path, tmp_path: Path) -> None:
    for name in ("two poolings", "poolings in an order of their own, release 6"):
        path = write_sentence_model(tmp_path / "model" / name, LAYOUTS[name], checkpoint_path)
        run = save(load_checkpoint(path, task="embedding"), tmp_path / "run" / name)
        config = json.loads((run / "1_Pooling" / "config.json").read_text())
        assert ("pooling_mode_cls_token" in config) != ("pooling_mode" in config)
        assert ("pooling_mode" in config) == name.startswith("poolings in an order")


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_is_torchs(activation: str) -> None:
    values = torch.linspace(-4, 4, 33)
    assert torch.equal(ACTIVATIONS[activation](values), getattr(torch.nn, activation)()(values))


def test_a_settings_file_gives_prompts_and_similarity(checkpoint_path: Path, tmp_path: Path) -> None:
    path = write_sentence_model(tmp_path, LAYOUTS["default prompt"], checkpoint_path)
    settings = load_checkpoint(path, task="embedding").sentence
    assert (settings.prompt, settings.default_prompt, settings.similarity) == (PROMPT, "query", "dot")
    assert settings.prompts == {"query": PROMPT, "passage": "ice "}


def test_other_tasks_take_the_encoder_from_its_folder_and_no_module(checkpoint_path: Path, tmp_path: Path) -> None:
    path = write_sentence_model(tmp_path, Layout((MEAN, dense(HIDDEN, 8)), 1), checkpoint_path)
    checkpoint = load_checkpoint(path, ("a", "b"))
    assert (checkpoint.model.head.steps, checkpoint.model.outputs) == (Head().steps, 2)
    embedded = load_checkpoint(path, task="embedding").model.embeddings.word.weight
    assert torch.equal(checkpoint.model.embeddings.word.weight, embedded)


def test_without_modules_vectors_are_means_of_length_one(checkpoint_path: Path, tmp_path: Path) -> None:
    path = write_sentence_model(tmp_path, Layout((MEAN, NORMALIZE)), checkpoint_path)
    wanted = encode(path, Layout((MEAN, NORMALIZE)))
    (path / "modules.json").unlink()
    assert np.abs(vectors_of(load_checkpoint(path, task="embedding")) - wanted).max() < 1e-5
    (path / "1_Pooling" / "config.json").unlink()
    assert np.abs(vectors_of(load_checkpoint(path, task="embedding")) - wanted).max() < 1e-5


@pytest.mark.parametrize("name", ["dense, release 6", "default prompt that three poolings leave out", "lower-cased"])
def test_a_supernet_of_ones_own_loop_has_the_modules_too(name: str, checkpoint_path: Path, tmp_path: Path) -> None:
    layout = LAYOUTS[name]
    path = write_sentence_model(tmp_path / "model", layout, checkpoint_path)
    supernet = Supernet.convert(transformers.AutoModel.from_pretrained(path))
    supernet.save(tmp_path / "run", transformers.AutoTokenizer.from_pretrained(path), max_length=16)
    found = vectors_of(load_supernet(tmp_path / "run").checkpoint)
    assert np.abs(found - encode(path, layout)).max() < 1e-5


def test_a_given_pooling_stands_for_all_modules(checkpoint_path: Path, tmp_path: Path) -> None:
    path = write_sentence_model(tmp_path, LAYOUTS["dense"], checkpoint_path)
    model = transformers.AutoModel.from_pretrained(path)
    assert Supernet.convert(model, pooling="first+max").model.head == Head(
        "embedding", pooling="first+max", steps=(Normalize(),)
    )


# What cannot be followed

_PACKAGE = "sentence_transformers.models"
UNKNOWN_MODULES = (
    *(f"{_PACKAGE}.{name}" for name in ("WordEmbeddings", "CNN", "LSTM", "WeightedLayerPooling", "StaticEmbedding")),
    *(f"{_PACKAGE}.{name}" for name in ("BoW", "WordWeights", "Asym", "CLIPModel")),
    "sentence_transformers.base.modules.router.Router",
    "sentence_transformers.sparse_encoder.models.SpladePooling",
    "custom_st.Dense",
)


@pytest.mark.parametrize(
    ("kind", "place"), [*((kind, 2) for kind in UNKNOWN_MODULES), (UNKNOWN_MODULES[0], 0), (UNKNOWN_MODULES[3], 1)]
)
def test_any_other_module_is_refused_by_its_name(kind: str, place: int, checkpoint_path: Path, tmp_path: Path) -> None:
    path = write_sentence_model(tmp_path, SHAPES[0], checkpoint_path)
    entries = json.loads((path / "modules.json").read_text())
    entries[place]["type"] = kind
    (path / "modules.json").write_text(json.dumps(entries))
    named = kind.rpartition(".")[2] if kind.startswith("sentence_transformers") else kind
    with pytest.raises(ModelError, match=rf"modules\.json: module {named} is not supported; expected Transformer, Po"):
        load_checkpoint(path, task="embedding")


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ((), "expected Transformer, Pooling, and then .*, found Transformer$"),
        ((dense(HIDDEN, 8), MEAN), "expected Transformer, Pooling, .*, found Transformer, Dense, Pooling$"),
        ((MEAN, pooling("max", folder="other")), "found Transformer, Pooling, Pooling$"),
        ((MEAN, dense(16, 8)), "2_Dense: Dense takes 16 numbers, the module before it gives 32; "),
        ((pooling("cls", "max"), layer_norm(32)), "2_LayerNorm: LayerNorm takes 32 numbers, .* gives 64; "),
        ((MEAN, dense(HIDDEN, 8), dense(HIDDEN, 8)), "3_Dense: Dense takes 32 numbers, the module before it gives 8"),
        ((MEAN, DROPOUT, dense(16, 8)), "3_Dense: Dense takes 16 numbers"),
        (
            (MEAN, dense(HIDDEN, 8, "activation.PReLU")),
            r"activation function torch\.nn\.\S*PReLU is not supported; expe",
        ),
        ((MEAN, dense(HIDDEN, 8, activation_function="mine.Tanh")), r"activation function mine\.Tanh is not supported"),
        ((MEAN, dense(HIDDEN, 8, module_input_name="token_embeddings")), "a module of token_embeddings is not suppor"),
        ((MEAN, Module("Normalize", {"module_output_name": "other"})), "a module of other is not supported; expected"),
        (
            (pooling("median"),),
            "1_Pooling.config.json: pooling median is not supported; expected one or several of cls",
        ),
    ],
)
def test_modules_that_do_not_follow_each_other_are_refused(
    modules: tuple[Module, ...], message: str, checkpoint_path: Path, tmp_path: Path
) -> None:
    path = write_sentence_model(tmp_path, Layout(modules, 6), checkpoint_path)
    with pytest.raises(ModelError, match=message) as refused:
        load_checkpoint(path, task="embedding")
    assert "\n" not in str(refused.value)


def change(name: str, **fields: Any) -> Callable[[Path], None]:
    """Change fields of a JSON file."""

    def apply(path: Path) -> None:
        content = json.loads((path / name).read_text())
        (path / name).write_text(json.dumps({**content, **fields}))

    return apply


def change_modules(place: int, **fields: str) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        entries = json.loads((path / "modules.json").read_text())
        entries[place] |= fields
        (path / "modules.json").write_text(json.dumps(entries))

    return apply


def write(name: str, content: bytes) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        (path / name).write_bytes(content)

    return apply


def weights(**tensors: torch.Tensor) -> bytes:
    content: bytes = safetensors.torch.save({name.replace("__", "."): tensor for name, tensor in tensors.items()})
    return content


POOLING, DENSE, MODEL = "1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"
SETTINGS, ENCODER = "config_sentence_transformers.json", "sentence_bert_config.json"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change_modules(2, name="1"), "expected modules of different names, found 0, 1, 1"),
        (change_modules(2, path="../elsewhere"), r"expected a folder in the model's directory, found \.\./elsewhere"),
        (change_modules(2, path="/elsewhere"), "expected a folder in the model's directory, found /elsewhere"),
        (write("modules.json", b"{"), "modules.json: expected JSON"),
        (write("modules.json", b"[]"), "expected a list of modules, found none"),
        (write("modules.json", b'[{"type": "sentence_transformers.models.Transformer"}]'), "no field 'path'"),
        (lambda path: (path / POOLING).unlink(), "1_Pooling/config.json: could not be read"),
        (change(POOLING, embedding_dimension=48), "expected the encoder's width 32, found 48"),
        (change(POOLING, pooling_mode=[]), "no pooling_mode"),
        (write(DENSE, b"{}"), "no field 'in_features'"),
        (lambda path: (path / MODEL).unlink(), r"Dense has none of model\.safetensors, pytorch_model\.bin"),
        (write(MODEL, b"no weights"), "no weights that torch can read"),
        (
            write(MODEL, weights(linear__weight=torch.ones(8, 32))),
            "expected linear.bias 8, linear.weight 8x32, found li",
        ),
        (write(MODEL, weights(linear__weight=torch.ones(8, 16), linear__bias=torch.ones(8))), "found .* 8x16; downloa"),
        (
            write(MODEL, weights(linear__weight=torch.ones(8, 32), linear__bias=torch.full((8,), torch.nan))),
            "linear.bias has values that are not finite",
        ),
        (change(SETTINGS, model_type="SparseEncoder"), "a SparseEncoder is not supported as an embedding model"),
        (change(SETTINGS, default_prompt_name="query"), r"default_prompt_name 'query' is none of its prompts \(none\)"),
        (change(SETTINGS, similarity_fn_name="maxsim"), "similarity_fn_name 'maxsim'"),
        (change(SETTINGS, truncate_dim=0), "truncate_dim 0"),
        (
            change(ENCODER, transformer_task="fill-mask"),
            "expected an encoder for feature-extraction, .*, found fill-ma",
        ),
        (
            change(ENCODER, module_output_name="sentence_embedding"),
            "found .*sentence_embedding, which is not supported",
        ),
        (change(ENCODER, max_seq_length="long"), "max_seq_length 'long'"),
    ],
)
def test_files_that_cannot_be_followed_are_refused_in_a_line(
    damage: Callable[[Path], None], message: str, checkpoint_path: Path, tmp_path: Path
) -> None:
    path = write_sentence_model(tmp_path, SHAPES[1], checkpoint_path)
    damage(path)
    with pytest.raises(ModelError, match=message) as refused:
        load_checkpoint(path, task="embedding")
    assert "\n" not in str(refused.value)


def test_a_damaged_pytorch_model_bin_is_refused(checkpoint_path: Path, tmp_path: Path) -> None:
    path = write_sentence_model(tmp_path, LAYOUTS["dense in pytorch_model.bin"], checkpoint_path)
    (path / "2_Dense" / "pytorch_model.bin").write_bytes(b"no weights")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin: no weights that torch can read"):
        load_checkpoint(path, task="embedding")


def test_cls_pooling_that_leaves_a_prompt_out_is_refused(checkpoint_path: Path, tmp_path: Path) -> None:
    settings = LAYOUTS["default prompt"].settings
    layout = Layout((pooling("cls", include_prompt=False),), settings=settings)
    with pytest.raises(ModelError, match="cls pooling that leaves the prompt out is not supported; set include_prompt"):
        load_checkpoint(write_sentence_model(tmp_path, layout, checkpoint_path), task="embedding")
