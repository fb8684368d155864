"""Writing ONNX: branches, weights that are stored once, and the file they lie in."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from gearshift.export.graph.builder import ALIGNMENT, EXTERNAL_FROM_BYTES, GraphBuilder, Scope

LARGE = np.arange(96, dtype=np.float32).reshape(2, 48)
OTHER = -np.arange(65, dtype=np.float32)
SMALL = np.array([1.5, -2], np.float32)


def build(path: Path) -> onnx.ModelProto:
    """x (rows,) -> choice 1: row x of LARGE; choice 2: its double plus row 1; else: row 0. All 48 wide."""
    builder = GraphBuilder()
    x, choice = builder.input("x", ("rows",)), builder.input("choice", (1,))
    builder.weight("other", OTHER)  # of 260 bytes, so that what follows has to be moved to a multiple of 64
    large = builder.weight("large", LARGE)
    builder.weight("small", SMALL)
    first = builder.root.value("Gather", [large, builder.weight("zero", np.array([0], np.int64))])
    picked = builder.root.value("Gather", [large, x])
    result = first
    for number in (1, 2):
        condition = builder.root.value("Equal", [choice, builder.weight(f"is{number}", np.array([number]))])
        then = Scope(builder)
        value = then.value("Identity", [picked])
        if number == 2:
            value = then.value("Sum", [value, picked, then.value("Gather", [builder.weight("large", LARGE), "one"])])
        result = builder.switch(condition, then, value, result)
    builder.weight("one", np.array([1], np.int64))
    builder.output(result, "answer", ("rows", 48))
    builder.save(path)
    return onnx.load(path, load_external_data=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.onnx"


def answer(path: Path, x: int, choice: int) -> list[float]:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feeds = {"x": np.array([x]), "choice": np.array([choice])}
    (found,) = session.run(["answer"], feeds)
    return [float(number) for number in found[0]]


def test_a_switch_runs_its_branch_or_passes_the_value_on(path: Path) -> None:
    build(path)
    for x in (0, 1):
        assert answer(path, x, 0) == LARGE[0].tolist()
        assert answer(path, x, 1) == LARGE[x].tolist()
        assert answer(path, x, 2) == (2 * LARGE[x] + LARGE[1]).tolist()


def test_what_was_written_is_valid_onnx(path: Path) -> None:
    build(path)
    onnx.checker.check_model(str(path), full_check=True)


def test_a_weight_that_is_used_in_many_places_is_stored_once(path: Path) -> None:
    model = build(path)
    names = [tensor.name for tensor in model.graph.initializer]
    assert len(set(names)) == len(names)
    assert "large" in names
    assert path.with_suffix(".weights").stat().st_size < 2 * LARGE.nbytes + OTHER.nbytes


def test_large_weights_lie_aligned_in_one_file_beside_and_small_ones_in_the_graph(path: Path) -> None:
    model = build(path)
    file = path.with_suffix(".weights").read_bytes()
    expected = {"large": LARGE, "other": OTHER}
    outside = {t.name: t for t in model.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL}
    assert outside.keys() == expected.keys()
    assert min(array.nbytes for array in expected.values()) >= EXTERNAL_FROM_BYTES > SMALL.nbytes
    for name, tensor in outside.items():
        entry = {pair.key: pair.value for pair in tensor.external_data}
        offset, length = int(entry["offset"]), int(entry["length"])
        assert entry["location"] == "some.weights"
        assert offset % ALIGNMENT == 0
        assert file[offset : offset + length] == expected[name].tobytes()
    assert sorted(item.name for item in path.parent.iterdir()) == ["some.onnx", "some.weights"]


def test_a_matrix_that_was_transposed_is_stored_as_it_reads(path: Path) -> None:
    builder = GraphBuilder()
    row = builder.root.value("Gather", [builder.weight("turned", LARGE.T), builder.input("x", ("rows",))])
    builder.output(row, "answer", ("rows", 2))
    builder.input("choice", (1,))
    builder.save(path)
    assert answer(path, 7, 0) == LARGE[:, 7].tolist()


def test_values_never_share_a_name(path: Path) -> None:
    model = build(path)
    names = [name for node in model.graph.node for name in node.output]
    for node in model.graph.node:
        for attribute in node.attribute:
            names += [name for inner in attribute.g.node for name in inner.output]
    assert len(set(names)) == len(names)


def test_another_array_under_a_known_name_is_noticed() -> None:
    builder = GraphBuilder()
    builder.weight("w", LARGE)
    with pytest.raises(AssertionError, match=r"w is \(2, 48\), and then \(65,\)"):
        builder.weight("w", OTHER)


def test_the_same_graph_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "1" / "g.onnx", tmp_path / "2" / "g.onnx"
    for path in (first, second):
        path.parent.mkdir()
        build(path)
    for suffix in (".onnx", ".weights"):
        assert first.with_suffix(suffix).read_bytes() == second.with_suffix(suffix).read_bytes()
