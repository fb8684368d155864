"""The whole export: what lies in a bundle, that its figures are true, and that nothing half-done stays."""

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tokenizers import Tokenizer

from gearshift.errors import DataError, ExportError, InputError, StorageError
from gearshift.export.checks.samples import SAMPLE_ROWS
from gearshift.export.graph.segments import Array
from gearshift.export.pipeline import ExportReport, export_bundle
from gearshift.export.trim import trim_bundle
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.bundle.manifest import MANIFEST, SELF_TEST, TOKEN_VECTORS, TOKENIZER
from gearshift.runtime.inference.self_test import check_self_test
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.space.space import Space
from gearshift.runtime.space.subnet import Subnet
from gearshift.trainer.data.batches import Batch
from gearshift.trainer.data.rows import Row
from gearshift.trainer.data.splits import read_data
from gearshift.trainer.model.checkpoint import Checkpoint
from gearshift.trainer.model.run import Run, load_supernet, save_run
from tests.trainer.full_disk import fill_disk, needs_full_device

PRECISIONS = ("fp32", "int8")
FILES = (
    "README.md",
    "fp32.onnx",
    "fp32.weights",
    "int8.onnx",
    "int8.weights",
    MANIFEST,
    TOKEN_VECTORS,
    SELF_TEST,
    TOKENIZER,
)


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def test_the_bundle_opens_and_holds_these_files(bundle_path: Path, exported: ExportReport) -> None:
    assert tuple(contents(bundle_path)) == FILES
    bundle = open_bundle(bundle_path)
    assert bundle == exported.bundle
    assert bundle.precisions == PRECISIONS


def test_the_manifest_says_what_was_exported(run: Run, bundle_path: Path) -> None:
    manifest = open_bundle(bundle_path).manifest
    assert manifest.name == "small"
    assert manifest.labels == run.checkpoint.labels
    assert manifest.max_length == 24
    assert manifest.pad_id == run.checkpoint.tokenizer.token_to_id("[PAD]")
    assert manifest.licence == "Apache-2.0"
    assert manifest.accuracy_rows == 60
    shape = run.checkpoint.model.shape
    for precision in PRECISIONS:
        entries = [entry for entry in manifest.pool if entry.precision == precision]
        assert {entry.name: entry.subnet for entry in entries} == run.subnets
        for entry in entries:
            assert isinstance(entry.subnet, Subnet)
            assert manifest.space.subnet(entry.choice) == entry.subnet
            assert entry.parameters == entry.subnet.parameters(shape)
            assert entry.macs == entry.subnet.macs(shape, 128)
            assert entry.file == f"{precision}.onnx"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_self_test_of_the_bundle_passes(bundle_path: Path, precision: str) -> None:
    bundle = open_bundle(bundle_path)
    session = ElasticSession(bundle, precision, threads=1)
    check_self_test(session, bundle)
    session.close()


def test_the_self_test_compares_with_torch_on_padded_rows(run: Run, bundle_path: Path) -> None:
    with np.load(bundle_path / SELF_TEST) as arrays:
        mask = arrays["attention_mask"]
        assert mask.shape[0] == SAMPLE_ROWS
        assert len(set(mask.sum(1))) > 4  # rows of different lengths
        ids, types = (torch.from_numpy(arrays[name]) for name in ("input_ids", "token_type_ids"))
        batch = Batch(ids, torch.from_numpy(mask), types, torch.zeros(len(ids)), torch.arange(len(ids)))
        for name, subnet in run.subnets.items():
            with torch.no_grad():
                logits = run.checkpoint.model.eval()(batch, subnet).logits.numpy()
            assert np.abs(arrays[f"logits.fp32.{name}"] - logits).max() < 1e-6


def recount(bundle: Bundle, rows: Sequence[Row], precision: str, name: str) -> float:
    """Accuracy once more, from the files of the bundle alone, with 32 rows at once in order of length."""
    tokenizer = Tokenizer.from_file(str(bundle.path / TOKENIZER))
    tokenizer.enable_truncation(bundle.manifest.max_length)
    session = ElasticSession(bundle, precision, threads=1)
    texts = sorted(((tokenizer.encode(row.text).ids, row.label) for row in rows), key=lambda pair: len(pair[0]))
    right = 0
    for start in range(0, len(texts), 32):
        part = texts[start : start + 32]
        longest = max(len(ids) for ids, _ in part)
        padded = [ids + [bundle.manifest.pad_id] * (longest - len(ids)) for ids, _ in part]
        mask = [[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in part]
        inputs: dict[str, Array] = {
            "input_ids": np.array(padded),
            "attention_mask": np.array(mask),
            "token_type_ids": np.zeros((len(part), longest), np.int64),
        }
        logits = session.run(inputs, bundle.entry(name, precision).choice)
        found = [bundle.manifest.labels[place] for place in logits.argmax(-1)]
        right += sum(mine == label for mine, (_, label) in zip(found, part, strict=True))
    session.close()
    return right / len(rows)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_accuracies_are_those_of_the_held_out_rows(bundle_path: Path, rows: tuple[Row, ...], precision: str) -> None:
    bundle = open_bundle(bundle_path)
    found = {name: entry.accuracy for name, entry in bundle.pool(precision).items()}
    assert found == {name: recount(bundle, rows, precision, name) for name in found}
    assert len(set(found.values())) > 4


def test_the_report_says_what_was_measured(exported: ExportReport) -> None:
    bundle = exported.bundle
    assert exported.parity is not None
    assert 0 < exported.parity < 1e-5
    pools = [bundle.pool(precision) for precision in PRECISIONS]
    losses = {name: fp32.accuracy - pools[1][name].accuracy for name, fp32 in pools[0].items()}
    assert exported.losses == {name: loss for name, loss in losses.items() if loss > 0.0100001}


@pytest.fixture(scope="module")
def chosen(run: Run, rows: tuple[Row, ...], tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    """The run's bundle, exported with dev rows. Not to be written to."""
    return export_bundle(run, tmp_path_factory.mktemp("chosen") / "small.gearshift", rows[:40], dev=rows[40:])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_bundle_has_accuracies_on_dev_and_on_test_rows_and_says_which_choose(
    chosen: ExportReport, rows: tuple[Row, ...], precision: str
) -> None:
    bundle = open_bundle(chosen.bundle.path)
    assert (bundle.manifest.chosen_by, bundle.manifest.dev_rows, bundle.manifest.accuracy_rows) == ("dev", 20, 40)
    for name, entry in bundle.pool(precision).items():
        assert entry.accuracy == recount(bundle, rows[:40], precision, name)
        assert entry.choosing_accuracy == entry.dev_accuracy == recount(bundle, rows[40:], precision, name)


def test_without_dev_rows_the_only_accuracy_chooses_as_before(exported: ExportReport) -> None:
    manifest = exported.bundle.manifest
    assert not manifest.chosen_by and not {"chosen_by", "dev_rows"} & manifest.to_dict().keys()
    assert {entry.dev_accuracy for entry in manifest.pool} == {None}


def test_what_int8_loses_is_told_by_dev_rows(chosen: ExportReport) -> None:
    fp32, int8 = (chosen.bundle.pool(precision) for precision in PRECISIONS)
    losses = {name: entry.choosing_accuracy - int8[name].choosing_accuracy for name, entry in fp32.items()}
    assert chosen.losses == {name: loss for name, loss in losses.items() if loss > 0.0100001}


def test_a_trimmed_bundle_keeps_both_accuracies(chosen: ExportReport, tmp_path: Path) -> None:
    trimmed = trim_bundle(chosen.bundle, tmp_path / "one.gearshift", keep=["w050-d050"])
    assert trimmed.manifest.chosen_by == "dev"
    kept = trimmed.entry("w050-d050", "fp32")
    assert kept.dev_accuracy == chosen.bundle.entry("w050-d050", "fp32").dev_accuracy is not None


@pytest.mark.parametrize("precision", PRECISIONS)
def test_one_precision_can_be_exported_alone(
    run: Run, rows: tuple[Row, ...], tmp_path: Path, exported: ExportReport, precision: str
) -> None:
    report = export_bundle(run, tmp_path / "one.gearshift", rows, precisions=[precision])
    assert open_bundle(report.bundle.path).precisions == (precision,)
    assert set(report.packed_weights) == {precision}
    assert report.losses == {}
    assert (report.parity is None) == (precision == "int8")  # there is nothing that int8 could be equal to
    for suffix in ("onnx", "weights"):
        name = f"{precision}.{suffix}"
        assert (report.bundle.path / name).read_bytes() == (exported.bundle.path / name).read_bytes()


@pytest.mark.parametrize("count", [1, 3])
def test_fewer_rows_than_the_self_test_would_take_are_enough(
    run: Run, rows: tuple[Row, ...], tmp_path: Path, count: int
) -> None:
    report = export_bundle(run, tmp_path / "few.gearshift", rows[:count], precisions=["fp32"])
    with np.load(report.bundle.path / SELF_TEST) as arrays:
        mask = arrays["attention_mask"]
    assert len(mask) >= count
    assert (mask == 0).any()  # one row alone is joined by another, so that something is padded


def test_progress_is_told_to_the_end_of_every_part(run: Run, rows: tuple[Row, ...], tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    export_bundle(run, tmp_path / "b.gearshift", rows[:9], progress=lambda *call: calls.append(call))
    parts = {"graphs": 2, "accuracy fp32": 12, "accuracy int8": 12}
    assert calls == [(what, done, total) for what, total in parts.items() for done in range(total + 1)]


def test_the_directory_of_a_run_is_enough(run: Run, rows: tuple[Row, ...], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for split, some in (("train", rows[:20]), ("test", rows[20:])):
        lines = [f"{row.text}\t{row.label}\n" for row in some]
        (tmp_path / "data" / f"{split}.tsv").write_text("".join(["said\tlabel\n", *lines]))
    facts = {"max_length": 24, "data": str(tmp_path / "data"), "columns": {"text_column": "said"}}
    save_run(tmp_path / "run", run.checkpoint, subnets=run.subnets, accuracies={}, facts=facts)
    dev = read_data(tmp_path / "data", text_column="said").splits["dev"]
    alone = export_bundle(str(tmp_path / "run"), str(tmp_path / "a" / "b.gearshift"))
    told = export_bundle(load_supernet(tmp_path / "run"), tmp_path / "b.gearshift", rows[20:], dev=dev)
    assert alone.bundle.manifest.accuracy_rows == 40
    assert contents(alone.bundle.path) == contents(told.bundle.path)


def test_a_run_without_data_needs_rows(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected the path of its training data, found none"):
        export_bundle(run, tmp_path / "b.gearshift")
    assert not list(tmp_path.iterdir())


# What cannot be exported


@pytest.mark.parametrize("layers", [2, 4])
def test_layers_can_be_switched_together_with_the_same_answers(
    run: Run, rows: tuple[Row, ...], tmp_path: Path, exported: ExportReport, layers: int
) -> None:
    report = export_bundle(run, tmp_path / "out.gearshift", rows, precisions=["fp32"], layers_per_stage=layers)
    manifest = report.bundle.manifest
    assert isinstance(manifest.space, Space)
    assert [stage.length for stage in manifest.space.stages] == [layers] * (4 // layers)
    alone = exported.bundle.pool("fp32")
    assert {name: entry.accuracy for name, entry in report.bundle.pool("fp32").items()} == {
        name: entry.accuracy for name, entry in alone.items()
    }


@pytest.mark.parametrize(
    ("precisions", "message"),
    [
        (["bf16"], "precisions: expected some of fp32, int8, fp16, each once, got bf16"),
        (["fp32", "int4"], "precisions: expected some of fp32, int8, fp16, each once, got fp32, int4"),
        ([], "precisions: expected some of fp32, int8, fp16, each once, got none"),
        (["int8", "int8"], "precisions: expected some of fp32, int8, fp16, each once, got int8, int8"),
    ],
)
def test_an_unknown_precision_is_refused(
    run: Run, rows: tuple[Row, ...], tmp_path: Path, precisions: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        export_bundle(run, tmp_path / "b.gearshift", rows, precisions=precisions)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("unusable", "message"),
    [((), "no held-out rows to measure accuracy on"), ((Row("text", None, "warm"),), "label 'warm' is not among")],
)
def test_rows_that_cannot_be_used_are_refused(
    run: Run, tmp_path: Path, unusable: tuple[Row, ...], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        export_bundle(run, tmp_path / "b.gearshift", unusable)
    assert not list(tmp_path.iterdir())


def with_weights(run: Run, **values: float) -> Run:
    """The run with every parameter whose name ends so set to a value."""
    model = copy.deepcopy(run.checkpoint.model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            for ending, value in values.items():
                if name.endswith(ending.replace("__", ".")):
                    parameter.fill_(value)
    checkpoint: Checkpoint = dataclasses.replace(run.checkpoint, model=model)
    return dataclasses.replace(run, checkpoint=checkpoint)


def test_a_model_whose_subnets_all_answer_the_same_is_not_exported(
    run: Run, rows: tuple[Row, ...], old_bundle: Path
) -> None:
    before = contents(old_bundle)
    same = with_weights(run, classifier__weight=0)
    with pytest.raises(ExportError, match="give the same logits; nothing was compared"):
        export_bundle(same, old_bundle, rows)
    assert contents(old_bundle) == before


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_a_model_that_answers_no_numbers_is_not_exported(run: Run, rows: tuple[Row, ...], tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="off by nan"):
        export_bundle(with_weights(run, classifier__bias=np.nan), tmp_path / "b.gearshift", rows, precisions=["fp32"])
    assert not list(tmp_path.iterdir())


# What was there before


@pytest.fixture
def old_bundle(run: Run, rows: tuple[Row, ...], tmp_path: Path) -> Path:
    return export_bundle(run, tmp_path / "old.gearshift", rows[:5], precisions=["fp32"]).bundle.path


def test_a_bundle_takes_the_place_of_the_one_before(run: Run, rows: tuple[Row, ...], old_bundle: Path) -> None:
    export_bundle(run, old_bundle, rows, precisions=["int8"])
    assert open_bundle(old_bundle).precisions == ("int8",)
    assert not (old_bundle / "fp32.weights").exists()
    assert [path.name for path in old_bundle.parent.iterdir()] == ["old.gearshift"]


def test_a_directory_of_somebody_else_is_not_replaced(run: Run, rows: tuple[Row, ...], tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("words")
    with pytest.raises(StorageError, match=r"the directory is not empty and has no manifest\.json"):
        export_bundle(run, tmp_path, rows)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@needs_full_device
@pytest.mark.parametrize("name", FILES)
def test_a_full_disk_leaves_the_old_bundle(
    run: Run, rows: tuple[Row, ...], old_bundle: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = contents(old_bundle)
    fill_disk(monkeypatch, name)
    with pytest.raises(StorageError, match=r"could not be written \(No space left on device\)"):
        export_bundle(run, old_bundle, rows[:9])
    monkeypatch.undo()
    assert contents(old_bundle) == before
    open_bundle(old_bundle)
    assert [path.name for path in old_bundle.parent.iterdir()] == ["old.gearshift"]


@pytest.mark.parametrize(("what", "done"), [("graphs", 0), ("graphs", 1), ("accuracy fp32", 7), ("accuracy int8", 12)])
def test_an_interruption_leaves_the_old_bundle(
    run: Run, rows: tuple[Row, ...], old_bundle: Path, what: str, done: int
) -> None:
    def interrupt(now: str, count: int, total: int) -> None:
        if (now, count) == (what, done):
            raise KeyboardInterrupt

    before = contents(old_bundle)
    with pytest.raises(KeyboardInterrupt):
        export_bundle(run, old_bundle, rows[:9], progress=interrupt)
    assert contents(old_bundle) == before
    assert [path.name for path in old_bundle.parent.iterdir()] == ["old.gearshift"]


# fp16, and standard operators


def test_fp16_is_exported_on_request_in_half_the_bytes_with_the_same_answers(
    run: Run, rows: tuple[Row, ...], tmp_path: Path
) -> None:
    report = export_bundle(run, tmp_path / "half.gearshift", rows, precisions=["fp16", "fp32"])
    bundle = open_bundle(report.bundle.path)
    assert bundle.precisions == ("fp32", "fp16")
    assert set(report.packed_weights) == {"fp32"}  # a GPU packs nothing
    for name, entry in bundle.pool("fp16").items():
        assert abs(entry.accuracy - bundle.entry(name, "fp32").accuracy) < 0.05
    wide, half = ((bundle.path / f"{precision}.weights").stat().st_size for precision in ("fp32", "fp16"))
    assert half < 0.52 * wide
    trimmed = trim_bundle(bundle, tmp_path / "smaller.gearshift", keep=["w050-d050"], precisions=["fp16"])
    assert trimmed.precisions == ("fp16",)


def test_an_activation_that_overflows_fp16_is_found(run: Run, rows: tuple[Row, ...], tmp_path: Path) -> None:
    large = with_weights(run, layers__1__ffn_out__weight=60000)  # a weight fits; sums of such products do not
    with pytest.raises(ExportError, match=r"fp16\.onnx: subnet .* expected logits within 0\.02 of their spread"):
        export_bundle(large, tmp_path / "b.gearshift", rows, precisions=["fp16"])


def test_standard_operators_are_exported_with_optimisation_on(run: Run, rows: tuple[Row, ...], tmp_path: Path) -> None:
    report = export_bundle(run, tmp_path / "std.gearshift", rows, precisions=["fp32"], operators="standard")
    bundle = open_bundle(report.bundle.path)
    assert bundle.manifest.session_options["graph_optimization_level"] == "all"
    assert report.parity is not None
    assert report.parity < 1e-5
    graph = onnx.load(bundle.path / "fp32.onnx", load_external_data=False)
    assert [opset.domain for opset in graph.opset_import] == [""]


def test_what_standard_operators_have_not_is_refused(run: Run, rows: tuple[Row, ...], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"precisions of standard operators: expected some of fp32, fp16, .* got int8"):
        export_bundle(run, tmp_path / "b.gearshift", rows, precisions=["int8"], operators="standard")
    with pytest.raises(InputError, match="operators: expected fast or standard or gpu, got 'fused'"):
        export_bundle(run, tmp_path / "b.gearshift", rows, operators="fused")


def test_subnets_that_differ_little_are_compared_as_much_closer(
    run: Run, rows: tuple[Row, ...], tmp_path: Path
) -> None:
    """Logits so small that no input separates the subnets by a hundred tolerances: a hundredth is asked for."""
    quiet = copy.deepcopy(run.checkpoint.model)
    with torch.no_grad():
        quiet.classifier.weight.mul_(1e-3)
    faint = dataclasses.replace(run, checkpoint=dataclasses.replace(run.checkpoint, model=quiet))
    report = export_bundle(faint, tmp_path / "b.gearshift", rows, precisions=["fp32"])
    assert report.parity is not None
    assert report.parity < 1e-7
