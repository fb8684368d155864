"""Rules that turn the history of sensor signals into a cap on subnets and a release of pages. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gearshift.errors import InputError
from gearshift.runtime.sensors.caps import NO_CAPS, Caps, Stepper, strictest
from gearshift.runtime.sensors.snapshot import OLDEST_S, Reading, Snapshot

HORIZON_S = 15.0
"""Horizon of the forecast in seconds: shorter than one time constant, where the slope alone nearly determines it."""

TIME_CONSTANT_S = 60.0
"""Thermal time constant in seconds of a small board with a heat sink. Its value matters little: with half or twice of
it the forecast rise over HORIZON_S is 11 % smaller or 6 % larger."""

LEAST_SPAN_S = 3.0
"""Shortest span in seconds for a slope; over less it is noise, since many sensors count whole degrees."""


def forecast_c(
    samples: Sequence[tuple[float, float]], *, horizon_s: float = HORIZON_S, time_constant_s: float = TIME_CONSTANT_S
) -> float | None:
    """Predict the degrees Celsius `horizon_s` after the last sample; None without samples.

    `samples`: (seconds, degrees), oldest first.
    The RC model dT/dt = (T_end - T) / tau gives T + s tau (1 - exp(-horizon / tau)), with the slope s of the
    least-squares line through the samples. Over less than LEAST_SPAN_S the slope counts as 0.
    """
    if not samples:
        return None
    last = samples[-1][1]
    if samples[-1][0] - samples[0][0] < LEAST_SPAN_S:
        return last
    return last + _slope(samples) * time_constant_s * -math.expm1(-horizon_s / time_constant_s)


def _slope(samples: Sequence[tuple[float, float]]) -> float:
    mean_s = sum(time for time, _ in samples) / len(samples)
    mean_c = sum(degrees for _, degrees in samples) / len(samples)
    spread = sum((time - mean_s) ** 2 for time, _ in samples)
    return sum((time - mean_s) * (degrees - mean_c) for time, degrees in samples) / spread


WINDOW_S = 10.0
"""Length in seconds of the history for the slope of the temperature and the mean of the power."""

SCHMITT_C = 4.0
"""Hysteresis of heat: degrees below the limit that a forecast must stay before a larger subnet is tried."""

CALM_SHARE = 0.8
"""Hysteresis of power: share of the budget that power must stay below before a larger subnet is tried."""

CALM_PRESSURE = 0.02
CALM_MEMORY = 1.5
"""Hysteresis of memory: largest share of the time that some process waits for it, and multiple of the required free
memory, before a larger subnet is tried."""

BATTERY_SCHMITT = 0.03
"""Hysteresis of the battery: charge above the edge of a tier at which the tier is left without mains."""

HEAT_PAUSE_S = LEAST_SPAN_S
MEMORY_PAUSE_S = 10.0
"""Least seconds between two steps down: the time to measure a slope, and the span that /proc/pressure averages over."""

RELEASE_LASTS_S = 30.0
"""Seconds that a release of pages must last: if memory is short again sooner, the cap steps down as well."""


@dataclass(frozen=True)
class Rules:
    """Limits of heat, battery, memory and power that the slow loop keeps; set by the user."""

    limit_c: float | None = None
    """Temperature to stay below in degrees Celsius; None: the one at which the device throttles, by its sensor."""
    battery: tuple[tuple[float, float], ...] = ((0.5, 1 / 3), (0.2, 2 / 3))
    """Tiers (charge, part): below this charge, without mains, this part of the ladder is left out. Empty: no cap."""
    least_memory_mb: float = 64.0
    """Least available memory in 10^6 bytes; less counts as short."""
    most_memory_pressure: float = 0.1
    """Largest share of the time that some process may wait for memory."""
    max_watts: float | None = None
    """Largest mean power in watts of the device (battery) or its processor (RAPL); ignored if neither can be read."""
    max_cpus: float | None = None
    """Largest mean number of CPUs that this process may keep busy: a budget that needs no power sensor."""

    def __post_init__(self) -> None:
        for name in ("limit_c", "max_watts", "max_cpus"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{name}: expected a positive number or None, got {value!r}")
        if not 0 <= self.least_memory_mb < math.inf:
            raise InputError(f"least_memory_mb: expected 0 or more, got {self.least_memory_mb!r}")
        if not 0 < self.most_memory_pressure <= 1:
            got = self.most_memory_pressure
            raise InputError(f"most_memory_pressure: expected a share above 0 and up to 1, got {got!r}")
        for tier in self.battery:
            if len(tier) != 2 or not all(0 <= share <= 1 for share in tier):
                raise InputError(f"battery: expected tiers of a charge and a part, each from 0 to 1, got {tier!r}")


DEFAULT_RULES = Rules()
UNCAPPED = Stepper()


@dataclass(frozen=True)
class State:
    """State of the rules: their memory, and the caps and the release that they ask for now."""

    now_s: float = -math.inf
    """Moment of the last step of the rules in seconds, on the clock of the snapshots."""
    history: tuple[Snapshot, ...] = ()
    """Snapshots of the last WINDOW_S, oldest first."""
    heat: Stepper = UNCAPPED
    memory: Stepper = UNCAPPED
    power: Stepper = UNCAPPED
    battery: int = 0
    """Number of rungs left out for the battery."""
    released_s: float = -math.inf
    """Moment of the last release of pages."""
    release: bool = False
    """Whether pages are to be given back now."""
    caps: Caps = NO_CAPS


START = State()


def advance(
    state: State,
    snapshot: Snapshot | None,
    now: float,
    *,
    rungs: int,
    rules: Rules = DEFAULT_RULES,
    can_release: bool = False,
) -> State:
    """Return the state after one more snapshot (None: it could not be read), for a ladder of `rungs`.

    `now` is on the clock of the snapshot. An unknown signal asks for nothing: a cap in force is lifted again step by
    step. A clock that jumps back starts a new history and keeps the caps. A `now` that is not a finite number changes
    nothing.
    """
    if not math.isfinite(now):
        return replace(state, release=False)
    if now < state.now_s:
        steppers = {name: getattr(state, name).rebased(now) for name in ("heat", "memory", "power")}
        state = replace(state, history=(), released_s=-math.inf, **steppers)
    usable = snapshot is not None and 0 <= now - snapshot.taken_s <= OLDEST_S
    seen = snapshot if usable else None
    kept = tuple(one for one in state.history if 0 <= now - one.taken_s <= WINDOW_S)
    state = replace(state, now_s=now, history=(*kept, seen) if seen else kept, release=False)
    last = rungs - 1
    state = replace(state, heat=_heat(state, seen, last, rules), power=_power(state, seen, last, rules))
    state = replace(state, battery=_battery(state.battery, seen, now, last, rules))
    state = _memory(state, seen, last, rules, can_release=can_release)
    levels = {
        "temperature": state.heat.level,
        "power": state.power.level,
        "battery": state.battery,
        "memory": state.memory.level,
    }
    return replace(state, caps=strictest(Caps(level, (why,)) for why, level in levels.items() if level))


def known(reading: Reading, snapshot: Snapshot, now: float) -> float | None:
    """Return the value of a reading; None if it is unknown, not a finite number, or older than OLDEST_S."""
    if reading.value is None or not math.isfinite(reading.value):
        return None
    age_s = now - snapshot.taken_s + (reading.age_s or 0.0)
    return reading.value if 0 <= age_s <= OLDEST_S else None


def _heat(state: State, seen: Snapshot | None, last: int, rules: Rules) -> Stepper:
    """Step down if the forecast reaches the limit or the device throttles already; step up if both are far."""
    pressed, calm = False, True
    if seen is not None:
        limit_c = rules.limit_c or known(seen.temperature_limit_c, seen, state.now_s)
        throttled = bool(known(seen.throttled, seen, state.now_s))
        samples = _temperatures(state.history)
        if known(seen.temperature_c, seen, state.now_s) is None:
            samples = []
        ahead_c = forecast_c(samples)
        if ahead_c is None or limit_c is None:
            pressed, calm = throttled, not throttled
        else:
            pressed = throttled or ahead_c >= limit_c
            calm = not throttled and max(ahead_c, samples[-1][1]) <= limit_c - SCHMITT_C
    return state.heat.next(pressed=pressed, calm=calm, now=state.now_s, last=last, pause_s=HEAT_PAUSE_S)


def _temperatures(history: Sequence[Snapshot]) -> list[tuple[float, float]]:
    """Return (seconds, degrees) of the snapshots whose temperature is known."""
    found = [(one.taken_s, known(one.temperature_c, one, one.taken_s)) for one in history]
    return [(taken_s, degrees) for taken_s, degrees in found if degrees is not None]


def _power(state: State, seen: Snapshot | None, last: int, rules: Rules) -> Stepper:
    """Step down if the mean since the last change is above a budget; step up if it is well below all of them."""
    rates = [] if seen is None else _rates(state.history, seen, rules, since_s=state.power.changed_s)
    return state.power.next(
        pressed=any(rate > 1 for rate in rates),
        calm=all(rate < CALM_SHARE for rate in rates),
        now=state.now_s,
        last=last,
        pause_s=LEAST_SPAN_S,
    )


def _rates(history: Sequence[Snapshot], seen: Snapshot, rules: Rules, *, since_s: float) -> list[float]:
    """Return mean power / budget for each budget that can be checked."""
    rates = []
    for budget, kinds in ((rules.max_watts, ("rapl", "fuel_gauge")), (rules.max_cpus, ("cpu",))):
        spent = (_spent(history, seen, kind, since_s) for kind in kinds) if budget is not None else ()
        rate = next((one for one in spent if one is not None), None)
        if budget is not None and rate is not None:
            rates.append(rate / budget)
    return rates


def _spent(history: Sequence[Snapshot], seen: Snapshot, kind: str, since_s: float) -> float | None:
    """Return the mean power of one kind over the history; None over less than LEAST_SPAN_S."""
    after = next((energy for energy in seen.energies if energy.kind == kind), None)
    marks = [energy for one in history if one.taken_s >= since_s for energy in one.energies if energy.kind == kind]
    spent = after.since(marks[0]) if after is not None and marks else None
    return spent.rate if spent is not None and spent.over_s >= LEAST_SPAN_S else None


def _battery(level: int, seen: Snapshot | None, now: float, last: int, rules: Rules) -> int:
    """Return the number of rungs that the charge leaves out; 0 on mains, and 0 if charge or mains are unknown."""
    if seen is None or known(seen.plugged, seen, now) != 0:
        return 0
    charge = known(seen.battery, seen, now)
    if charge is None:
        return 0
    tier = _tier(charge, last, rules)
    return tier if tier >= level else min(level, _tier(charge - BATTERY_SCHMITT, last, rules))


def _tier(charge: float, last: int, rules: Rules) -> int:
    return round(last * max((part for edge, part in rules.battery if charge < edge), default=0.0))


def _memory(state: State, seen: Snapshot | None, last: int, rules: Rules, *, can_release: bool) -> State:
    """Release pages first; if that does not last, step down, and release the pages that are then not needed."""
    now = state.now_s
    pressed, calm = _memory_is_short(seen, now, rules)
    since_s = now - state.released_s
    release = can_release and pressed and since_s >= MEMORY_PAUSE_S
    first = can_release and (since_s >= RELEASE_LASTS_S or since_s < MEMORY_PAUSE_S)
    stepper = state.memory.next(pressed=pressed and not first, calm=calm, now=now, last=last, pause_s=MEMORY_PAUSE_S)
    return replace(state, memory=stepper, release=release, released_s=now if release else state.released_s)


def _memory_is_short(seen: Snapshot | None, now: float, rules: Rules) -> tuple[bool, bool]:
    """Return whether memory is short, and whether there is plenty."""
    if seen is None:
        return False, True
    waits = known(seen.memory_pressure, seen, now)
    free = [known(one, seen, now) for one in (seen.memory_available_mb, seen.cgroup_headroom_mb)]
    least = min((one for one in free if one is not None), default=math.inf)
    pressed = least < rules.least_memory_mb or (waits is not None and waits >= rules.most_memory_pressure)
    calm = least >= CALM_MEMORY * rules.least_memory_mb and (waits is None or waits <= CALM_PRESSURE)
    return pressed, calm
