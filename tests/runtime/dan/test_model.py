"""A DAN on the device."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from gearshift.errors import InputError, IntegrityError
from gearshift.runtime.dan.model import Dan, Dense, Floats, fold, open_dan, pack, save_dan
from gearshift.runtime.dan.ngrams import keys
from gearshift.runtime.dan.threshold import DanCalibration

TEXT, OTHER = "a film of great charm, and a film of wit", "a dull film"
WIDTH, HIDDEN, LABELS = 12, 5, 3


def _parts(*, paired: bool = False) -> tuple[dict[int, int], Floats, Dense]:
    source = np.random.default_rng(0)

    def draw(*shape: int) -> Floats:
        return source.normal(size=shape).astype(np.float32)

    known = np.unique(np.concatenate([keys(TEXT, 4), keys(OTHER, 4)]))[::2]
    inputs = 4 * WIDTH if paired else WIDTH
    dense = Dense(draw(HIDDEN, inputs), draw(HIDDEN), draw(LABELS, HIDDEN), draw(LABELS))
    return {int(key): row for row, key in enumerate(known)}, draw(len(known), WIDTH), dense


def _made(precision: str = "fp32", *, paired: bool = False, folded: bool = False) -> Dan:
    known, table, dense = _parts(paired=paired)
    if folded:
        table, dense = fold(table, dense)
    return pack(np.array(list(known), np.uint64), table, dense, precision=precision, longest=4, paired=paired)


def _by_hand(text: str | tuple[str, str]) -> Floats:
    """The paper's formula over a Python dictionary."""
    paired = not isinstance(text, str)
    known, table, dense = _parts(paired=paired)

    def mean(part: str) -> Floats:
        found: Floats = table[[known[key] for key in keys(part, 4).tolist() if key in known]].mean(0)
        return found

    if isinstance(text, str):
        inputs = mean(text)
    else:
        one, two = map(mean, text)
        inputs = np.concatenate([one, two, one * two, np.abs(one - two)])
    assert dense.hidden_weight is not None
    hidden = np.maximum(dense.hidden_weight @ inputs + dense.hidden_bias, 0)
    with np.errstate(invalid="ignore"):  # of vector lanes that are no part of the result; a NaN in it still fails
        logits: Floats = dense.output_weight @ hidden + dense.output_bias
    return logits


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("int8", 0.05)])
def test_it_gives_the_papers_logits_from_a_file(tmp_path: Path, precision: str, tolerance: float, folded: bool) -> None:
    made = _made(precision, folded=folded)
    save_dan(tmp_path / "dan", made)
    dan = open_dan(tmp_path / "dan")
    assert dan.precision == precision and dan.parameters == made.parameters and dan.macs == made.macs
    np.testing.assert_allclose(dan.run([TEXT, OTHER]), [_by_hand(TEXT), _by_hand(OTHER)], atol=tolerance)


def test_a_pair_has_its_product_and_difference() -> None:
    np.testing.assert_allclose(_made(paired=True).run([(TEXT, OTHER)])[0], _by_hand((TEXT, OTHER)), atol=1e-5)


@pytest.mark.parametrize("text", ["", "   ", "unheard", "\ud800"])
def test_a_text_without_known_ngrams_is_answered_by_the_biases_and_says_so(text: str) -> None:
    _, _, dense = _parts()
    logits, known = _made().logits(text)
    assert known == 0
    np.testing.assert_allclose(
        logits, dense.output_weight @ np.maximum(dense.hidden_bias, 0) + dense.output_bias, atol=1e-6
    )


def test_it_says_how_many_ngrams_it_knew() -> None:
    known, _, _ = _parts()
    assert _made().logits(TEXT)[1] == sum(key in known for key in keys(TEXT, 4).tolist()) > 0


def test_a_row_of_zeros_stays_zero_in_int8() -> None:
    known, table, dense = _parts()
    dan = pack(np.array(list(known), np.uint64), table * 0, dense, precision="int8", longest=4, paired=False)
    assert np.isfinite(dan.run([TEXT])).all() and not dan.rows.any()


@pytest.mark.parametrize("paired", [False, True])
def test_a_pair_for_a_single_text_is_refused(paired: bool) -> None:
    with pytest.raises(InputError, match="expected a pair" if paired else "expected one text"):
        _made(paired=paired).run([TEXT if paired else (TEXT, OTHER)])


def test_a_file_cut_off_anywhere_is_said(tmp_path: Path) -> None:
    save_dan(tmp_path / "dan", _made("int8"))
    content = (tmp_path / "dan").read_bytes()
    for length in range(0, len(content), 37):
        (tmp_path / "cut").write_bytes(content[:length])
        with pytest.raises(IntegrityError, match=r"cut: expected a whole safetensors file"):
            open_dan(tmp_path / "cut")


def test_a_corrupt_index_names_the_file(tmp_path: Path) -> None:
    dan = _made("int8")
    save_dan(tmp_path / "dan", dan)
    content = (tmp_path / "dan").read_bytes()
    for array in (dan.index.displacements, dan.index.prints):
        place = content.index(array.tobytes())
        (tmp_path / "dan").write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(IntegrityError, match=r"dan: not a whole DAN .*index was altered"):
            open_dan(tmp_path / "dan")


def test_arrays_that_do_not_fit_are_refused() -> None:
    known, table, dense = _parts()
    with pytest.raises(IntegrityError, match="shapes"):
        pack(np.array(list(known), np.uint64), table[:, 1:], dense, precision="int8", longest=4, paired=False)


@pytest.mark.parametrize("sure", [[], [0.9, 0.6]])
def test_a_calibration_is_kept(tmp_path: Path, sure: list[float]) -> None:
    calibration = DanCalibration(50, np.array(sure, np.float32))
    save_dan(tmp_path / "dan", dataclasses.replace(_made("int8"), calibration=calibration))
    found = open_dan(tmp_path / "dan").calibration
    assert found is not None and found.rows == 50
    np.testing.assert_array_equal(found.disagreements, calibration.disagreements)


def test_another_format_is_refused(tmp_path: Path) -> None:
    from gearshift.runtime.files.tensor_file import write_tensors

    write_tensors(tmp_path / "dan", {"rows": np.zeros(3, np.float32)}, {"format": "other", "version": 1})
    with pytest.raises(IntegrityError, match="found 'other' 1"):
        open_dan(tmp_path / "dan")
