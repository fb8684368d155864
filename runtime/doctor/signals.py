"""Findings of the doctor from the sensors of this device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from gearshift.runtime.sensors.snapshot import Snapshot

LOW_MEMORY_MB = 400
"""Memory in 10^6 bytes below which it is low: one fp32 session of a BERT-base-sized bundle takes about 390 MB."""

HIGH_PRESSURE = 0.1
"""Share of the time that some process waits for a CPU above which latencies are seldom those of the unloaded device."""

HIGH_STALLS = 0.05
"""Share of a CPU quota's periods that ran out above which the slowest answers are late by a period."""

OTHERS = ("temperature", "clock", "throttling", "battery", "quota stalls", "energy")
"""Sensors that many devices lack; missing ones share a line."""


def signal_findings(snapshot: Snapshot) -> Iterator[Finding]:
    """Give a finding for each known signal, and the consequence of each unknown one."""
    yield from _load(snapshot)
    yield from _memory_pressure(snapshot)
    found = [*_heat(snapshot), *_supply(snapshot)]
    yield from found
    absent = [subject for subject in OTHERS if subject not in {finding.subject for finding in found}]
    if absent:
        yield Finding("ok", "not here", ", ".join(absent))


def _load(snapshot: Snapshot) -> Iterator[Finding]:
    others, pressure, memory = snapshot.others_cpu, snapshot.cpu_pressure, snapshot.memory_available_mb
    if others.value is None:
        yield _missing("others' cpu", "the engine learns the load from its own latencies alone")
    else:
        yield Finding("ok", "others' cpu", f"{others.value:.0%} of the CPUs that can be used")
    if pressure.value is None:
        yield _missing("cpu pressure", "Linux 4.20 or newer has it, if started with psi=1")
    elif pressure.value >= HIGH_PRESSURE:
        yield Finding("note", "cpu pressure", f"{pressure.value:.0%}: processes wait for CPUs", "expect slower answers")
    else:
        yield Finding("ok", "cpu pressure", f"{pressure.value:.0%}")
    if memory.value is None:
        yield _missing("memory", "the engine cannot see when memory runs short")
    elif memory.value < LOW_MEMORY_MB:
        text = f"{memory.value:.0f} MB available"
        yield Finding("warning", "memory", text, f"a BERT-base-sized bundle wants about {LOW_MEMORY_MB} MB")
    else:
        yield Finding("ok", "memory", f"{memory.value:.0f} MB available")


def _memory_pressure(snapshot: Snapshot) -> Iterator[Finding]:
    waits = snapshot.memory_pressure.value
    if waits is not None and waits >= HIGH_PRESSURE:
        text = f"{waits:.0%}: processes wait for memory"
        yield Finding("warning", "memory pressure", text, "end what is not needed, or trim the bundle")
    elif waits is not None:
        yield Finding("ok", "memory pressure", f"{waits:.0%}")


def _heat(snapshot: Snapshot) -> Iterator[Finding]:
    degrees, limit = snapshot.temperature_c.value, snapshot.temperature_limit_c.value
    if degrees is not None and limit is not None:
        text = f"{degrees:.0f} C; the device slows down from {limit:.0f} C"
        if degrees >= limit:
            yield Finding("warning", "temperature", text, "cool it before measuring: this is not its usual speed")
        else:
            yield Finding("ok", "temperature", text)
    if snapshot.frequency.value is not None:
        yield Finding("ok", "clock", f"{snapshot.frequency.value:.0%} of the highest, low also when idle")
    if snapshot.throttled.value:
        text = "the clock is held down now"
        yield Finding("warning", "throttling", text, "cool the device, or give it a stronger power supply")
    elif snapshot.throttled.known:
        yield Finding("ok", "throttling", "none now")


def _supply(snapshot: Snapshot) -> Iterator[Finding]:
    charge, plugged, stalls = snapshot.battery.value, snapshot.plugged.value, snapshot.quota_stalls.value
    if charge is not None:
        source = {None: "mains unknown", 1.0: "on mains", 0.0: "on battery"}[plugged]
        yield Finding("ok", "battery", f"{charge:.0%}, {source}")
    if stalls is not None and stalls >= HIGH_STALLS:
        text = f"{stalls:.0%} of the periods of the CPU quota ran out"
        yield Finding("warning", "quota stalls", text, "raise the quota, or use fewer threads")
    elif stalls is not None:
        yield Finding("ok", "quota stalls", f"{stalls:.0%}")
    kinds = [energy.kind for energy in snapshot.energies if energy.kind != "cpu"]
    if kinds:
        yield Finding("ok", "energy", f"counted in joules by {' and '.join(kinds)}")


def _missing(subject: str, advice: str) -> Finding:
    return Finding("note", subject, "sensor not found", advice)


Level = Literal["ok", "note", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """A fact about the device, and advice."""

    level: Level
    subject: str
    text: str
    advice: str = ""
    """Text on what to do; empty if there is nothing to do."""
