"""The data that a run was trained on, read again, and other data for its task."""

import dataclasses
from pathlib import Path

import pytest

from gearshift.errors import DataError, InputError
from gearshift.trainer.data.splits import read_data
from gearshift.trainer.model.checkpoint import load_checkpoint
from gearshift.trainer.model.run import Run
from gearshift.trainer.model.run_data import read_run_data
from tests.trainer.tiny import LABELS, make_rows, write_checkpoint


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that says its data and that its texts are in `said`."""
    lines = [f"{row.text}\t{row.label}\n" for row in make_rows(60)]
    (tmp_path / "rows.tsv").write_text("".join(["said\tlabel\n", *lines]))
    checkpoint = load_checkpoint(write_checkpoint(tmp_path / "model"), LABELS)
    facts = {"data": str(tmp_path / "rows.tsv"), "columns": {"text_column": "said"}}
    return Run(tmp_path, checkpoint, {}, {}, facts)


def test_a_runs_own_data_is_read_as_it_was_trained(run: Run) -> None:
    assert len(read_run_data(run).splits["train"]) > 20
    with pytest.raises(DataError, match="no column 'other'"):
        read_run_data(run, columns={"text_column": "other"})
    older = dataclasses.replace(run, facts={"data": run.facts["data"]})
    with pytest.raises(DataError, match="no column 'sentence'; found said, label"):
        read_run_data(older)


def test_other_data_has_columns_of_its_own(run: Run) -> None:
    given = Path(run.facts["data"])
    with pytest.raises(DataError, match="no column 'sentence'; found said, label"):
        read_run_data(run, given)
    assert read_run_data(run, given, {"text_column": "said"}) == read_run_data(run)


@pytest.mark.parametrize("facts", [{}, {"data": "gone.tsv"}])
def test_a_run_that_does_not_say_its_data_needs_some(run: Run, facts: dict[str, str]) -> None:
    with pytest.raises(
        InputError, match="expected the path of its training data, found none; pass data or held-out rows"
    ):
        read_run_data(dataclasses.replace(run, facts=facts))


def test_a_run_that_learnt_the_rows_held_out_as_test_is_measured_on_its_dev_rows(tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    lines = ["sentence\tlabel\n", *(f"{row.text}\t{row.label}\n" for row in make_rows(60))]
    (folder / "train.tsv").write_text("".join(lines))
    (folder / "dev.tsv").write_text("".join(lines[:1] + [f"other {line}" for line in lines[1:9]]))
    now = read_data(folder)
    assert not set(now.splits["train"]) & set(now.splits["test"])
    facts = {"data": str(folder), "rows": {"train": 55, "dev": 8, "test": 8}, "dropped_rows": 5}
    for path in (None, folder):
        older = read_run_data(dataclasses.replace(run, facts=facts), path)
        assert older.splits["dev"] == older.splits["test"] == now.splits["dev"]
        assert set(older.splits["train"]) == set(now.splits["train"]) | set(now.splits["test"])
        assert "learnt the rows held out as test" in older.notes[-1]
    trained_now = {**facts, **now.facts}
    assert read_run_data(dataclasses.replace(run, facts=trained_now)) == now
    (folder / "dev.tsv").unlink()
    alone = read_run_data(dataclasses.replace(run, facts={**facts, "rows": {"train": 49}}))
    assert alone.splits["dev"] == alone.splits["test"] == read_data(folder).splits["test"]
