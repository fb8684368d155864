"""Checkpoints in and out, as transformers itself reads and writes them."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from gearshift.errors import ModelError, StorageError
from gearshift.runtime.space.uniform import uniform_grid
from gearshift.trainer.model.checkpoint import Checkpoint, load_checkpoint
from gearshift.trainer.model.run import POOL, SUPERNET, Run, load_supernet, save_run
from tests.trainer.full_disk import fill_disk, needs_full_device
from tests.trainer.tiny import LABELS, SHAPE, random_batch, scatter

GRID = uniform_grid(SHAPE)
ACCURACIES = {name: number / 20 for number, name in enumerate(GRID)}
FACTS = {"max_length": 16, "data": None}


@pytest.fixture(scope="module")
def with_all_files(checkpoint_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint with every file of a tokenizer: transformers 5 writes no special_tokens_map.json."""
    path = shutil.copytree(checkpoint_path, tmp_path_factory.mktemp("all") / "files")
    (path / "special_tokens_map.json").write_text('{"pad_token": "[PAD]", "unk_token": "[UNK]"}')
    return path


@pytest.fixture
def checkpoint(with_all_files: Path) -> Checkpoint:
    loaded = load_checkpoint(with_all_files, LABELS)
    torch.manual_seed(0)
    scatter(loaded.model)
    loaded.model.eval()
    return loaded


@pytest.fixture
def run(checkpoint: Checkpoint, tmp_path: Path) -> Run:
    save_run(tmp_path / "run", checkpoint, subnets=GRID, accuracies=ACCURACIES, facts=FACTS)
    return load_supernet(tmp_path / "run")


def logits_of(checkpoint: Checkpoint) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = checkpoint.model.eval()(
            random_batch([5, 12], checkpoint.model.shape), checkpoint.model.full
        ).logits
    return logits


def edit_json(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    raw = json.loads(path.read_text())
    edit(raw)
    path.write_text(json.dumps(raw))


@pytest.fixture
def copied(checkpoint_path: Path, tmp_path: Path) -> Path:
    """A copy of the tiny checkpoint that a test may alter."""
    return shutil.copytree(checkpoint_path, tmp_path / "copied")


# Runs


def test_transformers_loads_a_run_as_it_is_and_answers_as_the_full_subnet(run: Run) -> None:
    loaded, report = transformers.AutoModelForSequenceClassification.from_pretrained(
        run.path, local_files_only=True, output_loading_info=True
    )
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"))
    batch = random_batch([5, 12], run.checkpoint.model.shape)
    with torch.no_grad():
        logits = loaded.eval()(batch.input_ids, batch.attention_mask, batch.token_type_ids).logits
    assert (logits - logits_of(run.checkpoint)).abs().max() < 1e-5
    assert loaded.config.id2label == dict(enumerate(LABELS))
    assert loaded.config.label2id == {label: number for number, label in enumerate(LABELS)}
    assert loaded.config.architectures == ["BertForSequenceClassification"]


def test_transformers_tokenizer_of_a_run_gives_the_same_ids(run: Run) -> None:
    text = "we saw much snow there, and ice"
    theirs = transformers.AutoTokenizer.from_pretrained(run.path, local_files_only=True)
    assert theirs(text)["input_ids"] == run.checkpoint.tokenizer.encode(text).ids


def test_a_run_comes_back_as_it_was_written(run: Run, checkpoint: Checkpoint) -> None:
    assert run.subnets == GRID
    assert list(run.subnets) == list(GRID)
    assert run.accuracies == ACCURACIES
    assert run.facts.items() >= FACTS.items()
    assert run.checkpoint.labels == LABELS
    assert run.checkpoint.has_classifier
    assert run.checkpoint.tokenizer.to_str() == checkpoint.tokenizer.to_str()
    theirs = run.checkpoint.model.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in checkpoint.model.state_dict().items())


def test_the_pool_file_names_every_subnet_with_its_size(run: Run) -> None:
    shape = run.checkpoint.model.shape
    assert json.loads((run.path / POOL).read_text()) == [
        {"name": name, "accuracy": ACCURACIES[name], "parameters": subnet.parameters(shape)}
        for name, subnet in GRID.items()
    ]


def test_data_that_went_away_is_not_named(run: Run, tmp_path: Path) -> None:
    assert run.data_path is None
    edit_json(run.path / SUPERNET, lambda raw: raw.update(data=str(tmp_path)))
    assert load_supernet(run.path).data_path == tmp_path
    edit_json(run.path / SUPERNET, lambda raw: raw.update(data=str(tmp_path / "gone")))
    assert load_supernet(run.path).data_path is None


def test_a_run_can_be_written_over_itself(run: Run) -> None:
    before = logits_of(run.checkpoint)
    save_run(run.path, run.checkpoint, subnets=GRID, accuracies=ACCURACIES, facts=FACTS)
    assert torch.equal(logits_of(load_supernet(run.path).checkpoint), before)


def test_a_directory_of_somebody_else_is_not_replaced(checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("words")
    with pytest.raises(StorageError, match=r"thesis: could not be written .*has no supernet\.json"):
        save_run(tmp_path / "thesis", checkpoint, subnets=GRID, accuracies=ACCURACIES, facts=FACTS)
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.txt"]


RUN_FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    SUPERNET,
    POOL,
)


def test_a_run_has_these_files(run: Run) -> None:
    assert sorted(path.name for path in run.path.iterdir()) == sorted(RUN_FILES)


@needs_full_device
@pytest.mark.parametrize("name", RUN_FILES)
def test_a_full_disk_leaves_the_old_run(
    run: Run, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = {path.name: path.read_bytes() for path in run.path.iterdir()}
    fill_disk(monkeypatch, name)
    with pytest.raises(StorageError, match=r"run: could not be written \(No space left on device\)"):
        save_run(run.path, checkpoint, subnets={}, accuracies={}, facts={})
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in run.path.iterdir()} == before
    assert [path.name for path in run.path.parent.iterdir()] == ["run"]


def described(**changed: object) -> str:
    """A supernet.json whose fields are as they should be, but for some."""
    right: dict[str, object] = {"schema_version": 1, "labels": list(LABELS), "subnets": {"w": [[4, 64]] * 4}}
    return json.dumps({**right, **changed})


def supernet(labels: Sequence[str], **subnets: list[list[int]]) -> str:
    return json.dumps({"schema_version": 1, "labels": labels, "subnets": subnets})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (SUPERNET, None, r"expected a run directory with supernet\.json, found none; make one with `gearshift train`"),
        (SUPERNET, "{", r"supernet\.json: expected JSON \(.+\); train again"),
        (SUPERNET, "[]", r"supernet\.json: expected a JSON object, found a list; train again"),
        (
            SUPERNET,
            '{"schema_version": 1, "labels": []}',
            r"supernet\.json: not of schema version 1 \(no field 'subnets'\)",
        ),
        (SUPERNET, '{"schema_version": 9, "labels": [], "subnets": {}}', "expected schema version 1, found 9"),
        (SUPERNET, supernet(["cold", "hot"]), r"supernet\.json: its labels are not those of the model beside it"),
        (SUPERNET, supernet(LABELS, w=[[4, 64]]), "subnet w does not fit the model beside it; train again"),
        (SUPERNET, supernet(LABELS, w=[[4, 65]] * 4), "subnet w does not fit"),
        (SUPERNET, supernet(LABELS, w=[[0, 0]] * 4), "not of schema version 1 .*every layer is skipped"),
        (POOL, None, r"pool\.json: could not be read \(No such file or directory\); train again"),
        (POOL, '[{"name": "w"}]', r"pool\.json: not of the form expected \(no field 'accuracy'\); train again"),
        (
            SUPERNET,
            described(labels=5),
            r"not of schema version 1 \(labels: expected a list of names, found 5\); train",
        ),
        (SUPERNET, described(labels="cold"), r"labels: expected a list of names, found 'cold'"),
        (SUPERNET, described(labels=["cold", 3]), r"labels: expected a list of names, found \['cold', 3\]"),
        (SUPERNET, described(labels=["hot", "cold", "hot"]), r"labels: expected names that differ, found 'hot' twice"),
        (SUPERNET, described(subnets=[]), r"supernet\.json: not of schema version 1"),
        (SUPERNET, described(subnets={"w": 4}), r"supernet\.json: not of schema version 1"),
        (SUPERNET, described(subnets={"w": [["4", "64"]] * 4}), r"supernet\.json: not of schema version 1"),
        (SUPERNET, described(task="poetry"), r"supernet\.json: not of schema version 1"),
        (SUPERNET, described(task=["x"]), r"supernet\.json: not of schema version 1"),
        (SUPERNET, described(max_length="16"), "max_length: expected a JSON whole number, found '16'"),
        (SUPERNET, described(columns=["a"]), r"columns: expected a JSON object, found \['a'\]"),
        (SUPERNET, described(settings=3), "settings: expected a JSON object, found 3"),
        (SUPERNET, described(data=7), "data: expected a JSON text, found 7"),
        (POOL, '[{"name": "w", "accuracy": "good"}]', r"pool\.json: not of the form expected"),
        (POOL, '{"name": "w"}', r"pool\.json: not of the form expected"),
        (POOL, '[{"name": "w", "accuracy": 1, "subnet": [["4", 64]]}]', r"pool\.json: not of the form expected"),
        ("config.json", None, "no model that transformers can read"),
        ("model.safetensors", None, "no weights that transformers can read"),
    ],
)
def test_a_run_that_is_none_is_one_line(run: Run, name: str, content: str | None, message: str) -> None:
    (run.path / name).unlink()
    if content is not None:
        (run.path / name).write_text(content)
    with pytest.raises(ModelError, match=message) as raised:
        load_supernet(run.path)
    assert "\n" not in str(raised.value)


# Checkpoints


def test_a_bare_encoder_gets_a_new_classifier(checkpoint_path: Path) -> None:
    checkpoint = load_checkpoint(checkpoint_path, ("a", "b"))
    assert checkpoint.labels == ("a", "b")
    assert not checkpoint.has_classifier
    assert checkpoint.model.classifier.weight.shape == (2, 32)
    assert checkpoint.model.shape.layers == 4


def test_a_fine_tuned_classifier_keeps_its_head_and_the_order_of_its_labels(run: Run, checkpoint: Checkpoint) -> None:
    again = load_checkpoint(run.path, tuple(reversed(LABELS)))
    assert again.labels == LABELS
    assert again.has_classifier
    assert torch.equal(logits_of(again), logits_of(checkpoint))


def test_a_classifier_of_other_labels_is_not_taken_for_one_of_these(run: Run) -> None:
    again = load_checkpoint(run.path, ("cold", "hot", "warm"))
    assert again.labels == ("cold", "hot", "warm")
    assert not again.has_classifier
    more = load_checkpoint(run.path, ("cold", "hot", "mild", "warm"))
    assert more.model.classifier.weight.shape == (4, 32)
    assert not more.has_classifier


def test_dropout_and_epsilon_are_those_of_the_config(copied: Path) -> None:
    edit_json(
        copied / "config.json",
        lambda raw: raw.update(hidden_dropout_prob=0.25, attention_probs_dropout_prob=0.125, layer_norm_eps=0.5),
    )
    model = load_checkpoint(copied, LABELS).model
    assert (model.dropout.hidden, model.dropout.attention) == (0.25, 0.125)
    assert {module.eps for module in model.modules() if isinstance(module, torch.nn.LayerNorm)} == {0.5}
    assert model.norm_eps == 0.5


def test_a_tokenizer_that_cuts_and_pads_is_told_not_to(copied: Path) -> None:
    def pad(raw: dict[str, Any]) -> None:
        raw["padding"] = {
            "strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]",
        }  # fmt: skip
        raw["truncation"] = {"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0}

    edit_json(copied / "tokenizer.json", pad)
    tokenizer = load_checkpoint(copied, LABELS).tokenizer
    assert len(tokenizer.encode("snow").ids) == 3
    assert len(tokenizer.encode("snow " * 20).ids) == 22


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gpt2"}, "architecture 'gpt2' is not supported; expected one of bert, roberta, .*albert$"),
        ({"model_type": "t5"}, "architecture 't5' is not supported; expected one of bert, roberta, .*albert$"),
        ({"model_type": "made-up"}, "architecture 'made-up' is not supported; expected one of bert, .*albert$"),
        ({"hidden_act": "mish"}, "hidden_act 'mish' is not supported; expected one of gelu, gelu_new, .*quick_gelu$"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key' is not supported"),
    ],
    ids=str,
)
def test_an_architecture_that_is_not_supported_is_named(copied: Path, changes: dict[str, Any], message: str) -> None:
    edit_json(copied / "config.json", lambda raw: raw.update(changes))
    with pytest.raises(ModelError, match=message) as raised:
        load_checkpoint(copied, LABELS)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"intermediate_size": 48}, r"\d+ weights of the encoder are missing or of another shape"),
        ({"num_hidden_layers": 5}, r"16 weights of the encoder are missing .* \(bert\.encoder\.layer\.4\."),
    ],
    ids=str,
)
def test_weights_that_do_not_belong_to_the_config_are_refused(
    copied: Path, changes: dict[str, Any], message: str
) -> None:
    edit_json(copied / "config.json", lambda raw: raw.update(changes))
    with pytest.raises(ModelError, match=message):
        load_checkpoint(copied, LABELS)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", b"{", "no model that transformers can read"),
        ("model.safetensors", b"", "no weights that transformers can read"),
        ("model.safetensors", b"\xff" * 100, "no weights that transformers can read"),
        ("tokenizer.json", b"{", "no tokenizer that transformers can read"),
    ],
)
def test_a_damaged_file_is_one_line(copied: Path, name: str, content: bytes, message: str) -> None:
    (copied / name).write_bytes(content)
    with pytest.raises(ModelError, match=message) as raised:
        load_checkpoint(copied, LABELS)
    assert str(copied) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_directory_without_a_tokenizer_is_named(copied: Path) -> None:
    for path in copied.iterdir():
        if path.name not in ("config.json", "model.safetensors"):
            path.unlink()
    with pytest.raises(ModelError, match="copied: no tokenizer"):
        load_checkpoint(copied, LABELS)


def test_what_transformers_says_is_silenced_and_then_as_before(
    checkpoint_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    level = transformers.logging.get_verbosity()
    load_checkpoint(checkpoint_path, ("a", "b"))
    assert transformers.logging.get_verbosity() == level
    assert capfd.readouterr() == ("", "")


def test_a_head_for_one_label_is_none_for_several_nor_the_other_way(checkpoint: Checkpoint, tmp_path: Path) -> None:
    one, several = "classification", "multi-label-classification"
    save_run(tmp_path / one, checkpoint, subnets=GRID, accuracies={}, facts=FACTS)
    other = load_checkpoint(tmp_path / one, LABELS, task=several)
    assert not other.has_classifier
    save_run(tmp_path / several, other, subnets=GRID, accuracies={}, facts=FACTS)
    assert load_supernet(tmp_path / several).checkpoint.has_classifier
    back = load_checkpoint(tmp_path / several, LABELS, task=one)
    assert not back.has_classifier
    save_run(tmp_path / "back", back, subnets=GRID, accuracies={}, facts=FACTS)
    assert load_supernet(tmp_path / "back").checkpoint.has_classifier
