"""Start-up: opens a bundle once, self-tests it on this CPU, and finds or measures its latency table."""

from __future__ import annotations

import dataclasses
import logging
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gearshift.device_profiles.latency_table import LatencyTable
from gearshift.errors import BundleError, InputError, IntegrityError, SchemaError
from gearshift.runtime.bundle.bundle import Bundle, open_bundle
from gearshift.runtime.bundle.manifest import CPU_PRECISIONS
from gearshift.runtime.bundle.signers import ANYBODY, Signers
from gearshift.runtime.files.atomic import sha256_of
from gearshift.runtime.files.cache import HashMemory
from gearshift.runtime.files.known import Known
from gearshift.runtime.inference.cascade import Cascade
from gearshift.runtime.inference.opened import Opened, random_inputs
from gearshift.runtime.inference.providers import CPU, has_kernels
from gearshift.runtime.inference.self_test import check_dan, check_self_test, checked_encoder
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.packed.cache import PackedCache
from gearshift.runtime.policy.objective import Objective
from gearshift.runtime.profiles.first_times import measure_table, run_ms
from gearshift.runtime.profiles.store import own_tables, tables_for
from gearshift.runtime.sensors.cap_rules import Rules
from gearshift.runtime.sensors.cpus import effective_cpus
from gearshift.runtime.sensors.sensors import Sensors
from gearshift.runtime.sensors.slow_loop import SlowLoop
from gearshift.runtime.serving.in_flight import InFlight
from gearshift.runtime.serving.metrics import check_port
from gearshift.runtime.serving.queue import check_limit
from gearshift.runtime.trust.trust import CHECKED, check_trust, trusted

AUTO = "auto"

COMPARED_TOKENS = 32
COMPARED_RUNS = 7
"""Tokens and number of runs for the comparison of precisions, on the largest subnet: a short text suffices, since
precisions differ by far more than runs do."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """Loaded bundle: all that an engine needs of it on this device."""

    opened: Opened
    table: LatencyTable
    """Latency of every subnet on this device, without the slow-down."""
    cascade: Cascade | None = None

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        session: ElasticSession,
        table: LatencyTable,
        *,
        cascade: float | None = None,
        batch: bool = True,
    ) -> Loaded:
        """Make a Loaded of a bundle with an open session and a table; options as in `Engine.load`. Tests nothing."""
        opened = Opened.of(bundle, session, batch=batch)
        return cls(opened, table, None if cascade is None else Cascade(bundle, opened.dan, cascade))


def check_options(sensors: object, rules: object, queue_limit: object, trust: str, metrics_port: object | None) -> None:
    """Raise InputError for an option of `Engine.load` that is none, before anything is opened."""
    if not isinstance(sensors, bool | Sensors):
        raise InputError(f"sensors: expected True, False or Sensors, got {sensors!r}")
    if not isinstance(rules, Rules):
        raise InputError(f"rules: expected Rules, got {rules!r}")
    check_limit(queue_limit)
    check_trust(trust)
    if metrics_port is not None:
        check_port(metrics_port)


def default_threads() -> int:
    """Return half of the CPUs that we may use, at least 1: the rest of the machine has work of its own."""
    return max(1, int(effective_cpus()) // 2)


def open_checked(
    path: str | Path,
    objective: Objective,
    precision: str,
    cache: bool,
    cascade: float | None,
    null_threshold: float | None,
    trust: str = CHECKED,
    signers: Signers = ANYBODY,
) -> Bundle:
    """Verify the bundle at `path`, and refuse an objective, a cascade or a threshold that it cannot serve, before the
    slow part.

    `signers`: those who must have signed it; what they signed needs no trial. Other arguments as in `Engine.load`.
    Raises BundleError, InputError or StorageError.
    """
    hashes = HashMemory() if cache else None
    sha256 = sha256_of if hashes is None else hashes.sha256_of
    opened = open_bundle(path, sha256=sha256, signers=signers, whole=False)
    bundle = dataclasses.replace(opened, hashes=hashes)
    bundle = trusted(bundle, Known() if cache else None, trust if bundle.signature is None else CHECKED)
    if objective.min_accuracy is not None:
        _check_reachable(objective.min_accuracy, bundle, bundle.precisions if precision == AUTO else (precision,))
    if cascade is not None and bundle.dan is None:
        Cascade(bundle, None, cascade)  # says so
    return bundle if null_threshold is None else bundle.with_null_threshold(null_threshold)


def slow_loop_of(
    sensors: Sensors | None, rules: Rules, rungs: int, session: ElasticSession, in_flight: InFlight
) -> SlowLoop | None:
    """Make the slow loop of an engine with sensors; it refers to the session alone: the engine can be collected."""
    if sensors is None:
        return None

    def release() -> None:
        in_flight.call(lambda _: session.release_pages())

    return SlowLoop(sensors, rungs, rules=rules, release=release if session.packed else None, clock=sensors.clock)


def _check_reachable(min_accuracy: float, bundle: Bundle, precisions: Sequence[str]) -> None:
    """Raise InputError if no subnet at any of the precisions reaches `min_accuracy`."""
    best = max(entry.choosing_accuracy for precision in precisions for entry in bundle.entries(precision).values())
    if min_accuracy > best:
        raise InputError(f"min_accuracy: expected at most {best}, the best there is, got {min_accuracy}")


def start(
    bundle: Bundle,
    *,
    precision: str,
    threads: int | None,
    profile: str | Path | None,
    providers: Sequence[str],
    cache: PackedCache | None = None,
    cascade: float | None = None,
    batch: bool = True,
) -> Loaded:
    """Open a bundle at a precision that passes its self-test, and find its latency table.

    The table is from `profile`, or from this device's own profile, or measured.
    `precision`: `auto` takes the fastest that passes, by the profile's figures if there is a profile. A precision that
    fails is skipped with a warning in the log; fp16 is for providers other than the CPU's.
    `cache`: cache of packed weights. `batch`: run texts of similar length in one call.
    Raises BundleError, InputError or ProfileError.
    """
    if not isinstance(batch, bool):
        raise InputError(f"batch: expected True or False, got {batch!r}")
    threads = default_threads() if threads is None else threads
    precisions = _eligible(bundle, providers) if precision == AUTO else (precision,)
    bundle.pool(precisions[0])  # raises an error that names the precisions of the bundle if it lacks this one
    dan, encoder = check_dan(bundle), checked_encoder(bundle, batch=batch)
    sure = None if cascade is None else Cascade(bundle, dan, cascade)
    provider = next(iter(providers), "")
    if profile is None:
        tables = own_tables(bundle, precisions=precisions, threads=threads, provider=provider)
    else:
        tables = tables_for(profile, bundle, precisions=precisions, threads=threads, provider=provider)
    if tables is None:
        fastest = _fastest(bundle, _tested(bundle, precisions, threads, providers, cache))
        opened = Opened.of(bundle, fastest, dan, encoder)
        return Loaded(opened, measure_table(opened), sure)
    order = [table.precision for table in tables]
    session = _tested(bundle, order, threads, providers, cache, enough=1)[0]
    return Loaded(Opened.of(bundle, session, dan, encoder), tables[order.index(session.precision)], sure)


def usable_precisions(bundle: Bundle, wanted: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the precisions at which a bundle passes its self-test on this CPU, once its tokens and its DAN are right.

    `wanted`: precisions that must pass; None for all of the bundle, of which one that fails is left out with a warning
    in the log. Raises BundleError as `start` does.
    """
    check_dan(bundle)
    checked_encoder(bundle)
    groups = [bundle.precisions] if wanted is None else [(precision,) for precision in wanted]
    found = list[str]()
    for precisions in groups:
        sessions = _tested(bundle, precisions, 1, CPU, None)
        found += [session.precision for session in sessions]
        for session in sessions:
            session.close()
    return tuple(found)


def _eligible(bundle: Bundle, providers: Sequence[str]) -> tuple[str, ...]:
    """Return the precisions that `auto` may take; raise BundleError if there is none for these providers."""
    if tuple(providers) != CPU:
        found = tuple(precision for precision in bundle.precisions if has_kernels(precision, providers))
        if not found:
            raise BundleError(
                f"{bundle.path}: expected fp32 or fp16 for {providers[0]}, found {', '.join(bundle.precisions)}; "
                "export one of these too, or load it with the CPU's provider"
            )
        return found
    found = tuple(precision for precision in bundle.precisions if precision in CPU_PRECISIONS)
    if not found:
        raise BundleError(
            f"{bundle.path}: expected {' or '.join(CPU_PRECISIONS)} for a CPU, found {', '.join(bundle.precisions)}; "
            "export one of these too, or load it with a GPU's provider"
        )
    return found


def _tested(
    bundle: Bundle,
    precisions: Sequence[str],
    threads: int,
    providers: Sequence[str],
    cache: PackedCache | None,
    enough: int | None = None,
) -> list[ElasticSession]:
    """Return the sessions that pass, in this order, at most `enough`; raise the first error if none passes, and any
    SchemaError or IntegrityError."""
    passed: list[ElasticSession] = []
    errors: list[BundleError] = []
    bundle.check_graph_files(precisions[:enough])  # all that will be opened at once, on two cores
    for precision in precisions:
        try:
            passed.append(_open_tested(bundle, precision, threads, providers, cache))
        except (SchemaError, IntegrityError):  # no fault of this CPU's: nothing of such a bundle is used
            raise
        except BundleError as error:
            errors.append(error)
        if len(passed) == enough:
            break
    if not passed:
        raise errors[0]
    others = " or ".join(session.precision for session in passed)
    for failure in errors:
        logger.warning("%s; going on with %s", failure, others)
    return passed


def _open_tested(
    bundle: Bundle, precision: str, threads: int, providers: Sequence[str], cache: PackedCache | None
) -> ElasticSession:
    if cache is not None and tuple(providers) == CPU and bundle.manifest.images is None:
        kept = cache.open(bundle, precision, threads=threads)
        if kept is not None:
            return kept
    session = ElasticSession(bundle, precision, threads=threads, providers=providers)
    try:
        check_self_test(session, bundle)
    except BaseException:
        session.close()
        raise
    return session


def _fastest(bundle: Bundle, sessions: list[ElasticSession]) -> ElasticSession:
    """Return the session whose largest subnet is fastest, timed in turns, and close the others."""
    if len(sessions) == 1:
        return sessions[0]
    inputs = random_inputs(bundle, min(COMPARED_TOKENS, bundle.manifest.max_length))
    times: list[list[float]] = [[] for _ in sessions]
    for _ in range(COMPARED_RUNS):
        for session, its_times in zip(sessions, times, strict=True):
            largest = max(bundle.pool(session.precision).values(), key=lambda entry: entry.macs)
            its_times.append(run_ms(session, inputs, largest.choice))
    medians = [statistics.median(its_times) for its_times in times]
    best = sessions[medians.index(min(medians))]
    for session in sessions:
        if session is not best:
            session.close()
    return best
