"""Difference that it makes to a text in int8 whether it is answered alone or in a list.

    python -m benchmarks.serving.list_scores BUNDLE --rows FILE [--texts 600] [--list 32]

`FILE` has labelled rows that the bundle was not trained on. Every subnet answers each text alone, and in lists of 32 as
the engine batches them: the activation scale of a call is that of all its texts. A difference is that of a label's
score (a probability), the largest of the text's labels. Beside it stands the difference of int8 alone from fp32 alone.
No time is measured.

The published bundle is MiniLM-L6 on 4,000 rows of SST-2, trained in short:

    gearshift train --data sst2 -o run --teacher-epochs 1.5 --width-epochs .5 --depth-epochs .5 --widths 1,.5,.25
        --depths 1,.5 --random-subnets 1
    gearshift export run -o sst2.gearshift
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import markdown, save
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.inference.answers import probabilities
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.inference.text import TextEncoder
from gearshift.trainer.data.splits import read_data


@dataclass(frozen=True)
class Row:
    """A subnet: differences of scores over all texts, as quantiles, and the number of labels that change."""

    subnet: str
    median: float
    p99: float
    largest: float
    changed: int
    """Texts that get another label in a list than alone."""
    right_alone: float
    right_in_lists: float
    from_fp32_median: float
    from_fp32_largest: float
    changed_from_fp32: int
    """Texts that get another label in int8 alone than in fp32."""


def main() -> None:
    """Measure, print a table and write the results."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving.list_scores", description=__doc__.split("\n", 1)[0]
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--texts", type=int, default=600)
    parser.add_argument("--list", type=int, default=32, help="texts of a list")
    options = parser.parse_args()
    bundle, rows = open_bundle(options.bundle), read_data(options.rows).splits["test"][: options.texts]
    found = measure(bundle, [row.text for row in rows], [str(row.label) for row in rows], options.list)
    facts = {
        "command": f"python -m benchmarks.serving.list_scores {options.bundle.name} --rows {options.rows.name} "
        f"--texts {options.texts} --list {options.list}",
        "bundle": bundle.manifest.name,
        "texts": len(rows),
        "rows": [asdict(row) for row in found],
    }
    save(f"list-scores-{bundle.manifest.name}", facts, table(found, bundle.manifest.name, len(rows), options.list))


def measure(bundle: Bundle, texts: Sequence[str], labels: Sequence[str], count: int) -> list[Row]:
    """Measure a row per subnet."""
    wanted = np.array([bundle.manifest.labels.index(label) for label in labels])
    lists = [texts[start : start + count] for start in range(0, len(texts), count)]
    rows = []
    with (
        contextlib.closing(ElasticSession(bundle, "int8", threads=1)) as int8,
        contextlib.closing(ElasticSession(bundle, "fp32", threads=1)) as fp32,
    ):
        for name in bundle.pool("int8"):
            exact = scores(bundle, fp32, name, [[text] for text in texts])
            alone = scores(bundle, int8, name, [[text] for text in texts])
            together = scores(bundle, int8, name, lists)
            between, from_fp32 = (np.abs(other - alone).max(axis=1) for other in (together, exact))
            best, of_lists = alone.argmax(axis=1), together.argmax(axis=1)
            rows.append(
                Row(
                    name,
                    median=float(np.median(between)),
                    p99=float(np.percentile(between, 99)),
                    largest=float(between.max()),
                    changed=int((best != of_lists).sum()),
                    right_alone=float((best == wanted).mean()),
                    right_in_lists=float((of_lists == wanted).mean()),
                    from_fp32_median=float(np.median(from_fp32)),
                    from_fp32_largest=float(from_fp32.max()),
                    changed_from_fp32=int((best != exact.argmax(axis=1)).sum()),
                )
            )
            print(rows[-1])
    return rows


def scores(
    bundle: Bundle, session: ElasticSession, subnet: str, requests: Sequence[Sequence[str]]
) -> NDArray[np.float64]:
    """Return the probabilities (texts, labels) that a subnet gives for the texts of some requests."""
    encoder = TextEncoder(bundle)
    choice = np.asarray(bundle.entry(subnet, session.precision).choice, dtype=np.int64)
    return np.concatenate(
        [probabilities(np.stack(session.outputs(choice, encoder.encode(request)))) for request in requests]
    )


def table(rows: Sequence[Row], name: str, texts: int, count: int) -> list[str]:
    """Format a row each as Markdown."""
    header = [
        "subnet",
        "list - alone: median",
        "99 %",
        "largest",
        "other label",
        "right alone / in lists",
        "int8 - fp32: median",
        "largest",
        "other label",
    ]
    cells = [
        [
            row.subnet,
            *(f"{value:.4f}" for value in (row.median, row.p99, row.largest)),
            str(row.changed),
            f"{100 * row.right_alone:.1f} / {100 * row.right_in_lists:.1f} %",
            *(f"{value:.4f}" for value in (row.from_fp32_median, row.from_fp32_largest)),
            str(row.changed_from_fp32),
        ]
        for row in rows
    ]
    return [f"### {name}, int8: scores of {texts} texts, alone and in lists of {count}", "", *markdown(header, cells)]


if __name__ == "__main__":
    main()
