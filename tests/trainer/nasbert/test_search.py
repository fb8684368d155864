"""A whole search of a tiny teacher: what is learnt and left, and that an interruption changes nothing."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from gearshift.drawing.search import plot_blocks
from gearshift.errors import InputError, ModelError, ProfileError, SchemaError, StorageError
from gearshift.runtime.space.blocks import OPERATIONS, Block
from gearshift.runtime.tables.limits import Limits
from gearshift.runtime.tables.operation_latency import OperationLatency
from gearshift.trainer.data.batches import Batch
from gearshift.trainer.learning.interrupted import read_note
from gearshift.trainer.nasbert.blocks import all_blocks, bridged_shape
from gearshift.trainer.nasbert.corpus import read_corpus
from gearshift.trainer.nasbert.model import MixedStageModel
from gearshift.trainer.nasbert.rescore import pick
from gearshift.trainer.nasbert.scoring import block_losses
from gearshift.trainer.nasbert.search import Searched, load_searched, search_blocks, search_stage
from gearshift.trainer.nasbert.shrinking import quantile_buckets
from gearshift.trainer.nasbert.stage import StageSearch
from gearshift.trainer.nasbert.teacher import TeacherEncoder, load_teacher, read_states
from tests.trainer.nasbert.tiny import SEARCH


def test_so_many_blocks_of_each_bucket_are_left_after_the_rounds_that_takes(searched: Searched) -> None:
    assert len(searched.history) == 2
    for history in searched.history:
        assert history[0] == {"blocks": 1560, "buckets": [520] * 3}
        counts = [each["blocks"] for each in history]
        assert counts == sorted(counts, reverse=True)
        assert history[-1] == {"blocks": 9, "buckets": [3] * 3}


def test_rows_are_the_blocks_that_are_left_with_better_losses_than_a_constant(searched: Searched) -> None:
    for rows, stage in zip(searched.tables.rows, searched.run.checkpoint.model.space.stages, strict=True):
        assert len(rows) == len(stage.options) == 9
        assert min(row.loss for row in rows) < 0.9


def test_the_shared_weights_stand_behind_the_teachers_embeddings(searched: Searched, teacher: TeacherEncoder) -> None:
    mine, its = (m.embeddings.state_dict() for m in (searched.run.checkpoint.model, teacher.checkpoint.model))
    assert all(torch.equal(mine[name], tensor) for name, tensor in its.items())
    kept = {name.split(".")[3] for name in searched.run.checkpoint.model.state_dict() if ".cells." in name}
    used = {
        f"{block.hidden}_{place}_{name}"
        for blocks in blocks_of(searched)
        for block in blocks
        for place, name in enumerate(block.operations)
    }
    assert kept == used


def test_a_search_is_read_as_it_was_written(searched: Searched) -> None:
    again = load_searched(searched.run.path)
    assert again.tables == searched.tables and again.history == searched.history
    assert (
        again.tables.best(Limits(parameters=20_000), shape=again.tables.space.shape.alone(16))[0].parameters <= 20_000
    )


def test_a_picture_shows_buckets_and_blocks_and_of_a_device_their_latencies(
    searched: Searched, teacher: TeacherEncoder, tmp_path: Path
) -> None:
    heights = []
    for name, latency in (("blocks", None), ("times", slow_attention(teacher))):
        plot_blocks(searched.tables, searched.history, tmp_path / f"{name}.svg", latency)
        found = re.search(r'height="([\d.]+)pt"', (tmp_path / f"{name}.svg").read_text())
        assert found is not None
        heights.append(float(found.group(1)))
    assert heights[1] == pytest.approx(1.5 * heights[0], rel=0.05)  # a third row


def test_an_interrupted_search_gives_the_same_tables(
    searched: Searched, teacher: TeacherEncoder, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check a search that is stopped twice in the first stage, and in the second."""
    settings = dataclasses.replace(SEARCH, save_every_s=0)
    real_step = StageSearch._losses
    stops = iter((7, 12, 20))
    left = [next(stops)]

    def stopping(self: StageSearch, model: nn.Module, batch: Batch, index: int) -> list[Callable[[], Tensor]]:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return real_step(self, model, batch, index)

    monkeypatch.setattr(StageSearch, "_losses", stopping)
    interruptions = 0
    while True:
        try:
            again = search_blocks(teacher, [text], settings, tmp_path / "nas")
            break
        except KeyboardInterrupt:
            interruptions += 1
            left[0] = next(stops, 10**6)
    assert interruptions == 3
    assert again.history == searched.history
    assert again.tables.space == searched.tables.space
    for mine, its in zip(again.tables.rows, searched.tables.rows, strict=True):
        assert np.allclose([row.loss for row in mine], [row.loss for row in its], rtol=1e-4)
    assert not (tmp_path / "nas.partial").exists()


def test_stages_that_were_searched_on_their_own_are_put_together(
    searched: Searched, teacher: TeacherEncoder, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = searched.run.path.parent / "states"
    for number in (1, 0):
        search_stage(teacher, [text], SEARCH, tmp_path / "nas", number, states=states)
    monkeypatch.setattr("gearshift.trainer.nasbert.stage.run_stage", None)  # nothing is trained again
    again = search_blocks(teacher, [text], SEARCH, tmp_path / "nas", states=states)
    assert again.history == searched.history
    assert again.tables.space == searched.tables.space
    for mine, its in zip(again.tables.rows, searched.tables.rows, strict=True):
        assert np.allclose([row.loss for row in mine], [row.loss for row in its], rtol=1e-4)


def test_a_search_of_an_older_version_goes_on_where_newer_settings_are_left_alone(
    searched: Searched, teacher: TeacherEncoder, text: Path, tmp_path: Path
) -> None:
    states = searched.run.path.parent / "states"
    search_stage(teacher, [text], SEARCH, tmp_path / "nas", 0, states=states)
    description = tmp_path / "nas.partial" / "training.json"
    older = read_note(description)
    del older["settings"]["max_rounds"]
    description.write_text(json.dumps(older))
    with pytest.raises(InputError, match=r"with other settings or rows \(max_rounds\)"):
        search_stage(teacher, [text], dataclasses.replace(SEARCH, max_rounds=7), tmp_path / "nas", 0, states=states)
    search_stage(teacher, [text], SEARCH, tmp_path / "nas", 0, states=states)


def test_blocks_have_the_same_losses_on_batches_that_are_scored_together(
    searched: Searched, teacher: TeacherEncoder, text: Path
) -> None:
    corpus = read_corpus(
        [text], teacher.checkpoint.tokenizer, max_length=SEARCH.max_length, tokens=1, dev_tokens=SEARCH.dev_tokens
    )
    _, dev = read_states(teacher, corpus, SEARCH.block_layers, searched.run.path.parent / "other states")
    batches = list(dev.rows.batches(4, seed=1))
    stage = searched.run.checkpoint.model.stages[1]
    assert isinstance(stage, MixedStageModel) and len(batches) > 3
    blocks = blocks_of(searched)[1]
    alone, together = (block_losses(stage, blocks, dev.block_batches(1, batches, together=n)) for n in (1, 3))
    assert len(dev.block_batches(1, batches, together=3)) == -(-len(batches) // 3)
    assert np.allclose(alone, together, rtol=1e-5) and len(set(alone)) == len(blocks)


def test_without_deletions_the_training_is_as_long_and_as_many_are_left(
    searched: Searched, teacher: TeacherEncoder, text: Path, tmp_path: Path
) -> None:
    settings = dataclasses.replace(SEARCH, shrink="none")
    states = searched.run.path.parent / "states"
    found = search_blocks(teacher, [text], settings, tmp_path / "nas", states=states)
    assert [history[0]["blocks"] for history in found.history] == [1560, 1560]
    assert [len(history) for history in found.history] == [1, 1]
    assert [len(rows) for rows in found.tables.rows] == [9, 9]


def blocks_of(searched: Searched) -> list[list[Block]]:
    """Stage -> the blocks that are left."""
    space = searched.tables.space
    return [list(space.options_of(stage)) for stage in range(space.length)]


def slow_attention(teacher: TeacherEncoder) -> OperationLatency:
    """A device on which attention takes a hundred times as long as anything else."""
    times = {(size, name): (1.0, 100.0 if name == "attention" else 1.0) for size in (8, 16) for name in OPERATIONS}
    shape = bridged_shape(teacher.checkpoint.model.shape)
    return OperationLatency(shape, "fp32", "CPU", 1, (8, 64), (0.1, 0.2), ((0.0, 0.0),) * 2, times)


def test_buckets_go_by_the_latency_of_a_device_too(
    searched: Searched, teacher: TeacherEncoder, text: Path, tmp_path: Path
) -> None:
    states, device = searched.run.path.parent / "states", slow_attention(teacher)
    found = search_blocks(teacher, [text], SEARCH, tmp_path / "nas", states=states, latency=device)
    blocks, shape = all_blocks((8, 16), 4), bridged_shape(teacher.checkpoint.model.shape)
    sizes = np.array([shape.layer_parameters(block) for block in blocks], float)
    times = np.array([device.block(block, 64) for block in blocks])
    expected, by_size = (quantile_buckets(costs, 3) for costs in ([sizes, times], [sizes]))
    assert (expected != by_size).any()
    for left, history in zip(blocks_of(found), found.history, strict=True):
        numbers = [blocks.index(block) for block in left]
        assert np.bincount(expected[numbers]).tolist() == history[-1]["buckets"] == [3] * 3


def test_another_search_does_not_go_on_with_the_states_of_this_one(
    teacher: TeacherEncoder, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*given: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gearshift.trainer.nasbert.search.read_states", stop)
    with pytest.raises(KeyboardInterrupt):
        search_blocks(teacher, [text], SEARCH, tmp_path / "nas")
    with pytest.raises(InputError, match="other settings or rows"):
        search_blocks(teacher, [text], dataclasses.replace(SEARCH, kept=2), tmp_path / "nas")
    device = slow_attention(teacher)
    with pytest.raises(InputError, match=r"other settings or rows \(latency\)"):
        search_blocks(teacher, [text], SEARCH, tmp_path / "nas", latency=device)
    description = tmp_path / "nas.partial" / "training.json"
    known = read_note(description)
    del known["latency"]  # as an older version wrote it
    description.write_text(json.dumps(known))
    with pytest.raises(KeyboardInterrupt):
        search_blocks(teacher, [text], SEARCH, tmp_path / "nas")
    with pytest.raises(ProfileError, match="expected head_size"):
        search_blocks(
            teacher,
            [text],
            SEARCH,
            tmp_path / "nas",
            latency=dataclasses.replace(device, shape=dataclasses.replace(device.shape, head_size=3)),
        )
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(StorageError, match="not empty"):
        search_blocks(teacher, [text], SEARCH, tmp_path / "other")


def test_tables_of_another_supernet_are_refused(searched: Searched, tmp_path: Path) -> None:
    copied = tmp_path / "nas"
    copied.mkdir()
    for path in searched.run.path.iterdir():
        (copied / path.name).write_bytes(path.read_bytes())
    tables = copied / "tables.json"
    tables.write_text(tables.read_text().replace(searched.tables.supernet, "0" * 64))
    with pytest.raises(SchemaError, match="another supernet"):
        load_searched(copied)
    (copied / "mixed.json").write_text("{}")
    with pytest.raises(ModelError, match=r"mixed\.json: expected schema version 1, found none; train again"):
        load_searched(copied)
    with pytest.raises(ModelError, match=r"expected a run directory with mixed\.json"):
        load_searched(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shrink": "some"}, "shrink: expected one of"),
        ({"bucketing": "even"}, "bucketing"),
        ({"deleted": 1.0}, "share between 0 and 1"),
        ({"warm_epochs": 0}, "warm_epochs must be at least 1"),
        ({"max_rounds": -1}, "max_rounds must be at least 0"),
        ({"lr": float("nan")}, "lr must be 0 or more"),
        ({"max_length": 2}, "max_length"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(SEARCH, **change)  # type: ignore[arg-type]


def test_a_picked_net_sees_the_whole_text_in_its_last_block_unless_any_is_allowed(
    searched: Searched, teacher: TeacherEncoder
) -> None:
    """The first token, which classification reads, is some tokens away from what convolutions alone can tell it."""
    rows = searched.tables.rows[-1]
    blind = [n for n, block in enumerate(blocks_of(searched)[-1]) if "attention" not in block.operations]
    assert 0 < len(blind) < len(rows)
    best = [dataclasses.replace(row, loss=0.0 if n in blind else row.loss) for n, row in enumerate(rows)]
    tempting = dataclasses.replace(searched.tables, rows=(*searched.tables.rows[:-1], tuple(best)))
    tempted = dataclasses.replace(searched, tables=tempting)
    limits = Limits(parameters=10**9)
    for picked, _ in pick(tempted, limits, embedding=8, top=5, teacher=teacher):
        assert "attention" in picked.subnet.layers[-1].operations
    for picked, _ in pick(tempted, limits, embedding=8, top=5, teacher=teacher, whole_text=False):
        assert "attention" not in picked.subnet.layers[-1].operations
    none = dataclasses.replace(searched, tables=tempting.thinned([*map(range, map(len, tempting.rows[:-1])), blind]))
    with pytest.raises(InputError, match="no last block with attention is left; allow any"):
        pick(none, limits, embedding=8, teacher=teacher)


def test_a_teacher_that_has_changed_since_the_search_is_refused(searched: Searched, teacher: TeacherEncoder) -> None:
    """Also where its weights lie in no safetensors file."""
    copied = searched.run.path.parent / "teacher"
    copied.mkdir()
    for path in teacher.checkpoint.source.iterdir():
        (copied / path.name).write_bytes(path.read_bytes())
    limits = Limits(parameters=20_000)
    pick(searched, limits, embedding=16, top=1, teacher=load_teacher(copied))
    weights = safetensors.torch.load_file(copied / "model.safetensors")
    (copied / "model.safetensors").unlink()
    hashes = []
    for scale in (1.0, 1.5):
        torch.save({name: scale * tensor for name, tensor in weights.items()}, copied / "pytorch_model.bin")
        other = load_teacher(copied)
        hashes.append(other.hash)
        with pytest.raises(ModelError, match="expected the teacher of"):
            pick(searched, limits, embedding=16, top=1, teacher=other)
    assert hashes[0] != hashes[1]
