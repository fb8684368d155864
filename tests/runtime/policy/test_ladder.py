"""The ladder is the Pareto front of the pool under the device's own table."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from gearshift.device_profiles.profile import LatencyTable
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.engine import Engine
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.profiles.store import save_table
from gearshift.runtime.space.subnet import Subnet
from gearshift.runtime.startup import Loaded

NARROW_AND_SHALLOW = ("w100-d100", "w050-d100", "w100-d050", "w025-d100", "w050-d050")


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    """Narrow subnets and shallow ones; more accurate are those that keep more layers, then the wider ones."""
    found = open_bundle(tiny_bundle)
    shares = dict(zip(NARROW_AND_SHALLOW, (0.9, 0.8, 0.7, 0.6, 0.5), strict=True))
    pool = tuple(
        dataclasses.replace(entry, accuracy=shares[entry.name]) for entry in found.manifest.pool if entry.name in shares
    )
    return dataclasses.replace(found, manifest=dataclasses.replace(found.manifest, pool=pool))


def latencies(bundle: Bundle, *, attention_ms: float, neuron_ms: float) -> LatencyTable:
    """Make the table of a device on which the attention of a layer, however narrow, and a neuron take so long."""
    times: dict[str, tuple[float, ...]] = {}
    for name, entry in bundle.pool("fp32").items():
        assert isinstance(entry.subnet, Subnet)
        times[name] = (sum((attention_ms + neuron_ms * kept.neurons for kept in entry.subnet.kept()), 0.0),)
    return LatencyTable(bundle.hash, "fp32", "CPUExecutionProvider", 1, (16,), times, times, 5, "made up", "2026-01-31")


def ladder_of(bundle: Bundle, table: LatencyTable) -> tuple[str, ...]:
    """Return what the engine switches between."""
    with Engine(Loaded.of(bundle, ElasticSession(bundle, "fp32", threads=1), table)) as engine:
        return tuple(engine.ladder)


def test_a_device_with_slow_attention_takes_another_ladder_of_the_same_pool(bundle: Bundle) -> None:
    even = ladder_of(bundle, latencies(bundle, attention_ms=0.01, neuron_ms=0.01))
    slow = ladder_of(bundle, latencies(bundle, attention_ms=10.0, neuron_ms=0.01))
    assert "w025-d100" in even and "w025-d100" not in slow
    assert "w100-d050" in slow and slow[0] == even[0] == "w100-d100"


def test_the_profile_of_another_device_gives_another_ladder_of_the_bundle_as_it_is(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    bundle = open_bundle(tiny_bundle)
    ladders = []
    for attention_ms in (0.001, 10.0):
        path = tmp_path / f"{attention_ms}.json"
        save_table(path, latencies(bundle, attention_ms=attention_ms, neuron_ms=0.01))
        with Engine.load(tiny_bundle, threads=1, precision="fp32", profile=path) as engine:
            ladders.append(tuple(engine.ladder))
    even, slow = ladders
    assert even != slow and even[0] == slow[0]
