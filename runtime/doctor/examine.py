"""Examine this device for running bundles: what it has, and what prevents it."""

from __future__ import annotations

import importlib
import platform
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gearshift import __version__
from gearshift.cpus import available_cpus
from gearshift.device_profiles import Fingerprint, read_fingerprint
from gearshift.errors import StorageError
from gearshift.extras import requirements
from gearshift.runtime.bundle.compressed import remove_damaged_copies, unpacked_entries
from gearshift.runtime.doctor.signals import Finding, Level, signal_findings
from gearshift.runtime.files.entries import Entries
from gearshift.runtime.packed.cache import PackedCache
from gearshift.runtime.profiles.own import find_profile
from gearshift.runtime.sensors.cpus import effective_cpus, find_cgroup
from gearshift.runtime.sensors.sensors import Sensors
from gearshift.versions import minimum, release_numbers

MINIMUM_PYTHON = (3, 11)

PACKAGES = ("numpy", "onnxruntime", "psutil", "tokenizers")
"""Packages that gearshift itself needs; the installed metadata holds the minimum version of each."""

WITHOUT = {"psutil"}
"""Packages that the runtime can do without: without psutil, sensors are unknown."""

SENSOR_INTERVAL_S = 0.25


@dataclass(frozen=True)
class Report:
    """All findings about this device."""

    findings: tuple[Finding, ...]
    device: Fingerprint
    effective_cpus: float

    @property
    def problem(self) -> str | None:
        """Errors as one line; None if there are none."""
        errors = [f"{f.subject}: {f.text}; {f.advice}" for f in self.findings if f.level == "error"]
        return "; ".join(errors) or None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON."""
        return {
            "ok": self.problem is None,
            "device": {**self.device.to_dict(), "key": self.device.key},
            "effective_cpus": self.effective_cpus,
            "findings": [dict(vars(finding)) for finding in self.findings],
        }

    def lines(self) -> list[str]:
        """Return a line for each finding, and an indented one for its advice, as for a terminal."""
        width = max((len(finding.subject) for finding in self.findings), default=0)
        lines = []
        for finding in self.findings:
            lines.append(f"{finding.level:<7}  {finding.subject:<{width}}  {finding.text}")
            if finding.advice:
                lines.append(f"{'':<7}  {'':<{width}}  -> {finding.advice}")
        return lines


WARNED = 3
"""Exit code if bundles run but something should be changed; 1 and 2 are errors and wrong usage, as for any command."""


def exit_code(report: Report) -> int:
    """Return the exit code by the worst finding: 0, WARNED for a warning, or 1 if something keeps bundles from running
    here."""
    if report.problem is not None:
        return 1
    return WARNED if any(finding.level == "warning" for finding in report.findings) else 0


def examine(
    *,
    root: Path = Path("/"),
    load: Callable[[str], Any] = importlib.import_module,
    sensors: Sensors | None = None,
    cpus: Collection[int] | None = None,
    cache: PackedCache | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Report:
    """Examine this device; takes a quarter of a second, because a load shows only between two readings, and the time to
    read all that is cached.

    `load`: imports a package by name. `cpus`: CPUs that this process may run on. `root`: directory that holds proc and
    sys.
    """
    packages = {name: _try_load(load, name) for name in PACKAGES}
    versions = {name: _version(module) for name, module in packages.items() if not isinstance(module, Exception)}
    device = read_fingerprint({"gearshift": __version__, "python": platform.python_version(), **versions}, root=root)
    allowed = available_cpus() if cpus is None else cpus
    effective = effective_cpus(root=root, cpus=allowed)
    sensors = sensors or Sensors(root=root)
    sensors.read()
    sleep(SENSOR_INTERVAL_S)
    findings = (
        *_software(sys.version_info[:3], packages),
        *_providers(packages["onnxruntime"]),
        *_cpu(device),
        *_limits(device, len(allowed), effective, root),
        *_governor(device, root),
        *signal_findings(sensors.read()),
        *_kept(cache or PackedCache()),
        *_profile(device),
    )
    return Report(findings, device, effective)


def _try_load(load: Callable[[str], Any], name: str) -> Any:
    """Import a module; return it, or the exception it failed with. Broken packages raise more than ImportError."""
    try:
        return load(name)
    except Exception as error:
        return error


def _version(module: Any) -> str:
    return str(getattr(module, "__version__", "unknown"))


def _software(python: tuple[int, ...], packages: Mapping[str, Any]) -> Iterator[Finding]:
    text = ".".join(map(str, python))
    if python < MINIMUM_PYTHON:
        least = ".".join(map(str, MINIMUM_PYTHON))
        yield Finding("error", "python", f"{text}; expected {least} or newer", f"install Python {least}")
    else:
        yield Finding("ok", "python", text)
    yield Finding("ok", "gearshift", __version__)
    versions = requirements()
    for name, module in packages.items():
        yield _package(name, minimum(versions.get(name, "")), module)


def _package(name: str, least: str | None, module: Any) -> Finding:
    """Return the finding for one package; `least` is None if gearshift runs from its source, without being
    installed."""
    bad: Level = "warning" if name in WITHOUT else "error"
    install = f'pip install "{name}>={least}"' if least else f"pip install {name}"
    expected = f"; expected {least} or newer" if least else ""
    if isinstance(module, ModuleNotFoundError):
        return Finding(bad, name, f"not installed{expected}", install)
    if isinstance(module, Exception):
        reason = " ".join(str(module).split())
        return Finding(
            bad, name, f"does not import ({type(module).__name__}: {reason})", f"{install} --force-reinstall"
        )
    version = _version(module)
    found = release_numbers(version)
    if least and found is not None and found < (release_numbers(least) or ()):
        return Finding(bad, name, f"{version}{expected}", install)
    return Finding("ok", name, version)


def _providers(onnxruntime: Any) -> Iterator[Finding]:
    if isinstance(onnxruntime, Exception):
        return
    try:
        providers = list(onnxruntime.get_available_providers())
    except Exception as error:
        yield Finding("error", "providers", f"onnxruntime does not list them ({error})", "reinstall onnxruntime")
        return
    yield Finding("ok", "providers", ", ".join(providers))


def _cpu(device: Fingerprint) -> Iterator[Finding]:
    features = set(device.cpu_features)
    yield Finding(
        "ok",
        "cpu",
        f"{device.cpu_model}, {device.machine}: {' '.join(device.cpu_features) or 'features unknown'}",
    )
    if not features:
        yield Finding("note", "int8", "whether this CPU has int8 instructions could not be read")
    elif device.machine == "x86_64" and not device.int8_dot_product:
        yield Finding(
            "note",
            "int8",
            "no VNNI: int8 gains less, and products of full-range int8 weights can saturate",
            "prefer fp32, or int8 with 7-bit weights; a bundle's self-test shows if its int8 is right here",
        )
    elif device.machine == "aarch64" and not device.int8_dot_product:
        yield Finding("note", "int8", "no dot-product instructions (asimddp): int8 gains less", "time both precisions")
    else:
        yield Finding("ok", "int8", "this CPU has int8 dot products")


def _limits(device: Fingerprint, allowed: int, effective: float, root: Path) -> Iterator[Finding]:
    limits = find_cgroup(root).limits()
    quota, memory = limits.cpu_quota, limits.memory_limit_bytes()
    reasons = []
    if allowed < device.cores:
        reasons.append(f"affinity allows {allowed}")
    if quota is not None and quota < device.cores:
        reasons.append(f"cgroup quota allows {quota:g}")
    text = f"{effective:g} of {device.cores} can be used" + "".join(f"; {reason}" for reason in reasons)
    if effective < 1:
        yield Finding("warning", "cpus", text, "a quota below one CPU stalls requests; raise it to 1 or more")
    else:
        yield Finding("note" if reasons else "ok", "cpus", text)
    if memory is not None:
        yield Finding("note", "memory limit", f"{memory / 1e6:.0f} MB for this cgroup")


def _governor(device: Fingerprint, root: Path) -> Iterator[Finding]:
    if device.governor is None:
        yield Finding("note", "governor", "unknown: this system shows no frequency governor")
    elif device.governor == "powersave" and not _scales_by_itself(root):
        yield Finding(
            "warning",
            "governor",
            "powersave holds the CPU at its lowest frequency",
            "set schedutil or performance: sudo cpupower frequency-set -g schedutil",
        )
    else:
        yield Finding("ok", "governor", device.governor)


def _scales_by_itself(root: Path) -> bool:
    """Return whether the hardware picks the frequency: `powersave` is then the normal mode and not slow."""
    try:
        driver = (root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_driver").read_text().strip()
    except OSError:
        return False
    return driver in {"intel_pstate", "amd-pstate-epp"}


def _profile(device: Fingerprint) -> Iterator[Finding]:
    """Give findings about the profile of this device, and whether it still holds."""
    if device.emulator is not None:
        text = f"this CPU is emulated by {device.emulator}: times measured here mean nothing"
        yield Finding("note", "emulated", text)
    found = find_profile(device)
    if found is None:
        text = f"none of this device ({device.key}) yet: the engine measures at every start"
        yield Finding("note", "profile", text, "gearshift bench BUNDLE")
        return
    held = f"{found.path}: {len(found.profile.tables)} latency tables, {len(found.profile.operators)} of operators"
    if found.stale is not None:
        yield Finding("warning", "profile", f"{held}; stale: {found.stale}", "gearshift bench BUNDLE")
    else:
        yield Finding("ok", "profile", held)


def _kept(cache: PackedCache) -> Iterator[Finding]:
    """Give findings about the caches that are kept between runs; entries that are damaged are removed."""
    places: dict[str, tuple[Callable[[], Entries], Callable[[], dict[Path, str]]]] = {
        "packed weights": (lambda: cache.kept, cache.remove_damaged),
        "unpacked bundles": (unpacked_entries, remove_damaged_copies),
    }
    for subject, (find, remove_damaged) in places.items():
        try:
            kept = find()
            damaged = remove_damaged()
            entries = kept.listed()
        except StorageError as error:
            yield Finding("note", subject, str(error))
            continue
        for place, wrong in damaged.items():
            text = f"{place}: was damaged ({wrong}), and is removed; it is made anew when it is needed"
            yield Finding("warning", subject, text, "if that happens again, look after the disk")
        held = f"{len(entries)} bundles, {sum(entries.values()) / 1e6:.0f} MB, whole" if entries else "empty"
        yield Finding("ok", subject, f"{kept.directory}: {held}")
