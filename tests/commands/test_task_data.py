"""The data that a command is given, and that of a run."""

import argparse
import dataclasses
from pathlib import Path

import pytest

from gearshift.commands.task_data import columns_of, data_path, read_task_data
from gearshift.errors import DataError
from gearshift.trainer.model.checkpoint import Run, load_checkpoint
from tests.trainer.tiny import LABELS, make_rows, write_checkpoint


def typed(data: Path | None = None, **columns: str) -> argparse.Namespace:
    named = {"text_column": "", "pair_column": "", "label_column": "", **columns}
    return argparse.Namespace(run="run", data=data, **named)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that says its data and that its texts are in `said`."""
    lines = [f"{row.text}\t{row.label}\n" for row in make_rows(60)]
    (tmp_path / "rows.tsv").write_text("".join(["said\tlabel\n", *lines]))
    checkpoint = load_checkpoint(write_checkpoint(tmp_path / "model"), LABELS)
    facts = {"data": str(tmp_path / "rows.tsv"), "columns": {"text_column": "said"}}
    return Run(tmp_path, checkpoint, {}, {}, facts)


def test_columns_that_were_typed_have_the_names_of_the_reader() -> None:
    assert columns_of(typed(text_column="said")) == {"text_column": "said"}


def test_a_runs_own_data_is_read_as_it_was_trained(run: Run) -> None:
    assert len(read_task_data(typed(), data_path(typed(), run), "classification", run).splits["train"]) > 20
    with pytest.raises(DataError, match="no column 'other'"):
        read_task_data(typed(text_column="other"), data_path(typed(), run), "classification", run)
    older = dataclasses.replace(run, facts={"data": run.facts["data"]})
    with pytest.raises(DataError, match="no column 'sentence'; found said, label"):
        read_task_data(typed(), data_path(typed(), older), "classification", older)


def test_other_data_has_columns_of_its_own(run: Run) -> None:
    given = typed(Path(run.facts["data"]))
    with pytest.raises(DataError, match="no column 'sentence'; found said, label"):
        read_task_data(given, data_path(given, run), "classification", run)
