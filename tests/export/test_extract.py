"""A subnet as a Hugging Face model of its own: the right size, the right answers, and what loads it."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from gearshift.__main__ import main
from gearshift.errors import ExportError, StorageError, UnknownSubnetError
from gearshift.export import extract
from gearshift.export.extract import extract_subnet, named_subnet
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.trainer.model.checkpoint import load_checkpoint
from gearshift.trainer.model.run import Run, load_supernet, save_run
from tests.command_line import PATIENCE_S
from tests.trainer.encoders import ENCODERS, HEADS, HeadCase, add_tokenizer, answer_of, batch_for, write_model

ALL_HEADS = ("MPNet", "ModernBERT", "DeBERTa", "ALBERT")
"""Encoders of whose layers a config cannot say which heads they lack."""
LABELS = {"classification": 3, "multi-label-classification": 3, "token-classification": 5}


def make_run(encoder: str, head: HeadCase, tokenizer: Path, folder: Path) -> Run:
    """A run of a random model, with all its uniform subnets."""
    write_model(folder / "model", encoder, head)
    add_tokenizer(folder / "model", tokenizer)
    labels = tuple(f"LABEL_{number}" for number in range(LABELS.get(head.task, 0)))
    checkpoint = load_checkpoint(folder / "model", labels, task=head.task)
    grid = uniform_grid(checkpoint.model.shape)
    save_run(folder / "run", checkpoint, subnets=grid, accuracies={}, facts={"max_length": 16})
    return load_supernet(folder / "run")


def load(path: Path, run: Run) -> Any:
    name = transformers.AutoConfig.from_pretrained(path).architectures[0]
    return getattr(transformers, name).from_pretrained(path).eval()


@pytest.mark.parametrize(
    ("encoder", "head"),
    [*((encoder, "classification") for encoder in ENCODERS), *(("BERT", head) for head in HEADS)],
)
def test_transformers_loads_every_subnet_and_answers_as_the_supernet(
    encoder: str, head: str, run: Run, tmp_path: Path
) -> None:
    run = make_run(encoder, HEADS[head], run.path, tmp_path)
    model = run.checkpoint.model.eval()
    sizes = []
    names = ["w100-d100", "w050-d100", "w100-d050", "w025-d050"]
    if encoder in ALL_HEADS:
        for name in ("w050-d100", "w025-d050"):
            with pytest.raises(ExportError, match=rf"layers lack heads, .* write it with --portable {name}"):
                extract_subnet(run, name, run.subnets[name], tmp_path / name)
        names = ["w100-d100", "w100-d050"]
    for name in names:
        made = extract_subnet(run, name, run.subnets[name], tmp_path / name)
        loaded = load(tmp_path / name, run)
        batch = batch_for(loaded, model.shape, [5, 9, 1])
        found = answer_of(loaded, batch, HEADS[head])
        with torch.no_grad():
            expected = model(batch, run.subnets[name]).logits
        real = batch.attention_mask.bool() if found.ndim == 3 else slice(None)
        assert torch.allclose(found[real], expected[real], atol=1e-5)
        assert made.parity is not None and made.parity < 1e-5
        assert made.prunes_heads == (not name.startswith("w100"))
        sizes.append(sum(weight.numel() for weight in loaded.parameters()))
    fewer = [run.subnets[name].parameters(model.shape) for name in names]
    assert [sizes[0] - size for size in sizes] == [fewer[0] - size for size in fewer]


@pytest.mark.parametrize("places", [(0, 3), (1, 2)])
def test_windows_that_no_config_can_state_are_refused(run: Run, tmp_path: Path, places: tuple[int, ...]) -> None:
    made = make_run("ModernBERT", HEADS["classification"], run.path, tmp_path)
    shape = made.checkpoint.model.shape
    kept = Subnet(tuple((shape.heads, shape.neurons) if place in places else (0, 0) for place in range(shape.layers)))
    with pytest.raises(ExportError, match=r"which of its layers have windows, or no norm; write it with --por"):
        extract_subnet(made, "mine", kept, tmp_path / "mine")


def test_the_size_is_what_the_run_counts(run: Run, tmp_path: Path) -> None:
    for name, subnet in run.subnets.items():
        made = extract_subnet(run, name, subnet, tmp_path / name)
        head = sum(
            weight.numel()
            for key, weight in run.checkpoint.model.state_dict().items()
            if key.startswith(("pooler.", "classifier."))
        )
        assert made.parameters == subnet.parameters(run.checkpoint.model.shape) + head


def test_a_subnet_of_full_width_prunes_no_heads(run: Run, tmp_path: Path) -> None:
    extract_subnet(run, "w100-d050", run.subnets["w100-d050"], tmp_path / "half")
    config = json.loads((tmp_path / "half" / "config.json").read_text())
    assert config.get("pruned_heads", {}) == {}
    assert "transformers below 5" not in (tmp_path / "half" / "README.md").read_text()


def test_heads_may_differ_from_layer_to_layer_but_neurons_may_not(run: Run, tmp_path: Path) -> None:
    neurons = run.checkpoint.model.shape.neurons
    heads = Subnet(((4, neurons), (1, neurons), (0, 0), (2, neurons)))
    assert extract_subnet(run, "mixed", heads, tmp_path / "heads").parity is not None
    uneven = Subnet(((4, 64), (4, 32), (0, 0), (0, 0)))
    with pytest.raises(
        ExportError, match=r"^mixed: its layers keep 32, 64 neurons, .* write it with --portable mixed$"
    ):
        extract_subnet(run, "mixed", uneven, tmp_path / "neurons")
    assert not (tmp_path / "neurons").exists()


def test_a_model_that_answers_otherwise_is_not_written(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_cut = extract._cut

    def cut(weight: torch.Tensor, part: str, inner: int, neurons: int) -> torch.Tensor:
        return really_cut(weight.flip(0), part, inner, neurons)

    monkeypatch.setattr(extract, "_cut", cut)
    with pytest.raises(ExportError, match=r"w050-d100: expected a model within 0.0001 of the supernet, off by"):
        extract_subnet(run, "w050-d100", run.subnets["w050-d100"], tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()


def test_names_are_those_of_the_pool_and_of_the_trained_grid(run: Run) -> None:
    grid = uniform_grid(run.checkpoint.model.shape)
    few = {name: run.facts["subnets"][name] for name in ("w100-d100", "w075-d075")}
    searched = dataclasses.replace(
        run, subnets={"m042-abcdef": grid["w050-d050"]}, facts={**run.facts, "subnets": few, "settings": {}}
    )
    assert named_subnet(searched, "w075-d075") == grid["w075-d075"]
    assert named_subnet(searched, "m042-abcdef") == grid["w050-d050"]
    with pytest.raises(
        UnknownSubnetError, match=r"unknown subnet 'w050-d050'; expected one of w100-d100, w075-d075, m042-abcdef$"
    ):
        named_subnet(searched, "w050-d050")  # never trained


@pytest.mark.parametrize("there", ["thesis.txt", "config.json", "supernet.json"])
def test_a_directory_of_somebody_else_stays(run: Run, tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("words")
    with pytest.raises(StorageError, match=r"has no gearshift-subnet\.json"):
        extract_subnet(run, "w100-d050", run.subnets["w100-d050"], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [there]


def test_the_run_itself_is_not_written_over(run: Run) -> None:
    files = sorted(path.name for path in run.path.iterdir())
    with pytest.raises(StorageError):
        extract_subnet(run, "w100-d050", run.subnets["w100-d050"], run.path)
    assert sorted(path.name for path in run.path.iterdir()) == files


def test_what_was_extracted_here_before_is_replaced(run: Run, tmp_path: Path) -> None:
    for name in ("w100-d050", "w100-d100"):
        extract_subnet(run, name, run.subnets[name], tmp_path / "out")
        described = json.loads((tmp_path / "out" / "gearshift-subnet.json").read_text())
        assert described["name"] == name and len(described["layers"]) == run.checkpoint.model.shape.layers


def test_the_command_says_what_was_written(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["export", str(run.path), "-o", str(tmp_path / "half"), "--checkpoint"]
    assert main([*call, "w050-d050"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "half: w050-d050 as a Hugging Face model of 0.0" in first and "of the supernet" in first
    assert "which transformers below 5 can load" in second
    assert main([*call, "w100-d050", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["subnet"], said["prunes_heads"]) == ("w100-d050", False)
    assert main([*call, "w9"]) == 1
    assert "unknown subnet 'w9'" in capsys.readouterr().err


LOAD_IN_5 = """
import json, sys, torch, transformers
assert transformers.__version__.startswith("5."), transformers.__version__
found = {}
for path in sys.argv[1:]:
    try:
        model = transformers.AutoModelForSequenceClassification.from_pretrained(path).eval()
        with torch.no_grad():
            found[path] = model(input_ids=torch.tensor([[5, 6, 7, 8]])).logits.tolist()
    except Exception as error:
        found[path] = type(error).__name__
print(json.dumps(found))
"""


@pytest.mark.index
def test_transformers_5_loads_subnets_of_full_width_and_no_others(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "five"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target), "transformers==5.23.0"]
    done = subprocess.run(install, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    paths = {name: tmp_path / name for name in ("w100-d050", "w050-d100")}
    for name, path in paths.items():
        extract_subnet(run, name, run.subnets[name], path)
    environment = {**os.environ, "PYTHONPATH": str(target), "HF_HUB_OFFLINE": "1"}
    call = [sys.executable, "-c", LOAD_IN_5, *map(str, paths.values())]
    done = subprocess.run(call, capture_output=True, text=True, env=environment, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        expected = load(paths["w100-d050"], run)(input_ids=ids).logits
    assert torch.allclose(torch.tensor(found[str(paths["w100-d050"])]), expected, atol=1e-5)
    assert found[str(paths["w050-d100"])] == "RuntimeError"  # the card in the directory says why
    assert "transformers below 5 can load" in (paths["w050-d100"] / "README.md").read_text()
