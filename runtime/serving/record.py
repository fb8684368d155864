"""Records of a request and of the engine that ran it: plain values, sufficient for a replay or a plot.

Of a ranking the first decision can be made again, not the second, which goes by the scores of the texts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from gearshift.device_profiles.profile import LatencyTable
from gearshift.errors import DataError
from gearshift.number_checks import is_finite, is_whole
from gearshift.runtime.batches import Work, work_of
from gearshift.runtime.policy.objective import BEST_EFFORT, DEFAULT_TUNING, REJECT, Objective, Tuning
from gearshift.runtime.sensors.caps import NO_CAPS, Caps
from gearshift.schema import Schema

SCHEMA = Schema(version=2, advice="use the gearshift it is of", error=DataError)
"""Schema of the lines of a log. The header names the version; `modern` reads older lines, newer ones are refused."""

SHED, CANCELLED = "shed", "cancelled"
"""Kinds of failure that have no exception of their own in the engine; others are named by their exception."""

IN_TIME, LATE, NO_DEADLINE = "in_time", "late", "no_deadline"
"""Outcomes of a request that was answered; the outcome of any other is its `error`."""


@dataclass(frozen=True, slots=True)
class SecondPass:
    """Second pass over the best texts of a ranking."""

    subnet: str
    tokens: tuple[int, ...]
    """Number of tokens of each row."""
    expected_ms: float
    """Median in ms on the unloaded device, by the latency table."""
    predicted_ms: float
    """Bound in ms that the graph was predicted to stay under."""
    run_ms: float
    """Time of the graph in ms."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON."""
        return {**asdict(self), "tokens": list(self.tokens)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> SecondPass:
        """Read the pass that `to_dict` wrote."""
        values = _named_fields(raw, {one.name for one in fields(cls)})
        times = {name: _number(values[name]) for name in ("expected_ms", "predicted_ms", "run_ms")}
        return cls(subnet=str(values["subnet"]), tokens=tuple(map(_whole, values["tokens"])), **times)


@dataclass(slots=True, kw_only=True)
class RequestRecord:
    """Record of one request (a list of texts is one): its inputs, its decision and its outcome.

    A field is None if it does not apply: a request that was shed has no subnet, one without a deadline no slack.
    """

    arrival_s: float
    """Moment of the arrival in seconds on the engine's clock: only differences have a meaning."""
    time: float = 0.0
    """Moment of the record in seconds since 1970."""
    tokens: tuple[int, ...] = ()
    """Number of tokens of each text, without padding; empty if it was not tokenized."""
    batched: bool = True
    """Whether texts of similar length ran in one call; absent from the log if they did."""
    together: int = 1
    """Number of texts of the queue that ran in the same call, each with a record; absent from the log if it ran alone.
    Times and slow-down are those of the call."""
    ranked: int = 0
    """Number of texts that were ranked; absent from the log if none were. `subnet` and its times are then of the first
    pass."""
    second: SecondPass | None = None
    """Second pass of a ranking; absent from the log if there was none."""
    deadline_ms: float | None = None
    """Deadline in ms from the arrival on; None without one."""
    slack_ms: float | None = None
    """Time in ms left for the graph when the subnet was chosen."""
    waited_ms: float = 0.0
    """Time in ms in the queue of `submit`."""
    queued: bool = False
    """Whether it came through `submit` and could wait."""
    backlog: tuple[tuple[Work, float], ...] = ()
    """(work, slack in ms) of the requests that waited behind it when the subnet was chosen; slack is infinite without a
    deadline."""
    tokenizing_ms: float = 0.0
    subnet: str | None = None
    reason: str | None = None
    """Reason of the decision, as in `policy.Decision`."""
    expected_ms: float | None = None
    """Median in ms for such texts on the unloaded device, by the latency table."""
    predicted_ms: float | None = None
    """Bound in ms that the graph was predicted to stay under: expected_ms x factor."""
    factor: float | None = None
    """Tail of the slow-down when the subnet was chosen."""
    run_ms: float | None = None
    """Time of the graph in ms."""
    latency_ms: float | None = None
    """Time in ms from the arrival to the finished answer."""
    met: bool | None = None
    """Whether the answer kept the deadline; None without a deadline or an answer."""
    learnt_s: float | None = None
    """Moment in seconds at which the controller learnt from the outcome, on the same clock as `arrival_s`."""
    slow_down: float | None = None
    """Estimated slow-down after this request."""
    level: int = 0
    """First rung of the ladder that caps and back-off allowed for this request."""
    caps: Caps = NO_CAPS
    """Caps alone; if `level` is further down the ladder, back-off held back the rungs above it."""
    signals: Mapping[str, float] = field(default_factory=dict)
    """Sensor signals that were known, by name: `others_cpu` .7, `memory_available_mb` 512 and so on."""
    error: str | None = None
    """Kind of the failure if there was no answer, such as `shed` or `cancelled`; else None."""

    @property
    def work(self) -> Work:
        """Work of the request: tokens and number of texts of each call of the graph."""
        return work_of(self.tokens, batch=self.batched)

    @property
    def ratio(self) -> float | None:
        """Slow-down of this one request: observed / expected time of the graph."""
        return None if self.run_ms is None or not self.expected_ms else self.run_ms / self.expected_ms

    @property
    def outcome(self) -> str:
        """Outcome: `in_time`, `late`, `no_deadline`, or the kind of the error."""
        if self.error is not None:
            return self.error
        return NO_DEADLINE if self.met is None else IN_TIME if self.met else LATE

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON; a number that is not finite, which JSON lacks, becomes None."""
        return {
            "kind": "request",
            **{name: _plain(getattr(self, name)) for name in _NUMBERS_AND_NAMES},
            "tokens": list(self.tokens),
            **({} if self.batched else {"batched": False}),
            **({} if self.together == 1 else {"together": self.together}),
            **({"ranked": self.ranked} if self.ranked else {}),
            **({} if self.second is None else {"second": self.second.to_dict()}),
            "backlog": [[list(map(list, work)), _plain(slack)] for work, slack in self.backlog],
            "caps": {"largest": self.caps.largest, "reasons": list(self.caps.reasons)},
            "signals": {name: value for name, value in self.signals.items() if math.isfinite(value)},
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> RequestRecord:
        """Read the record that `to_dict` wrote; raises DataError that says what is wrong with it."""
        return SCHEMA.read_part(raw, cls.from_fields, "a request")

    @classmethod
    def from_fields(cls, raw: Mapping[str, Any]) -> RequestRecord:
        values = _named_fields({**_SELDOM, **raw}, {one.name for one in fields(cls)})
        caps = Caps(largest=_whole(values["caps"]["largest"]), reasons=tuple(map(str, values["caps"]["reasons"])))
        tokens = tuple(map(_whole, values["tokens"]))
        backlog = tuple(
            (_work(work), math.inf if slack is None else _number(slack)) for work, slack in values["backlog"]
        )
        signals = {str(name): _number(value) for name, value in values["signals"].items()}
        plain = {name: _PLAIN_KINDS[name](values[name]) for name in _NUMBERS_AND_NAMES}
        others: dict[str, Any] = {
            "tokens": tokens,
            "batched": _truth(values["batched"]),
            "backlog": backlog,
            "signals": signals,
        }
        passes = {
            "together": _whole(values["together"]),
            "ranked": _whole(values["ranked"]),
            "second": None if values["second"] is None else SecondPass.from_dict(values["second"]),
        }
        return cls(**{**plain, **others, **passes, "caps": caps})


@dataclass(frozen=True, slots=True, kw_only=True)
class LogHeader:
    """Header of one engine's part of a log: with it a replay needs neither bundle nor profile."""

    time: float
    """Moment at which the engine was ready, in seconds since 1970."""
    objective: Objective
    """Service objective of the engine when it was ready."""
    ladder: tuple[str, ...]
    """Names of the subnets of the ladder, the most accurate first."""
    accuracies: Mapping[str, float]
    """Accuracy of every subnet of the pool, by the bundle's metric, as the engine chose by it: smoothed."""
    table: LatencyTable
    """Latency table: medians by subnet and length, with bundle hash, precision, provider and threads."""
    tuning: Tuning = DEFAULT_TUNING
    """Constants of the engine's latency model."""
    dan: str | None = None
    """Name of the DAN on the ladder; None, and absent from the log, without one."""
    stated: Mapping[str, float] | None = None
    """Accuracies that a floor is compared with; None, and absent from the log, if they are `accuracies`."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON."""
        return {
            "kind": "header",
            "schema_version": SCHEMA.version,
            "time": self.time,
            "objective": asdict(self.objective),
            "tuning": asdict(self.tuning),
            "ladder": list(self.ladder),
            "accuracies": dict(self.accuracies),
            "table": self.table.to_dict(),
            **({} if self.dan is None else {"dan": self.dan}),
            **({} if self.stated is None else {"stated": dict(self.stated)}),
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> LogHeader:
        """Read the header that `to_dict` wrote; raises DataError that says what is wrong with it."""
        return SCHEMA.read_object(raw, cls.from_fields, "a header")

    @classmethod
    def from_fields(cls, raw: Mapping[str, Any]) -> LogHeader:
        """Make the header of the fields that `to_dict` wrote, but for the version."""
        values = _named_fields({"dan": None, "stated": None, **raw}, {one.name for one in fields(cls)})
        header = cls(
            time=_number(values["time"]),
            objective=Objective(**values["objective"]),
            tuning=Tuning(**values["tuning"]),
            ladder=tuple(map(str, values["ladder"])),
            accuracies=_accuracies(values["accuracies"]),
            table=LatencyTable.from_dict(values["table"]),
            dan=_optional_name(values["dan"]),
            stated=None if values["stated"] is None else _accuracies(values["stated"]),
        )
        known = [header.accuracies, header.table.median_ms, *([] if header.stated is None else [header.stated])]
        unknown = [name for name in header.ladder if any(name not in one for one in known)]
        if unknown or not header.ladder:
            raise DataError(f"a ladder that is empty or has subnets without accuracy or times: {unknown}")
        return header


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveChange:
    """Change of the service objective, for the requests after it."""

    time: float
    """Moment of the change, in seconds since 1970."""
    objective: Objective

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON."""
        return {"kind": "objective", "time": self.time, "objective": asdict(self.objective)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> ObjectiveChange:
        """Read the change that `to_dict` wrote; raises DataError that says what is wrong with it."""
        return SCHEMA.read_part(raw, cls.from_fields, "a change of the objective")

    @classmethod
    def from_fields(cls, raw: Mapping[str, Any]) -> ObjectiveChange:
        """Make the change of the fields that `to_dict` wrote."""
        values = _named_fields(raw, {one.name for one in fields(cls)})
        return cls(time=_number(values["time"]), objective=Objective(**values["objective"]))


def modern(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Convert a line of a log to this schema version.

    Version 1 had objective and tuning together as `steering`, and `reject` in place of `on_miss`.
    """
    steering = raw.get("steering")
    if not isinstance(steering, Mapping):
        return raw
    others = {name: value for name, value in raw.items() if name != "steering"}
    tuning = {name: value for name, value in steering.items() if name in _TUNING}
    objective = {name: value for name, value in steering.items() if name not in (*_TUNING, "reject")}
    if "reject" in steering:
        objective["on_miss"] = REJECT if steering["reject"] else BEST_EFFORT
    if raw.get("kind") == "header":
        known = {"schema_version": SCHEMA.version} if raw.get("schema_version") == 1 else {}
        return {**others, **known, "objective": objective, "tuning": tuning}
    return {**others, "kind": "objective", "objective": objective}


_TUNING = tuple(one.name for one in fields(Tuning))


def _named_fields(raw: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    """Return the values without `kind`; raise DataError unless the fields are exactly the expected ones."""
    found = set(raw) - {"kind"}
    if found != names:
        odd = ", ".join(sorted(found ^ names))
        raise DataError(f"missing or unknown fields: {odd}")
    return {name: raw[name] for name in names}


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: Any) -> float:
    if not is_finite(value):
        raise ValueError(f"expected a number, found {value!r}")
    return float(value)


def _accuracies(raw: Mapping[str, Any]) -> dict[str, float]:
    return {str(name): _number(value) for name, value in raw.items()}


def _whole(value: Any) -> int:
    if not is_whole(value, 0):
        raise ValueError(f"expected a whole number, found {value!r}")
    return value


def _work(value: Any) -> Work:
    return tuple((_whole(length), _whole(count)) for length, count in value)


def _optional_number(value: Any) -> float | None:
    return None if value is None else _number(value)


def _optional_name(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"expected a name, found {value!r}")
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, found {value!r}")
    return value


def _optional_truth(value: Any) -> bool | None:
    return None if value is None else _truth(value)


_PLAIN_KINDS: dict[str, Any] = {
    "time": _number,
    "arrival_s": _number,
    "deadline_ms": _optional_number,
    "slack_ms": _optional_number,
    "waited_ms": _number,
    "tokenizing_ms": _number,
    "queued": _truth,
    "subnet": _optional_name,
    "reason": _optional_name,
    "expected_ms": _optional_number,
    "predicted_ms": _optional_number,
    "factor": _optional_number,
    "run_ms": _optional_number,
    "latency_ms": _optional_number,
    "met": _optional_truth,
    "learnt_s": _optional_number,
    "slow_down": _optional_number,
    "level": _whole,
    "error": _optional_name,
}
_NUMBERS_AND_NAMES = tuple(_PLAIN_KINDS)
_SELDOM: dict[str, Any] = {"batched": True, "together": 1, "ranked": 0, "second": None}
