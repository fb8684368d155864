"""The examples of training, each run as its docstring says, on a tiny model."""

import json
import re
from pathlib import Path

import pytest
import transformers

from examples import embed_plain_text, extract_subnet, own_loop, train_from_python, transformers_trainer
from gearshift.__main__ import main
from gearshift.export.pipeline import export_bundle
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.trainer.model.run import load_supernet
from tests.trainer.tiny import KEYWORDS, LABELS, SHAPE, make_rows, write_checkpoint

NAMES = set(uniform_grid(SHAPE))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fine-tuned classifier in `model`, and rows in every form that the examples read."""
    place = tmp_path_factory.mktemp("examples")
    write_checkpoint(place / "model")
    rows = make_rows(60)
    numbered = [{"sentence": row.text, "label": LABELS.index(str(row.label))} for row in rows]
    (place / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in numbered))
    (place / "rows.tsv").write_text("sentence\tlabel\n" + "".join(f"{row.text}\t{row.label}\n" for row in rows))
    (place / "texts.txt").write_text("".join(f"{row.text}\n" for row in rows))
    (place / "few.toml").write_text("teacher_epochs = 1\nmax_length = 16\nimportance_rows = 16\n")
    return place


def test_an_own_loop(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own_loop.MAX_LENGTH = 16
    own_loop.main(str(folder / "model"), str(folder / "rows.jsonl"), str(tmp_path / "run"))
    assert capsys.readouterr().out.startswith("width: 1 epochs\ndepth: 2 epochs\n")
    assert set(load_supernet(tmp_path / "run").subnets) == NAMES
    call = ["export", str(tmp_path / "run"), "--data", str(folder / "test.tsv"), "-o", str(tmp_path / "made")]
    labels = list(transformers.AutoConfig.from_pretrained(tmp_path / "run").id2label.values())
    named = "".join(f"{word}\t{labels[number]}\n" for number in range(3) for word in KEYWORDS[LABELS[number]])
    (folder / "test.tsv").write_text(f"sentence\tlabel\n{named}")
    assert main([*call, "--precision", "fp32"]) == 0


def test_the_trainer_of_transformers(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    transformers_trainer.MAX_LENGTH = 16
    transformers_trainer.main(str(folder / "model"), str(folder / "rows.jsonl"), str(tmp_path / "run"))
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("w")]
    assert {line.split()[0] for line in shown} == NAMES
    assert load_supernet(tmp_path / "run").accuracies.keys() == load_supernet(tmp_path / "run").subnets.keys()


def test_training_from_python(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_from_python.main(
        str(folder / "model"), str(folder / "rows.tsv"), str(tmp_path / "run"), str(folder / "few.toml")
    )
    assert len(capsys.readouterr().out.splitlines()) == 12
    report = export_bundle(tmp_path / "run", tmp_path / "made.gearshift", precisions=["fp32"])
    assert report.bundle.manifest.accuracy_rows == load_supernet(tmp_path / "run").facts["rows"]["test"] > 0
    entries = report.bundle.pool("fp32")
    assert {name: entry.accuracy for name, entry in entries.items()} == load_supernet(tmp_path / "run").accuracies


def test_embeddings_from_plain_text_and_a_size_of_their_own(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    embed_plain_text.main(str(folder / "model"), str(folder / "texts.txt"), str(tmp_path / "run"))
    first = capsys.readouterr().out.splitlines()[0]
    assert re.match(r"w100-d100  cosine with the original model [01]\.\d{3}  the two texts ", first)


def test_a_size_of_its_own(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_from_python.main(
        str(folder / "model"), str(folder / "rows.tsv"), str(tmp_path / "run"), str(folder / "few.toml")
    )
    capsys.readouterr()
    extract_subnet.main(str(tmp_path / "run"), "w050-d050", str(tmp_path / "small"))
    assert "M parameters, off by" in capsys.readouterr().out
