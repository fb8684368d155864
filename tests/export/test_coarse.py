"""An export with coarse weights: a smaller download, a bundle as any other, and what is refused."""

from pathlib import Path

import pytest

from gearshift.errors import InputError
from gearshift.export.compress import compress_bundle
from gearshift.export.pipeline import export_bundle
from gearshift.export.trim import trim_bundle
from gearshift.runtime.bundle.bundle import open_bundle
from gearshift.runtime.inference.self_test import check_self_test
from gearshift.runtime.inference.session import ElasticSession
from gearshift.trainer.data.rows import Row
from gearshift.trainer.model.run import Run, load_supernet, save_run


@pytest.fixture
def known(run: Run, rows: tuple[Row, ...], tmp_path: Path) -> Run:
    """Return the run with its training data."""
    (tmp_path / "data").mkdir()
    for split, some in (("train", rows[:20]), ("test", rows[20:])):
        lines = [f"{row.text}\t{row.label}\n" for row in some]
        (tmp_path / "data" / f"{split}.tsv").write_text("".join(["sentence\tlabel\n", *lines]))
    facts = {"max_length": 24, "data": str(tmp_path / "data")}
    save_run(tmp_path / "run", run.checkpoint, subnets=run.subnets, accuracies={}, facts=facts)
    return load_supernet(tmp_path / "run")


def test_a_compressed_bundle_of_coarse_weights_is_smaller_and_as_any_other(
    known: Run, rows: tuple[Row, ...], tmp_path: Path
) -> None:
    sizes = {}
    for coarse in (None, 0.5):
        out = tmp_path / f"{coarse}.gearshift"
        bundle = export_bundle(known, out, rows, precisions=["fp32", "int8"], coarse=coarse).bundle
        packed = compress_bundle(bundle, tmp_path / f"{coarse}.z")
        sizes[coarse] = packed.files["int8.weights.z"].bytes
        assert open_bundle(packed.path).hash == bundle.hash
        trimmed = trim_bundle(bundle, tmp_path / f"{coarse}.trimmed", keep=[next(iter(bundle.pool("int8")))])
        session = ElasticSession(trimmed, "int8", threads=1)
        check_self_test(session, trimmed)
        session.close()
    assert sizes[0.5] < 0.75 * sizes[None]


@pytest.mark.parametrize("step", [0, -0.1, 1.5, float("nan")])
def test_another_step_than_a_share_is_refused(known: Run, rows: tuple[Row, ...], tmp_path: Path, step: float) -> None:
    with pytest.raises(InputError, match=r"coarse: expected a share of 1 up to 1, such as \.4, got"):
        export_bundle(known, tmp_path / "b.gearshift", rows, precisions=["int8"], coarse=step)


def test_coarse_weights_without_an_int8_graph_are_refused(known: Run, rows: tuple[Row, ...], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="coarse: is for the int8 graph of an elastic net of texts"):
        export_bundle(known, tmp_path / "b.gearshift", rows, precisions=["fp32"], coarse=0.4)


def test_a_run_without_training_rows_is_refused(run: Run, rows: tuple[Row, ...], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected the path of its training data, found none"):
        export_bundle(run, tmp_path / "b.gearshift", rows, precisions=["int8"], coarse=0.4)
