"""Page on the measurements of a bundle on a device: self-contained HTML, for a phone or a desk."""

from __future__ import annotations

from collections.abc import Sequence

from gearshift.drawing.bench_tables import ESTIMATED, Table
from gearshift.drawing.markup import escape
from gearshift.drawing.svg import STYLE, Chart, legend, svg
from gearshift.runtime.bench.result import Calibration

CSS = (
    ":root{color-scheme:light dark}*{box-sizing:border-box}"
    "body{font:16px/1.45 system-ui,sans-serif;max-width:52rem;margin:0 auto;padding:1rem;overflow-wrap:break-word}"
    "h1{font-size:1.35rem;margin:.2rem 0}h2{font-size:1.1rem;margin:1.6rem 0 .4rem}"
    ".lead{font-size:1.05rem}.small{font-size:.85rem;opacity:.8}"
    ".warn{border-left:4px solid #d32f2f;padding:.4rem .7rem;margin:.6rem 0;background:#d32f2f18}"
    ".scroll{overflow-x:auto;-webkit-overflow-scrolling:touch}"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.86rem}"
    "th,td{padding:.3rem .45rem;text-align:right;border-bottom:1px solid #8884;white-space:nowrap;vertical-align:top}"
    "th{white-space:normal;min-width:3.4rem}td.wrap{white-space:normal;min-width:6.4rem}"
    "th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:Canvas;min-width:7.2rem;max-width:9rem;"
    "white-space:normal}"
    f"tr.{ESTIMATED} td{{color:#b8860b;font-style:italic}}"
    "figure{margin:1rem 0}svg{width:100%;height:auto;max-width:40rem;display:block}"
    ".legend{margin:.2rem 0;font-size:.85rem}.legend span{margin-right:.9rem;white-space:nowrap}"
    ".legend i{display:inline-block;width:.7em;height:.7em;margin-right:.35em;border-radius:2px}"
    "summary{cursor:pointer;padding:.4rem 0}@media(min-width:60rem){.charts{display:grid;grid-template-columns:1fr 1fr;"
    "gap:0 1rem}body{max-width:72rem}}"
)


def html_report(
    calibration: Calibration, tables: Sequence[Table], charts: Sequence[Chart], details: Sequence[Table] = ()
) -> str:
    """Write the page: device and bundle, warnings, tables, charts, and tables that unfold."""
    bundle, device = calibration.bundle, calibration.device
    name = bundle.manifest.name
    memory = "" if device.memory_mb is None else f", {device.memory_mb / 1e3:.1f} GB"
    emulated = [] if device.emulator is None else [emulated_text(device.emulator)]
    warnings = "".join(f'<p class="warn">{escape(line)}</p>' for line in [*emulated, *calibration.warnings])
    hardware = f"{device.cpu_model}, {device.cores} cores{memory}, {device.machine}"
    versions = ", ".join(f"{package} {version}" for package, version in device.versions.items())
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(name)} on {escape(device.cpu_model)}</title><style>{CSS}{STYLE}</style></head><body>",
            f"<h1>{escape(name)}</h1>",
            f'<p class="lead">on {escape(hardware)}</p>',
            f'<p class="small">measured {escape(calibration.date)} in {calibration.seconds:.0f} s with '
            f"{escape(versions)}; bundle {bundle.hash[:12]}, device {device.key}</p>",
            warnings,
            *map(_table, tables),
            '<div class="charts">',
            *(f"<figure>{svg(chart)}{legend(chart)}</figure>" for chart in charts),
            "</div>",
            *(f"<details><summary>{escape(table.title)}</summary>{_body(table)}</details>" for table in details),
            _method(calibration),
            "</body></html>",
            "",
        ]
    )


def emulated_text(emulator: str) -> str:
    """Return a warning about times on an emulated CPU."""
    return f"this CPU is emulated by {emulator}: the figures show that everything runs, but the times mean nothing"


def _table(table: Table) -> str:
    return f"<section><h2>{escape(table.title)}</h2>{_body(table)}</section>"


def _body(table: Table) -> str:
    wrap = ' class="wrap"' if table.wrapped else ""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.header)
    rows = "".join(
        f"<tr{_mark(row)}>" + "".join(f"<td{wrap}>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows
    )
    note = f'<p class="small">{escape(table.note)}</p>' if table.note else ""
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{note}'


def _mark(row: Sequence[str]) -> str:
    return f' class="{ESTIMATED}"' if ESTIMATED in row else ""


def _method(calibration: Calibration) -> str:
    cores = sorted({core for measured in calibration.measured for core in measured.cores})
    kept = f"pinned to the CPUs {', '.join(map(str, cores))}" if cores else "not pinned to any CPU"
    governor = calibration.device.governor or "unknown"
    return (
        '<section><h2>How it was measured</h2><p class="small">'
        f"Wall clock of single calls, batch {_batches(calibration)}, random token ids, every precision and length in "
        f"turns in random order; {kept}; frequency governor {escape(governor)}. A subnet is predicted as the sum of "
        "its stages, fitted to all calls and shrunk towards its own. Calls that had to wait for a CPU were repeated. "
        f"CPU features: {escape(' '.join(calibration.device.cpu_features) or 'unknown')}.</p></section>"
    )


def _batches(calibration: Calibration) -> str:
    return ", ".join(sorted({str(measured.conditions.batch) for measured in calibration.measured})) or "1"
