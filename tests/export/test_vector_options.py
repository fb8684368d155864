"""Vectors as a request asks for them: prompts by name and text, dimensions, and a net that was trained to be cut."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gearshift.errors import InputError
from gearshift.export import export_bundle
from gearshift.runtime import Engine, open_bundle
from gearshift.runtime.bundle.manifest import Vectors
from gearshift.trainer.data.splits import DataSet
from gearshift.trainer.dynabert.train import train_supernet
from tests.command_line import Command
from tests.export.test_sentence_vectors import ROWS, run_of
from tests.trainer.sentence_models import (
    HIDDEN,
    LAYOUTS,
    MEAN,
    NORMALIZE,
    PROMPT,
    TEXTS,
    Array,
    Layout,
    encode,
    write_sentence_model,
)
from tests.trainer.tiny import SETTINGS, make_data, write_checkpoint

FULL = "w100-d100"


@pytest.fixture(scope="module")
def checkpoint_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")


def bundle_of(layout: Layout, checkpoint_path: Path, folder: Path) -> tuple[Path, Path]:
    """The model and its bundle."""
    path = write_sentence_model(folder / "model", layout, checkpoint_path)
    run = run_of(path, folder / "run")
    return path, export_bundle(run, folder / "made.gearshift", ROWS, precisions=["fp32"]).bundle.path


PROMPTED = dataclasses.replace(LAYOUTS["default prompt, release 6"], modules=(MEAN, NORMALIZE))


@pytest.fixture(scope="module")
def prompted(checkpoint_path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return bundle_of(PROMPTED, checkpoint_path, tmp_path_factory.mktemp("prompted"))


def asked(bundle: Path, texts: Any, **options: Any) -> Array:
    with Engine.load(bundle, precision="fp32", threads=1) as engine:
        engine.pin(FULL)
        return np.stack([answer.vector for answer in engine.run(list(texts), **options)])


def test_a_prompt_of_the_model_or_of_the_caller_takes_the_place_of_the_default_one(
    prompted: tuple[Path, Path],
) -> None:
    model, bundle = prompted
    plain = dataclasses.replace(PROMPTED, settings={})
    assert open_bundle(bundle).manifest.vectors == Vectors(
        HIDDEN, True, prompt=PROMPT, prompts={"query": PROMPT, "passage": "ice "}
    )
    for options, before in (
        ({}, PROMPT),
        ({"prompt_name": "query"}, PROMPT),
        ({"prompt_name": "passage"}, "ice "),
        ({"prompt": "we saw "}, "we saw "),
        ({"prompt": "we saw ", "prompt_name": "query"}, "we saw "),
        ({"prompt": ""}, ""),
    ):
        wanted = encode(model, plain, [before + text for text in TEXTS])
        assert np.abs(asked(bundle, TEXTS, **options) - wanted).max() < 1e-5, options


@pytest.mark.parametrize("overlap", [None, 3])
def test_every_window_has_the_prompt_that_was_asked_for(prompted: tuple[Path, Path], overlap: int | None) -> None:
    _, bundle = prompted
    words = " ".join(["the snow was there"] * 20)
    found = asked(bundle, [words], prompt_name="passage", overlap=overlap)
    other = asked(bundle, [f"ice {words}"], prompt="", overlap=overlap)
    assert (np.abs(found - other).max() < 1e-6) == (overlap is None), "cut at the same place, or in other windows"
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)


def test_cut_vectors_have_length_one_again_where_the_model_s_have(
    prompted: tuple[Path, Path], checkpoint_path: Path, tmp_path: Path
) -> None:
    whole, found = asked(prompted[1], TEXTS), asked(prompted[1], TEXTS, dimensions=12)
    assert found.shape == (len(TEXTS), 12)
    assert np.abs(found - whole[:, :12] / np.linalg.norm(whole[:, :12], axis=1, keepdims=True)).max() < 1e-6
    assert np.abs(asked(prompted[1], TEXTS, dimensions=HIDDEN) - whole).max() < 1e-6
    _, bundle = bundle_of(LAYOUTS["mean"], checkpoint_path, tmp_path)
    assert np.array_equal(asked(bundle, TEXTS, dimensions=5), asked(bundle, TEXTS)[:, :5])


def test_a_ranking_gives_queries_and_texts_prompts_of_their_own(prompted: tuple[Path, Path]) -> None:
    model, bundle = prompted
    plain = dataclasses.replace(PROMPTED, settings={})
    query, *texts = encode(model, plain, [f"{PROMPT}snow", *(f"ice {text}" for text in TEXTS)])
    with Engine.load(bundle, precision="fp32", threads=1) as engine:
        engine.pin(FULL)
        ranking = engine.rank("snow", list(TEXTS))
    for one in ranking.results:
        assert one.score == pytest.approx(float(query @ texts[one.place]), abs=1e-4)


def test_a_model_whose_pooling_leaves_the_prompt_out_has_the_default_one_alone(
    checkpoint_path: Path, tmp_path: Path
) -> None:
    layout = LAYOUTS["default prompt that the pooling leaves out"]
    model, bundle = bundle_of(layout, checkpoint_path, tmp_path)
    vectors = open_bundle(bundle).manifest.vectors
    assert vectors is not None and not vectors.pools_prompt
    wanted = encode(model, layout)
    with Engine.load(bundle, precision="fp32", threads=1) as engine:
        engine.pin(FULL)
        for options in ({"prompt_name": "query"}, {"prompt": PROMPT}):
            found = np.stack([answer.vector for answer in engine.run(list(TEXTS), **options)])  # type: ignore[call-overload]
            assert np.abs(found - wanted).max() < 1e-5
        for options in ({"prompt_name": "passage"}, {"prompt": ""}):
            with pytest.raises(
                InputError, match="the pooling of this model leaves its prompt out, and its graph knows"
            ):
                engine.run(TEXTS[0], **options)  # type: ignore[call-overload]
        assert engine.rank("snow", list(TEXTS)).results


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"prompt_name": "title"}, r"prompt_name: expected one of the model's prompts \(passage, query\), got 'title'"),
        ({"prompt_name": 3}, "prompt_name: expected one of"),
        ({"prompt": 3}, "prompt: expected a text"),
        ({"dimensions": 0}, f"dimensions: expected a whole number from 1 to {HIDDEN}, got 0"),
        ({"dimensions": HIDDEN + 1}, "dimensions: expected a whole number"),
        ({"dimensions": True}, "dimensions: expected a whole number"),
    ],
    ids=str,
)
def test_options_that_a_model_cannot_follow_are_refused(
    prompted: tuple[Path, Path], options: dict[str, Any], told: str
) -> None:
    with Engine.load(prompted[1], precision="fp32", threads=1) as engine, pytest.raises(InputError, match=told):
        engine.run("snow", **options)


@pytest.mark.parametrize("options", [{"prompt_name": "query"}, {"prompt": ""}, {"dimensions": 4}], ids=str)
def test_they_are_for_embeddings_alone(tiny_bundle: Path, options: dict[str, Any]) -> None:
    with (
        Engine.load(tiny_bundle, precision="fp32", threads=1) as engine,
        pytest.raises(InputError, match=r"expected a bundle .*, got classification"),
    ):
        engine.run("snow", **options)


def test_the_command_takes_them_too(prompted: tuple[Path, Path], command: Command) -> None:
    call = ("run", prompted[1], "snow", "--threads", 1, "--precision", "fp32", "--subnet", FULL)
    found = command(*call, "--dimensions", 6, "--prompt-name", "passage", "--json").json["answers"][0]["vector"]
    assert found == pytest.approx(asked(prompted[1], ["snow"], prompt="ice ", dimensions=6)[0].tolist(), abs=1e-5)
    assert " of 7" in command(*call, "--dimensions", 7, "--prompt", "").out
    assert "prompts: passage, query" in command("inspect", prompted[1]).out


# Matryoshka


def test_a_net_learns_to_be_cut_before_its_subnets_learn_from_it(checkpoint_path: Path, tmp_path: Path) -> None:
    path = write_sentence_model(tmp_path / "model", Layout((MEAN, NORMALIZE)), checkpoint_path)
    labelled = make_data(96, 24)
    splits = {
        name: tuple(dataclasses.replace(row, label=None) for row in rows) for name, rows in labelled.splits.items()
    }
    data = DataSet((), splits, task="embedding")
    settings = dataclasses.replace(SETTINGS, matryoshka_dims=(2,), teacher_epochs=20, teacher_lr=3e-4)
    run = train_supernet(path, data, dataclasses.replace(settings, width_epochs=0, depth_epochs=0), tmp_path / "run")
    bundle = export_bundle(run, tmp_path / "made.gearshift", data.splits["test"], precisions=["fp32"]).bundle
    vectors = bundle.manifest.vectors
    assert vectors is not None and vectors.dimensions == (2,)
    texts = [row.text for row in data.splits["test"]]
    brought, found = encode(path, Layout((MEAN, NORMALIZE)), texts), asked_of(bundle.path, FULL, texts)
    assert float((brought * found).sum(1).mean()) < 0.999, "the full net has learnt"
    assert run.accuracies[FULL] > 0.9999, "cosine with the net that the subnets learn from: the full one itself"
    assert "trained to be cut to 2" in (bundle.path / "README.md").read_text()
    assert json.loads((bundle.path / "manifest.json").read_text())["vectors"]["dimensions"] == [2]


def asked_of(bundle: Path, subnet: str, texts: list[str]) -> Array:
    with Engine.load(bundle, precision="fp32", threads=1) as engine:
        engine.pin(subnet)
        return np.stack([answer.vector for answer in engine.run(texts)])


@pytest.mark.parametrize(
    ("dims", "told"),
    [
        ((4, 4), "expected rising numbers"),
        ((0,), "expected rising numbers"),
        ((32,), "expected fewer than the model's 32"),
    ],
)
def test_dimensions_that_make_no_sense_are_refused(
    dims: tuple[int, ...], told: str, checkpoint_path: Path, tmp_path: Path
) -> None:
    path = write_sentence_model(tmp_path / "model", LAYOUTS["mean"], checkpoint_path)
    data = DataSet((), {"train": tuple(ROWS), "dev": tuple(ROWS), "test": tuple(ROWS)}, task="embedding")
    with pytest.raises(InputError, match=told):
        train_supernet(path, data, dataclasses.replace(SETTINGS, matryoshka_dims=dims), tmp_path / "run")


def test_dimensions_are_for_embeddings(checkpoint_path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="matryoshka_dims: expected the task embedding, got classification"):
        train_supernet(
            checkpoint_path, make_data(), dataclasses.replace(SETTINGS, matryoshka_dims=(4,)), tmp_path / "run"
        )
