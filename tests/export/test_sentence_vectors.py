"""Embedding models of sentence-transformers, the whole way to the engine: vectors, width, prompt and similarity."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from gearshift.errors import InputError, ModelError
from gearshift.export import export_bundle
from gearshift.export.dedicated import dedicated_graphs
from gearshift.export.extract import extract_subnet
from gearshift.export.graph.vectors import ACTIVATED
from gearshift.export.portable import export_portable
from gearshift.export.trim import trim_bundle
from gearshift.runtime import Engine, open_bundle
from gearshift.runtime.bundle.digest import with_digest
from gearshift.runtime.bundle.manifest import Manifest, Vectors
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.trainer.data.rows import Row
from gearshift.trainer.data.splits import DataSet
from gearshift.trainer.dynabert.train import train_supernet
from gearshift.trainer.model.checkpoint import load_checkpoint
from gearshift.trainer.model.embedding_head import ACTIVATIONS
from gearshift.trainer.model.run import Run, load_supernet, save_run
from tests.command_line import Command
from tests.trainer.sentence_models import (
    HIDDEN,
    LAYOUTS,
    MEAN,
    NORMALIZE,
    PROMPT,
    TEXTS,
    Array,
    Layout,
    dense,
    encode,
    write_sentence_model,
)
from tests.trainer.tiny import SETTINGS, write_checkpoint

ROWS = [Row(text, None, None) for text in TEXTS]
DATA = DataSet((), {"train": tuple(ROWS) * 3, "dev": tuple(ROWS), "test": tuple(ROWS)}, task="embedding")
FULL = "w100-d100"
SEVERAL = ("all poolings", "dense layers with residuals, release 6", "default prompt that three poolings leave out")


@pytest.fixture(scope="module")
def checkpoint_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of the tokenizer."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")


def run_of(path: Path, out: Path) -> Run:
    """Return a run of the model as it was brought, without any training."""
    checkpoint = load_checkpoint(path, task="embedding")
    grid = uniform_grid(checkpoint.model.shape, (1.0, 0.5), (1.0,))
    length = min(32, checkpoint.sentence.max_length or 32)
    save_run(out, checkpoint, subnets=grid, accuracies=dict.fromkeys(grid, 0.5), facts={"max_length": length})
    return load_supernet(out)


def vectors_of(bundle: Path, subnet: str = FULL, precision: str = "fp32") -> Array:
    with Engine.load(bundle, precision=precision, threads=1) as engine:
        engine.pin(subnet)
        together = np.stack([answer.vector for answer in engine.run(list(TEXTS))])
        alone = np.stack([engine.run(text).vector for text in TEXTS])
    assert np.abs(together - alone).max() < (1e-5 if precision == "fp32" else 1)
    return together


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_an_engine_answers_as_sentence_transformers_encodes(
    layout: Layout, checkpoint_path: Path, tmp_path: Path
) -> None:
    path = write_sentence_model(tmp_path / "model", layout, checkpoint_path)
    run = run_of(path, tmp_path / "run")
    bundle = export_bundle(run, tmp_path / "made.gearshift", ROWS, precisions=["fp32"]).bundle
    wanted = encode(path, layout)
    assert np.abs(vectors_of(bundle.path) - wanted).max() < 1e-5
    similarity = layout.settings.get("similarity_fn_name", "cosine")
    assert bundle.manifest.vectors == Vectors(
        layout.width,
        layout.modules[-1] == NORMALIZE and "truncate_dim" not in layout.settings,
        similarity,
        layout.prompt,
        prompts=dict(layout.settings.get("prompts", {})),
        pools_prompt=layout.modules[0].config["include_prompt"],
    )


@pytest.mark.parametrize("name", SEVERAL[1:])
def test_every_way_out_of_a_run_gives_the_same_vectors(name: str, checkpoint_path: Path, tmp_path: Path) -> None:
    path = write_sentence_model(tmp_path / "model", LAYOUTS[name], checkpoint_path)
    run = run_of(path, tmp_path / "run")
    bundle = export_bundle(run, tmp_path / "made.gearshift", ROWS).bundle
    wanted = encode(path, LAYOUTS[name])
    trimmed = trim_bundle(bundle, tmp_path / "less.gearshift", keep=[FULL])
    assert trimmed.manifest.vectors == bundle.manifest.vectors
    assert np.abs(vectors_of(trimmed.path) - wanted).max() < 1e-5
    with dedicated_graphs(bundle)("fp32", "w050-d100", 1):  # which checks its answers
        pass
    assert max(export_portable(run, tmp_path / "portable", ROWS).values()) < 1e-5
    small = extract_subnet(run, FULL, run.subnets[FULL], tmp_path / "small")
    assert small.parity is not None and small.parity < 1e-5
    for written in (tmp_path / "small", tmp_path / "portable" / FULL):
        again = load_checkpoint(written, task="embedding") if written.name == "small" else run.checkpoint
        assert again.sentence == run.checkpoint.sentence
        assert (written / "modules.json").read_text() == (run.path / "modules.json").read_text()
    # fp32 is the model; int8 rounds it, by a few hundredths of its spread
    off = vectors_of(bundle.path, precision="int8") - wanted
    assert np.abs(off).mean() < 0.1 * wanted.std()


@pytest.mark.parametrize(
    ("name", "operators", "precision"),
    [(SEVERAL[0], "standard", "fp32"), (SEVERAL[1], "standard", "fp16"), (SEVERAL[2], "fast", "fp16")],
)
def test_every_table_of_operators_has_the_modules(
    name: str, operators: str, precision: str, checkpoint_path: Path, tmp_path: Path
) -> None:
    path = write_sentence_model(tmp_path / "model", LAYOUTS[name], checkpoint_path)
    run = run_of(path, tmp_path / "run")
    out = tmp_path / "made.gearshift"
    bundle = export_bundle(run, out, ROWS, operators=operators, precisions=[precision]).bundle  # compared with torch
    assert bundle.manifest.vectors is not None and bundle.manifest.vectors.width == LAYOUTS[name].width


def test_a_large_dense_layer_is_packed(checkpoint_path: Path, tmp_path: Path) -> None:
    layout = Layout((MEAN, dense(HIDDEN, 4096), dense(4096, 16)))
    run = run_of(write_sentence_model(tmp_path / "model", layout, checkpoint_path), tmp_path / "run")
    with_it = export_bundle(run, tmp_path / "made.gearshift", ROWS, precisions=["fp32"]).packed_weights["fp32"]
    plain = run_of(write_sentence_model(tmp_path / "plain", Layout((MEAN,)), checkpoint_path), tmp_path / "other")
    assert (
        with_it - export_bundle(plain, tmp_path / "b.gearshift", ROWS, precisions=["fp32"]).packed_weights["fp32"] == 2
    )


def test_every_activation_of_a_dense_layer_has_operators() -> None:
    assert set(ACTIVATED) == set(ACTIVATIONS)


def test_a_prompt_stands_before_the_first_text_of_a_pair(checkpoint_path: Path, tmp_path: Path) -> None:
    vectors = {}
    for name in ("mean", "default prompt"):
        run = run_of(write_sentence_model(tmp_path / name, LAYOUTS[name], checkpoint_path), tmp_path / f"{name} run")
        bundle = export_bundle(run, tmp_path / f"{name}.gearshift", ROWS, precisions=["fp32"]).bundle
        with Engine.load(bundle.path, threads=1) as engine:
            engine.pin(FULL)
            first = "ice" if name == "default prompt" else f"{PROMPT}ice"
            vectors[name] = engine.run((first, "snow")).vector
    assert np.abs(vectors["mean"] - vectors["default prompt"]).max() < 1e-6


def test_a_smaller_vocabulary_keeps_the_prompt(checkpoint_path: Path, tmp_path: Path) -> None:
    name = "default prompt that the pooling leaves out"
    path = write_sentence_model(tmp_path / "model", LAYOUTS[name], checkpoint_path)
    tokenizer = json.loads((path / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    letters = [letter for stem in "desrtfi" for letter in (stem, f"##{stem}")]  # which spell two words that may go
    unused = [word for word in vocabulary if word.startswith("[unused")]
    for word, letter in zip(unused, letters, strict=False):
        vocabulary[letter] = vocabulary.pop(word)
    (path / "tokenizer.json").write_text(json.dumps(tokenizer))
    run = run_of(path, tmp_path / "run")
    out = tmp_path / "made.gearshift"
    report = export_bundle(run, out, ROWS, precisions=["fp32"], vocabulary=TEXTS)
    assert report.vocabulary is not None and report.vocabulary.kept < report.vocabulary.of
    assert np.abs(vectors_of(out) - encode(path, LAYOUTS[name])).max() < 1e-5


def test_training_bundle_and_card_know_a_models_modules_and_prompt(
    checkpoint_path: Path, tmp_path: Path, command: Command
) -> None:
    settings = LAYOUTS["default prompt"].settings
    layout = Layout((MEAN, dense(HIDDEN, 8)), settings=settings, max_seq_length=12)
    path = write_sentence_model(tmp_path / "model", layout, checkpoint_path)
    run = train_supernet(path, DATA, dataclasses.replace(SETTINGS, max_length=16), tmp_path / "run")
    assert run.facts["max_length"] == 12  # longer texts are cut by `encode` too
    assert run.accuracies[FULL] > 0.9
    bundle = export_bundle(run, tmp_path / "made.gearshift", ROWS, precisions=["fp32"]).bundle
    assert np.abs(vectors_of(bundle.path) - encode(path, layout)).max() < 1  # near what it was distilled from
    assert vectors_of(bundle.path, "w050-d100").shape == (len(TEXTS), 8)
    assert command("verify", bundle.path).code == 0
    for said in (command("inspect", bundle.path).out, (bundle.path / "README.md").read_text()):
        assert "vectors of 8 numbers" in said
        assert "compared by dot" in said
        assert repr(PROMPT) in said
    described = json.loads(command("inspect", bundle.path, "--json").out)
    wanted = {"width": 8, "normalized": False, "similarity": "dot", "prompt": PROMPT}
    assert described["vectors"] == {**wanted, "prompts": {"query": PROMPT, "passage": "ice "}}


def test_a_length_without_room_behind_the_prompt_is_refused(checkpoint_path: Path, tmp_path: Path) -> None:
    path = write_sentence_model(tmp_path / "model", LAYOUTS["default prompt"], checkpoint_path)
    with pytest.raises(InputError, match="max_length 5 leaves no room for text behind the model's prompt of 4 tokens"):
        train_supernet(path, DATA, dataclasses.replace(SETTINGS, max_length=5), tmp_path / "run")


def test_a_model_of_other_modules_is_refused_before_anything_is_written(checkpoint_path: Path, tmp_path: Path) -> None:
    path = write_sentence_model(tmp_path / "model", LAYOUTS["dense"], checkpoint_path)
    changed = (path / "modules.json").read_text().replace("models.Dense", "models.CNN")
    (path / "modules.json").write_text(changed)
    with pytest.raises(ModelError, match=r"module CNN is not supported"):
        train_supernet(path, DATA, SETTINGS, tmp_path / "run")
    assert [each.name for each in tmp_path.iterdir()] == ["model"]


def test_a_bundle_without_a_word_on_its_vectors_is_read(checkpoint_path: Path, tmp_path: Path) -> None:
    path = write_sentence_model(tmp_path / "model", LAYOUTS["mean, normalized"], checkpoint_path)
    run = run_of(path, tmp_path / "run")
    bundle = export_bundle(run, tmp_path / "made.gearshift", ROWS, precisions=["fp32"]).bundle
    content = bundle.manifest.to_dict()
    del content["vectors"]
    older = Manifest.from_content(with_digest(content), bundle.path)
    assert older.vectors is None
    assert older.prompt == ""
    assert open_bundle(bundle.path).manifest.vectors == Vectors(HIDDEN, True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 0},
        {"normalized": 1},
        {"similarity": "maxsim"},
        {"prompt": None},
        {"prompts": {"query": 1}},
        {"prompts": ["query"]},
        {"pools_prompt": None},
        {"dimensions": (4, 2)},
        {"dimensions": (8,)},
        {"dimensions": (0, 2)},
    ],
    ids=str,
)
def test_a_manifest_of_impossible_vectors_is_refused(wrong: dict[str, object]) -> None:
    given: dict[str, object] = {"width": 8, "normalized": True, **wrong}
    with pytest.raises(InputError, match="not usable"):
        Vectors(**given)  # type: ignore[arg-type]
