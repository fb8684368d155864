"""Smaller bundles out of bundles: what is left answers as before, and nothing else is left."""

import dataclasses
import functools
import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from gearshift.errors import BundleError, InputError, StorageError, UnknownSubnetError
from gearshift.export.checks.guard import check_packed
from gearshift.export.pipeline import export_bundle
from gearshift.export.rewrite.options import branches
from gearshift.export.trim import Trimming, trim_bundle
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.bundle.manifest import SELF_TEST
from gearshift.runtime.inference.opened import Inputs, random_inputs
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.space.space import Space
from gearshift.runtime.space.subnet import Subnet
from gearshift.trainer.data.rows import Row
from gearshift.trainer.model.run import Run
from tests.trainer.full_disk import fill_disk, needs_full_device

PRECISIONS = ("fp32", "int8")
GRANULARITIES = {"layer": 1, "block": 3, "pool": 4}
"""Layers of a stage; a block of 3 and one of 1 make stages of different lengths."""

UNEVEN = {
    "all": Subnet(((4, 64), (4, 64), (4, 64), (4, 64))),
    "mixed": Subnet(((4, 64), (2, 16), (0, 0), (4, 64))),
    "late": Subnet(((0, 0), (0, 0), (3, 33), (1, 16))),
    "early": Subnet(((2, 16), (2, 16), (0, 0), (0, 0))),
}
"""Subnets of which none holds all others' cuts, with different layers skipped."""


@pytest.fixture(scope="module", params=GRANULARITIES)
def bundle(
    request: pytest.FixtureRequest, run: Run, rows: tuple[Row, ...], tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    out = tmp_path_factory.mktemp(request.param) / "uneven.gearshift"
    layers = GRANULARITIES[request.param]
    return export_bundle(dataclasses.replace(run, subnets=UNEVEN), out, rows, layers_per_stage=layers).bundle


@pytest.fixture
def twelve(tiny_bundle: Path) -> Bundle:
    """The committed bundle of DynaBERT's twelve subnets."""
    return open_bundle(tiny_bundle)


def answers(bundle: Bundle) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    """(precision, subnet) and its logits of a text and of a padded batch."""
    padded = {name: np.repeat(array, 3, axis=0) for name, array in random_inputs(bundle, 12, seed=1).items()}
    padded["attention_mask"][1, 5:] = 0
    cases: tuple[Inputs, ...] = (random_inputs(bundle, 7), padded)
    for precision in bundle.precisions:
        session = ElasticSession(bundle, precision, threads=1)
        for name, entry in bundle.pool(precision).items():
            yield (precision, name), np.concatenate([session.run(inputs, entry.choice) for inputs in cases])
        session.close()


@pytest.fixture(scope="module")
def before(bundle: Bundle) -> dict[tuple[str, str], np.ndarray]:
    """Answers of the whole bundle."""
    return dict(answers(bundle))


def subsets(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [part for size in range(1, len(names) + 1) for part in itertools.combinations(names, size)]


@pytest.fixture(scope="module")
def trimmed(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Callable[[tuple[str, ...]], Bundle]:
    """Trim the bundle to these subnets, once for all tests. What it gives is not to be written to."""
    folder = tmp_path_factory.mktemp("trimmed")

    @functools.cache
    def trim(keep: tuple[str, ...]) -> Bundle:
        return trim_bundle(bundle, folder / "-".join(keep) / "smaller.gearshift", keep=keep)

    return trim


@pytest.mark.parametrize("keep", subsets(tuple(UNEVEN)), ids="+".join)
def test_every_kept_set_answers_bit_for_bit_as_before(
    before: dict[tuple[str, str], np.ndarray], trimmed: Callable[[tuple[str, ...]], Bundle], keep: tuple[str, ...]
) -> None:
    smaller = trimmed(keep)
    assert smaller == open_bundle(smaller.path)
    after = dict(answers(smaller))
    assert after.keys() == set(itertools.product(PRECISIONS, keep))
    for key, logits in after.items():
        assert np.array_equal(logits, before[key]), key
    for precision in PRECISIONS:
        assert check_packed(smaller.path / f"{precision}.onnx") > 0


@pytest.mark.parametrize("keep", subsets(tuple(UNEVEN)), ids="+".join)
def test_only_what_a_kept_subnet_uses_is_left(
    bundle: Bundle, trimmed: Callable[[tuple[str, ...]], Bundle], keep: tuple[str, ...]
) -> None:
    smaller = trimmed(keep)
    subnets = [UNEVEN[name] for name in keep]
    assert isinstance(bundle.manifest.space, Space)
    for precision in PRECISIONS:
        model = onnx.load(smaller.path / f"{precision}.onnx")  # with its weights: every place is right
        names = {tensor.name for tensor in model.graph.initializer}
        for layer, part in itertools.product(range(4), ("heads", "neurons")):
            widest = max(subnet.layers[layer][part == "neurons"] for subnet in subnets)
            starts = {int(name.split(".")[1].removeprefix(part)) for name in names if f"layer{layer}.{part}" in name}
            cuts = (bundle.manifest.space.head_cuts if part == "heads" else bundle.manifest.space.neuron_cuts)(layer)
            assert starts == {start for start in (0, *cuts[:-1]) if start < widest}, (layer, part)
        loaded = onnx.load(smaller.path / f"{precision}.onnx", load_external_data=False)
        offsets = [
            int(entry.value)
            for tensor in loaded.graph.initializer
            for entry in tensor.external_data
            if entry.key == "offset"
        ]
        assert offsets == sorted(offsets) and not any(offset % 64 for offset in offsets)
        switches = [node for node in loaded.graph.node if branches(node)]
        options = [len(stage.options) for stage in smaller.manifest.space.stages]
        assert len(switches) <= sum(number for number in options if number > 1)
        assert (len(keep) > 1) == bool(switches)
    with np.load(smaller.path / SELF_TEST) as arrays:
        assert {name for name in arrays.files if name.startswith("logits.")} == {
            f"logits.{precision}.{name}" for precision in PRECISIONS for name in keep
        }


@pytest.mark.parametrize("keep", [("all",), ("early", "late"), tuple(UNEVEN)], ids="+".join)
def test_the_size_is_known_before_anything_is_written(
    bundle: Bundle, trimmed: Callable[[tuple[str, ...]], Bundle], keep: tuple[str, ...]
) -> None:
    expected = Trimming(bundle).of(keep, "smaller").bytes
    assert size_of(trimmed(keep).path) == expected


def size_of(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.iterdir())


def test_keeping_everything_keeps_the_bytes_of_graphs_and_weights(bundle: Bundle, tmp_path: Path) -> None:
    same = trim_bundle(bundle, tmp_path / "uneven.gearshift", keep=tuple(UNEVEN))
    assert same.manifest.space == bundle.manifest.space
    assert same.manifest.pool == bundle.manifest.pool
    for precision in PRECISIONS:
        assert same.manifest.files[f"{precision}.weights"] == bundle.manifest.files[f"{precision}.weights"]


def test_a_trimmed_bundle_can_be_trimmed_again(bundle: Bundle, tmp_path: Path) -> None:
    once = trim_bundle(bundle, tmp_path / "once.gearshift", keep=("all", "mixed", "early"))
    twice = trim_bundle(once, tmp_path / "twice.gearshift", keep=("early",))
    at_once = trim_bundle(bundle, tmp_path / "at-once" / "twice.gearshift", keep=("early",))
    assert twice.manifest == at_once.manifest


def test_one_precision_alone_can_be_kept(twelve: Bundle, tmp_path: Path) -> None:
    smaller = trim_bundle(twelve, tmp_path / "smaller.gearshift", keep=("w050-d050",), precisions=("int8",))
    names = {path.name for path in smaller.path.iterdir()}
    assert names == {
        "README.md",
        "int8.onnx",
        "int8.weights",
        "manifest.json",
        "selftest.json",
        "selftest.npz",
        "tokenizer.json",
    }
    assert smaller.precisions == ("int8",)
    assert "w050-d050" in (smaller.path / "README.md").read_text()
    assert "w100-d100" not in (smaller.path / "README.md").read_text()


def test_order_and_repetition_of_names_do_not_matter(twelve: Bundle, tmp_path: Path) -> None:
    first = trim_bundle(twelve, tmp_path / "a" / "s.gearshift", keep=("w050-d050", "w100-d100", "w050-d050"))
    second = trim_bundle(twelve, tmp_path / "b" / "s.gearshift", keep=("w100-d100", "w050-d050"))
    assert first.manifest == second.manifest


# The largest size


def test_every_size_from_the_smallest_to_the_whole_is_kept_to(twelve: Bundle, tmp_path: Path) -> None:
    trimming = Trimming(twelve, ("int8",))
    pool = twelve.pool("int8")
    alone = {name: trimming.of([name]).bytes for name in pool}
    whole = trimming.of(tuple(pool)).bytes
    least = min(alone.values())
    counts = []
    for limit in np.linspace(least, whole, 7):
        kept = trimming.fitting(limit / 1e6)
        assert trimming.of(kept).bytes <= limit
        best = max(pool[name].accuracy for name in pool if alone[name] <= limit)
        assert max(pool[name].accuracy for name in kept) == best
        for name in pool:  # nothing more would fit
            assert name in kept or trimming.of([*kept, name]).bytes > limit
        counts.append(len(kept))
    assert counts == sorted(counts)
    assert counts[0] < 3 and counts[-1] == 12


def test_the_written_bundle_is_as_small_as_was_asked(twelve: Bundle, tmp_path: Path) -> None:
    smaller = trim_bundle(twelve, tmp_path / "smaller.gearshift", max_mb=0.3)
    assert size_of(smaller.path) <= 300_000 < size_of(twelve.path)
    assert len(smaller.pool("fp32")) > 1


def test_an_impossible_size_names_the_smallest_possible_one(twelve: Bundle, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no subnet fits into 0\.01 MB; expected (\d\.\d+) MB or more") as raised:
        trim_bundle(twelve, tmp_path / "smaller.gearshift", max_mb=0.01)
    smallest = float(str(raised.value).split("expected ")[1].split(" MB")[0])
    assert len(Trimming(twelve).fitting(smallest)) == 1
    with pytest.raises(InputError, match="no subnet fits"):
        Trimming(twelve).fitting(smallest - 0.001)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [0, -1, float("nan")])
def test_a_size_that_is_none_is_refused(twelve: Bundle, tmp_path: Path, size: float) -> None:
    with pytest.raises(InputError, match="no subnet fits"):
        trim_bundle(twelve, tmp_path / "smaller.gearshift", max_mb=size)


# What is refused


def test_an_unknown_subnet_lists_those_there_are(twelve: Bundle, tmp_path: Path) -> None:
    message = "unknown subnet 'w010-d100'; this bundle has w100-d100, w075-d100"
    with pytest.raises(UnknownSubnetError, match=message):
        trim_bundle(twelve, tmp_path / "smaller.gearshift", keep=("w100-d100", "w010-d100"))
    assert not list(tmp_path.iterdir())


def test_nothing_to_keep_is_refused(twelve: Bundle, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected at least one subnet to keep, of w100-d100"):
        trim_bundle(twelve, tmp_path / "smaller.gearshift", keep=())


def test_a_precision_that_the_bundle_lacks_is_named(twelve: Bundle, tmp_path: Path) -> None:
    int8 = trim_bundle(twelve, tmp_path / "int8.gearshift", keep=("w050-d050",), precisions=("int8",))
    with pytest.raises(BundleError, match="no fp32 graph in this bundle; it has int8"):
        trim_bundle(int8, tmp_path / "smaller.gearshift", keep=("w050-d050",), precisions=("fp32",))


def test_a_directory_that_is_no_bundle_is_not_replaced(twelve: Bundle, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("keep")
    with pytest.raises(StorageError, match=r"not empty and has no manifest\.json"):
        trim_bundle(twelve, mine, keep=("w050-d050",))
    assert [path.name for path in mine.iterdir()] == ["notes.txt"]


@needs_full_device
@pytest.mark.parametrize("name", ["fp32.weights", "int8.onnx", SELF_TEST, "manifest.json"])
def test_a_full_disk_leaves_the_old_bundle(
    twelve: Bundle, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "smaller.gearshift"
    old = trim_bundle(twelve, out, keep=("w100-d100",))
    fill_disk(monkeypatch, name)
    with pytest.raises(StorageError, match="No space left on device"):
        trim_bundle(twelve, out, keep=("w050-d050",))
    monkeypatch.undo()
    assert open_bundle(out) == old
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_trimming_needs_neither_torch_nor_transformers(tiny_bundle: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules.update(torch=None, transformers=None, optimum=None)\n"
        "from gearshift.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    out = tmp_path / "smaller.gearshift"
    arguments = ["trim", str(tiny_bundle), "-o", str(out), "--keep", "w050-d050", "--json"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["hash"] == open_bundle(out).hash
