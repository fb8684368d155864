"""The stages in order on a tiny task, interrupted wherever it hurts."""

import dataclasses
import itertools
import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

from gearshift.errors import DataError, InputError, ModelError, StorageError
from gearshift.runtime.space.uniform import DEPTHS, uniform_grid
from gearshift.trainer.data.batches import encode
from gearshift.trainer.data.rows import Row
from gearshift.trainer.data.splits import DataSet, Origin
from gearshift.trainer.dynabert.settings import Settings
from gearshift.trainer.dynabert.train import train_supernet
from gearshift.trainer.learning import interrupted as interrupted_states
from gearshift.trainer.learning.evaluate import accuracy, measurements
from gearshift.trainer.learning.importance import measure_importance
from gearshift.trainer.learning.interrupted import STATE, read_note
from gearshift.trainer.learning.losses import hidden_loss, soft_cross_entropy
from gearshift.trainer.learning.sealed import write_sealed
from gearshift.trainer.model.checkpoint import load_checkpoint
from gearshift.trainer.model.elastic import ElasticClassifier
from gearshift.trainer.model.run import POOL, SUPERNET, Run, load_supernet, save_run
from tests.trainer.full_disk import fill_disk, needs_full_device
from tests.trainer.tiny import LABELS, SETTINGS, SHAPE, make_data, scatter

DATA = make_data()
STAGES = ("teacher", "width", "depth")


# Forward passes of the training in SETTINGS: 5 steps of the teacher and 2 batches that rank; 3 steps of a
# teacher and three widths; 3 steps of a teacher and three subnets; 12 subnets measured on dev and on test rows.
STARTS = {"teacher": 0, "ranking": 5, "width": 7, "depth": 19, "measuring": 31}
FORWARDS = 55


class Forwards:
    """Counts the forward passes of all models, and interrupts before one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.stop_at: int | None = None
        really_forward = ElasticClassifier.forward

        def forward(model: ElasticClassifier, *arguments: Any) -> Any:
            if self.count == self.stop_at:
                raise KeyboardInterrupt
            self.count += 1
            return really_forward(model, *arguments)

        monkeypatch.setattr(ElasticClassifier, "forward", forward)

    def start(self, *, stop_at: int | None = None) -> None:
        self.count, self.stop_at = 0, stop_at


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> Forwards:
    return Forwards(monkeypatch)


def changed(settings: Settings = SETTINGS, **values: Any) -> Settings:
    return dataclasses.replace(settings, **values)


def contents(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in ("model.safetensors", SUPERNET, POOL)}


@pytest.fixture(scope="module")
def uninterrupted(checkpoint_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    train_supernet(checkpoint_path, DATA, SETTINGS, out)
    return out


@pytest.fixture(scope="module")
def another_run(checkpoint_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("another") / "run"
    settings = changed(teacher_epochs=0.1, width_epochs=0, depth_epochs=0)
    return train_supernet(checkpoint_path, DATA, settings, out).path


@pytest.fixture(scope="module")
def scattered_path(checkpoint_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier whose subnets are far apart from the start."""
    path = tmp_path_factory.mktemp("scattered") / "run"
    checkpoint = load_checkpoint(checkpoint_path, LABELS)
    torch.manual_seed(0)
    scatter(checkpoint.model)
    save_run(path, checkpoint, subnets={}, accuracies={}, facts={})
    return path


# What a training gives


def test_a_run_holds_all_that_is_needed_to_export_it(checkpoint_path: Path, tmp_path: Path) -> None:
    data_path = tmp_path / "data"
    data_path.mkdir()
    columns = {"text_column": "said"}
    data = dataclasses.replace(DATA, origin=Origin(str(data_path), columns))
    run = train_supernet(checkpoint_path, data, SETTINGS, tmp_path / "run")
    assert run.path == tmp_path / "run"
    assert run.subnets == uniform_grid(SHAPE)
    assert run.checkpoint.labels == LABELS
    assert run.data_path == data_path
    assert run.facts["max_length"] == 16
    assert (run.facts["source"], run.facts["columns"]) == (str(checkpoint_path), columns)
    assert (run.facts["processes"], run.facts["precision"]) == (1, "no")
    assert run.facts["versions"]["torch"] == version("torch")  # `torch.__version__` also names the CUDA it is built for
    assert run.facts["rows"] == {"train": 24, "dev": 6, "test": 12}
    assert run.facts["kept_layers"] == {"1.0": [0, 1, 2, 3], "0.75": [0, 1, 2], "0.5": [0, 2]}
    assert run.facts["settings"] == json.loads(json.dumps(SETTINGS.to_dict()))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "run"]


def test_the_accuracies_of_a_run_are_those_of_its_test_rows(uninterrupted: Path) -> None:
    run = load_supernet(uninterrupted)
    checkpoint = run.checkpoint
    test = encode(DATA.splits["test"], checkpoint.labels, checkpoint.tokenizer, max_length=SETTINGS.max_length)
    assert run.accuracies == {name: accuracy(checkpoint.model, subnet, test) for name, subnet in run.subnets.items()}


def test_a_run_has_every_metric_of_every_subnet_on_dev_and_on_test_rows(uninterrupted: Path) -> None:
    run = load_supernet(uninterrupted)
    checkpoint = run.checkpoint
    for split, field, main in (
        ("dev", "dev_metrics", run.dev_accuracies),
        ("test", "metrics", run.accuracies),
    ):
        rows = encode(DATA.splits[split], checkpoint.labels, checkpoint.tokenizer, max_length=SETTINGS.max_length)
        found = run.facts[field]
        assert found == {name: measurements(checkpoint.model, subnet, rows) for name, subnet in run.subnets.items()}
        assert main == {name: metrics["accuracy"] for name, metrics in found.items()}
        assert {tuple(metrics) for metrics in found.values()} == {("accuracy", "macro_f1", "matthews")}


def test_rows_that_were_cut_are_counted(checkpoint_path: Path, tmp_path: Path) -> None:
    settings = changed(max_length=4)
    run = train_supernet(checkpoint_path, DATA, settings, tmp_path / "run")
    longer = sum(len(row.text.split()) > 2 for row in DATA.splits["test"])
    assert run.facts["truncated_rows"]["test"] == longer > 0


def test_every_subnet_learns_a_task_that_can_be_learnt(checkpoint_path: Path, tmp_path: Path) -> None:
    settings = Settings(
        max_length=16,
        batch_size=10,
        teacher_epochs=15,
        width_epochs=2,
        depth_epochs=3,
        teacher_lr=1e-3,
        head_lr_factor=10,
        width_lr=2e-3,
        depth_lr=2e-3,
    )
    run = train_supernet(checkpoint_path, make_data(train=120, test=60, longest=4), settings, tmp_path / "run")
    assert run.accuracies["w100-d100"] > 0.9
    assert min(run.accuracies.values()) > 0.8  # one in three by chance
    assert accuracy_of_untrained(checkpoint_path, 60) < 0.5


def accuracy_of_untrained(checkpoint_path: Path, test: int) -> float:
    checkpoint = load_checkpoint(checkpoint_path, LABELS)
    rows = encode(make_data(test=test).splits["test"], LABELS, checkpoint.tokenizer, max_length=16)
    return accuracy(checkpoint.model, checkpoint.model.full, rows)


@pytest.mark.parametrize(("stage", "hidden_weight"), [("width", 0.1), ("depth", 1.0)])
def test_distillation_brings_the_subnets_nearer_to_the_full_net_before_it(
    scattered_path: Path, tmp_path: Path, stage: str, hidden_weight: float
) -> None:
    none = changed(teacher_epochs=0, width_epochs=0, depth_epochs=0, save_every_s=1e9)
    some = changed(none, **{f"{stage}_epochs": 8})
    before, after = (train_supernet(scattered_path, DATA, each, tmp_path / "run") for each in (none, some))
    encoded = encode(DATA.splits["train"], LABELS, before.checkpoint.tokenizer, max_length=SETTINGS.max_length)
    (batch,) = encoded.batches(len(encoded))
    teacher = before.checkpoint.model.eval()

    @torch.no_grad()
    def distance(run: Run) -> float:
        target, total = teacher(batch, teacher.full), 0.0
        least = float(soft_cross_entropy(target.logits, target.logits))
        for subnet in uniform_grid(SHAPE, depths=(1.0,) if stage == "width" else DEPTHS).values():
            student = run.checkpoint.model.eval()(batch, subnet)
            total += float(soft_cross_entropy(student.logits, target.logits)) - least
            total += hidden_weight * float(hidden_loss(student, target, subnet, batch))
        return total

    assert distance(after) < 0.8 * distance(before)


def test_the_order_of_heads_and_neurons_is_by_importance(scattered_path: Path, tmp_path: Path) -> None:
    settings = changed(width_epochs=0, depth_epochs=0)
    checkpoint = train_supernet(scattered_path, DATA, settings, tmp_path / "run").checkpoint
    rows = encode(DATA.splits["train"], LABELS, checkpoint.tokenizer, max_length=settings.max_length)
    batches = itertools.islice(rows.batches(settings.batch_size, seed=settings.seed), 2)  # 16 rows
    scores = measure_importance(checkpoint.model, batches)
    for ranked in (scores.heads, scores.neurons):
        assert (ranked.diff(dim=1) <= 1e-5 * ranked.max()).all()
        assert (ranked[:, 0] > 1.2 * ranked[:, -1]).all()


def test_the_same_training_gives_the_same_weights(checkpoint_path: Path, tmp_path: Path, uninterrupted: Path) -> None:
    train_supernet(checkpoint_path, DATA, changed(save_every_s=1e9), tmp_path / "run")
    assert contents(tmp_path / "run")["model.safetensors"] == contents(uninterrupted)["model.safetensors"]
    other = train_supernet(checkpoint_path, DATA, changed(seed=1), tmp_path / "other")
    assert contents(other.path)["model.safetensors"] != contents(uninterrupted)["model.safetensors"]


def test_frozen_embeddings_stay_as_they_were_pretrained(checkpoint_path: Path, tmp_path: Path) -> None:
    before = load_checkpoint(checkpoint_path, LABELS).model.state_dict()
    for freeze in (False, True):
        run = train_supernet(checkpoint_path, DATA, changed(freeze_embeddings=freeze), tmp_path / f"{freeze}")
        for name, tensor in run.checkpoint.model.state_dict().items():
            same = torch.equal(tensor, before[name])
            assert same == (freeze and name.startswith("embeddings.")), name


# Interruptions


def test_the_forward_passes_are_as_many_as_the_next_tests_believe(
    checkpoint_path: Path, tmp_path: Path, forwards: Forwards, uninterrupted: Path
) -> None:
    forwards.start()
    train_supernet(checkpoint_path, DATA, SETTINGS, tmp_path / "run")
    assert forwards.count == FORWARDS
    assert contents(tmp_path / "run") == contents(uninterrupted)


@pytest.mark.parametrize(
    ("stop_at", "repeated"),
    [
        (STARTS["teacher"], 0),
        (STARTS["teacher"] + 3, 0),
        (STARTS["ranking"] + 1, 1),
        (STARTS["width"], 0),
        (STARTS["width"] + 6, 2),
        (STARTS["depth"], 0),
        (STARTS["depth"] + 7, 3),
        (STARTS["measuring"], 0),
        (STARTS["measuring"] + 5, 5),
    ],
)
def test_a_training_that_was_interrupted_ends_as_if_it_had_not_been(
    checkpoint_path: Path, tmp_path: Path, forwards: Forwards, uninterrupted: Path, stop_at: int, repeated: int
) -> None:
    """`repeated`: the forward passes of the step that was cut short, which alone is done again."""
    out = tmp_path / "run"
    forwards.start(stop_at=stop_at)
    with pytest.raises(KeyboardInterrupt):
        train_supernet(checkpoint_path, DATA, SETTINGS, out)
    assert not out.exists()
    forwards.start()
    train_supernet(checkpoint_path, DATA, SETTINGS, out)
    assert forwards.count == FORWARDS - stop_at + repeated
    assert contents(out) == contents(uninterrupted)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_training_that_is_interrupted_again_and_again_comes_to_the_same_end(
    checkpoint_path: Path, tmp_path: Path, forwards: Forwards, uninterrupted: Path
) -> None:
    for attempt in itertools.count():
        forwards.start(stop_at=5 + attempt)
        try:
            train_supernet(checkpoint_path, DATA, SETTINGS, tmp_path / "run")
        except KeyboardInterrupt:
            continue
        break
    assert attempt > 3
    assert contents(tmp_path / "run") == contents(uninterrupted)


# Forward passes in KEEPING: a step of the teacher; 3 batches of the kept teacher and 6 steps of three subnets.
KEEPING = dataclasses.replace(SETTINGS, teacher_epochs=0.1, importance_rows=0, width_epochs=0, depth_epochs=2)


@pytest.mark.parametrize(
    ("stop_at", "repeated"), [(1, 0), (1 + 2, 2), (1 + 3, 0), (1 + 3 + 7, 1), (1 + 3 + 16, 1), (1 + 3 + 18, 0)]
)
def test_a_training_that_was_interrupted_with_a_kept_teacher_ends_as_if_it_had_not_been(
    checkpoint_path: Path, tmp_path: Path, forwards: Forwards, stop_at: int, repeated: int
) -> None:
    """The teacher's passes are not made again, but for those since the last save."""
    forwards.start()
    train_supernet(checkpoint_path, DATA, KEEPING, tmp_path / "whole")
    whole = forwards.count
    assert whole == 1 + 3 + 6 * 3 + 24
    forwards.start(stop_at=stop_at)
    with pytest.raises(KeyboardInterrupt):
        train_supernet(checkpoint_path, DATA, KEEPING, tmp_path / "run")
    forwards.start()
    train_supernet(checkpoint_path, DATA, KEEPING, tmp_path / "run")
    assert forwards.count == whole - stop_at + repeated
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "whole"]


@pytest.mark.parametrize("first", [0, 8])
def test_a_stage_that_began_with_a_kept_teacher_or_without_goes_on_so(
    checkpoint_path: Path, tmp_path: Path, forwards: Forwards, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    """The disk may be full by then, and kept states have another precision."""
    usage = {bool(free): shutil.disk_usage(tmp_path)._replace(free=free * 10**9) for free in (0, 8)}

    def with_room(room: bool) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage[room])

    with_room(bool(first))
    train_supernet(checkpoint_path, DATA, KEEPING, tmp_path / "whole")
    forwards.start(stop_at=14)
    with pytest.raises(KeyboardInterrupt):
        train_supernet(checkpoint_path, DATA, KEEPING, tmp_path / "run")
    forwards.start()
    with_room(not first)
    train_supernet(checkpoint_path, DATA, KEEPING, tmp_path / "run")
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


@pytest.mark.parametrize("written", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("stage", STAGES)
def test_an_interruption_between_stages_changes_nothing(
    checkpoint_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    uninterrupted: Path,
    stage: str,
    written: bool,
) -> None:
    """Before the weights at the end of a stage are written, or after, when the last state is still there."""

    def write(target: Path, content: bytes, **given: Path) -> None:
        ends = target.name == f"after-{stage}.safetensors"
        if written or not ends:
            write_sealed(target, content, **given)
        if ends:
            raise KeyboardInterrupt

    monkeypatch.setattr(interrupted_states, "write_sealed", write)
    with pytest.raises(KeyboardInterrupt):
        train_supernet(checkpoint_path, DATA, SETTINGS, tmp_path / "run")
    monkeypatch.undo()
    assert (tmp_path / "run.partial" / STATE).is_file()
    train_supernet(checkpoint_path, DATA, SETTINGS, tmp_path / "run")
    assert contents(tmp_path / "run") == contents(uninterrupted)


def interrupted(checkpoint_path: Path, out: Path, forwards: Forwards) -> None:
    forwards.start(stop_at=12)
    with pytest.raises(KeyboardInterrupt):
        train_supernet(checkpoint_path, DATA, SETTINGS, out)
    forwards.start()


@pytest.mark.parametrize(
    ("settings", "data", "differs"),
    [
        (changed(seed=1), DATA, "seed"),
        (changed(widths=(1.0, 0.5)), DATA, "widths"),
        (changed(depth_lr=2e-3, in_place=True), DATA, "depth_lr, in_place"),
        (SETTINGS, make_data(seed=5), "rows"),
        (SETTINGS, make_data(train=23), "rows"),
    ],
    ids=["seed", "widths", "learning rate", "other rows", "fewer rows"],
)
def test_another_training_does_not_go_on_from_an_interrupted_one(
    checkpoint_path: Path, tmp_path: Path, forwards: Forwards, settings: Settings, data: DataSet, differs: str
) -> None:
    interrupted(checkpoint_path, tmp_path / "run", forwards)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run.partial").iterdir()}
    message = rf"run\.partial: holds an interrupted training with other settings or rows \({differs}\); repeat it"
    with pytest.raises(InputError, match=message):
        train_supernet(checkpoint_path, data, settings, tmp_path / "run")
    assert {path.name: path.read_bytes() for path in (tmp_path / "run.partial").iterdir()} == before


@pytest.mark.parametrize("differs", [False, True])
def test_a_training_of_an_older_version_goes_on_where_newer_settings_are_left_alone(
    checkpoint_path: Path, tmp_path: Path, forwards: Forwards, uninterrupted: Path, differs: bool
) -> None:
    interrupted(checkpoint_path, tmp_path / "run", forwards)
    description = tmp_path / "run.partial" / "training.json"
    older = read_note(description)
    del older["settings"]["in_place"]
    description.write_text(json.dumps(older))
    if differs:
        with pytest.raises(InputError, match=r"with other settings or rows \(in_place\)"):
            train_supernet(checkpoint_path, DATA, changed(in_place=True), tmp_path / "run")
        return
    train_supernet(checkpoint_path, DATA, SETTINGS, tmp_path / "run")
    assert contents(tmp_path / "run")["model.safetensors"] == contents(uninterrupted)["model.safetensors"]


@pytest.mark.parametrize(("name", "other"), [("processes", 2), ("precision", "bf16")])
def test_processes_and_precision_must_stay_as_they_were(
    checkpoint_path: Path, tmp_path: Path, forwards: Forwards, uninterrupted: Path, name: str, other: object
) -> None:
    interrupted(checkpoint_path, tmp_path / "run", forwards)
    description = tmp_path / "run.partial" / "training.json"
    said = read_note(description)
    assert (said["processes"], said["precision"]) == (1, "no")
    description.write_text(json.dumps({**said, name: other}))
    with pytest.raises(InputError, match=rf"with other settings or rows \({name}\)"):
        train_supernet(checkpoint_path, DATA, SETTINGS, tmp_path / "run")
    del said[name]  # as an older version has it
    description.write_text(json.dumps(said))
    train_supernet(checkpoint_path, DATA, SETTINGS, tmp_path / "run")
    assert contents(tmp_path / "run")["model.safetensors"] == contents(uninterrupted)["model.safetensors"]


def test_how_often_to_save_may_change_between_interruption_and_end(
    checkpoint_path: Path, tmp_path: Path, forwards: Forwards, uninterrupted: Path
) -> None:
    interrupted(checkpoint_path, tmp_path / "run", forwards)
    train_supernet(checkpoint_path, DATA, changed(save_every_s=30), tmp_path / "run")
    assert contents(tmp_path / "run")["model.safetensors"] == contents(uninterrupted)["model.safetensors"]


def test_a_training_goes_on_in_smaller_parts_as_is_advised_where_memory_ran_out(
    checkpoint_path: Path, tmp_path: Path, forwards: Forwards
) -> None:
    interrupted(checkpoint_path, tmp_path / "run", forwards)
    finished = tmp_path / "run.partial" / "after-teacher.safetensors"
    assert finished.is_file()
    train_supernet(checkpoint_path, DATA, changed(micro_batch=3), tmp_path / "run")
    assert forwards.count < 4 * (FORWARDS - STARTS["width"])  # the teacher was not trained again
    assert load_supernet(tmp_path / "run").facts["settings"]["micro_batch"] == 3


def test_a_changed_state_costs_the_steps_since_the_one_before_and_nothing_else(
    checkpoint_path: Path, tmp_path: Path, forwards: Forwards, uninterrupted: Path
) -> None:
    forwards.start(stop_at=17)
    with pytest.raises(KeyboardInterrupt):
        train_supernet(checkpoint_path, DATA, SETTINGS, tmp_path / "run")
    forwards.start()
    state = tmp_path / "run.partial" / STATE
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 16
    state.write_bytes(content)
    train_supernet(checkpoint_path, DATA, SETTINGS, tmp_path / "run")
    assert contents(tmp_path / "run") == contents(uninterrupted)


@pytest.mark.parametrize("file", ["training.json", "after-teacher.safetensors", STATE])
@pytest.mark.parametrize("left", [0, 20])
def test_a_damaged_state_is_one_line_and_stays(
    checkpoint_path: Path, tmp_path: Path, forwards: Forwards, file: str, left: int
) -> None:
    forwards.start(stop_at=17)
    with pytest.raises(KeyboardInterrupt):
        train_supernet(checkpoint_path, DATA, SETTINGS, tmp_path / "run")
    forwards.start()
    damaged = tmp_path / "run.partial" / file
    damaged.write_bytes(damaged.read_bytes()[:left])
    (damaged.parent / "state-before.pt").unlink()
    before = {path.name: path.read_bytes() for path in (tmp_path / "run.partial").iterdir()}
    with pytest.raises(InputError, match=rf"{file}: not readable \(.*\); delete .*run\.partial to begin") as raised:
        train_supernet(checkpoint_path, DATA, SETTINGS, tmp_path / "run")
    assert "\n" not in str(raised.value)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run.partial").iterdir()} == before


# What cannot be trained


def test_the_model_that_a_training_starts_from_is_not_written_over(uninterrupted: Path) -> None:
    before = contents(uninterrupted)
    with pytest.raises(StorageError, match="is the input, and would be overwritten"):
        train_supernet(uninterrupted, DATA, SETTINGS, uninterrupted)
    assert contents(uninterrupted) == before


def test_a_loss_that_is_no_number_is_one_line(checkpoint_path: Path, tmp_path: Path) -> None:
    settings = changed(teacher_lr=1e30)
    with pytest.raises(ModelError, match=r"^stage teacher: the loss became nan at step \d; lower the learning rate$"):
        train_supernet(checkpoint_path, DATA, settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_encoder_without_a_classifier_needs_a_teacher_stage(checkpoint_path: Path, tmp_path: Path) -> None:
    settings = changed(teacher_epochs=0)
    with pytest.raises(ModelError, match="has no classifier for the labels cold, hot, mild; set teacher_epochs above"):
        train_supernet(checkpoint_path, DATA, settings, tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_classifier_of_the_same_labels_needs_no_teacher_stage(
    uninterrupted: Path, tmp_path: Path, forwards: Forwards
) -> None:
    settings = changed(teacher_epochs=0, width_epochs=0, depth_epochs=0)
    run = train_supernet(uninterrupted, DATA, settings, tmp_path / "run")
    assert forwards.count == 2 + 24  # ranking and measuring
    assert run.accuracies["w100-d100"] == load_supernet(uninterrupted).accuracies["w100-d100"]


BAD: list[tuple[dict[str, Any], DataSet, type[Exception], str]] = [
    ({"max_length": 33}, DATA, InputError, "max_length 33 is more than the model's 32 positions"),
    ({"max_length": 2}, DATA, InputError, "max_length: expected at least 3"),
    ({"widths": (1.0, 1.5)}, DATA, InputError, "width multiplier: expected a number above 0"),
    ({"depths": (1.25,)}, DATA, InputError, "depth multiplier: expected a number above 0, at most 1"),
    (
        {},
        DataSet(LABELS, {**DATA.splits, "test": (Row("text", None, "warm"),)}),
        DataError,
        "label 'warm' is not among cold, hot, mild, and no row has one of these",
    ),
]


@pytest.mark.parametrize(("changes", "data", "error", "message"), BAD, ids=[message for *_, message in BAD])
def test_bad_input_leaves_nothing_behind(
    checkpoint_path: Path,
    tmp_path: Path,
    changes: dict[str, Any],
    data: DataSet,
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        train_supernet(checkpoint_path, data, changed(**changes), tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_directory_of_somebody_else_is_refused_before_the_training(
    checkpoint_path: Path, tmp_path: Path, forwards: Forwards
) -> None:
    (tmp_path / "thesis.txt").write_text("words")
    with pytest.raises(StorageError, match=r"has no supernet\.json"):
        train_supernet(checkpoint_path, DATA, SETTINGS, tmp_path)
    assert forwards.count == 0
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


# Full disks


@needs_full_device
@pytest.mark.parametrize("name", ["training.json", STATE, "after-width", "model.safetensors", POOL])
def test_a_full_disk_keeps_the_old_run_and_what_was_reached(
    checkpoint_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    uninterrupted: Path,
    another_run: Path,
    name: str,
) -> None:
    out = tmp_path / "run"
    old = contents(shutil.copytree(another_run, out))
    fill_disk(monkeypatch, name)
    with pytest.raises(StorageError, match=r"could not be written \(No space left on device\)"):
        train_supernet(checkpoint_path, DATA, SETTINGS, out)
    monkeypatch.undo()
    assert contents(out) == old
    assert isinstance(load_supernet(out), Run)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"run", "run.partial"}
    train_supernet(checkpoint_path, DATA, SETTINGS, out)
    assert contents(out) == contents(uninterrupted)
