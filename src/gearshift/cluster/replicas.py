"""Replicas of an engine in Ray Serve: each has an engine of its own, which picks its own subnets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from gearshift.errors import DeadlinePassedError, InputError
from gearshift.number_checks import is_finite, is_whole, shown
from gearshift.runtime import Engine
from gearshift.runtime.inference.answers import plain_answer
from gearshift.server import Limits, Service
from gearshift.server.limits import TooLargeError
from gearshift.server.messages import Call

ONGOING = 64
"""Requests that a replica has at once, the engine's queue among them; Ray Serve keeps further ones."""


class Replica:
    """Replica of an engine: the paths of `gearshift serve`, and `answer` for other deployments.

    Time on the way to it is not known to it, as clocks of machines differ: whoever asks gives what is left.
    """

    def __init__(self, bundle: str, limits: Limits, options: dict[str, Any]) -> None:
        self._engine = Engine.load(bundle, **options)
        self._engine.warm_up()
        self._service = Service(self._engine, limits=limits)

    async def __call__(self, request: Request) -> Response:
        """Answer a request of HTTP in the forms of `gearshift serve`."""
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        arrived = Call(request.method, path, request.headers)
        try:
            body = await self._service.limits.body_of(request.stream())
        except TooLargeError:
            reply = self._service.too_large(arrived)
        else:
            reply = await self._service.reply(Call(arrived.method, path, request.headers, body, arrived.received_s))
        return Response(reply.body, reply.status, dict(reply.headers), reply.kind)

    async def answer(self, text: Any, *, deadline_ms: float | None = None) -> Any:
        """Answer a text or a list of them as `Engine.run` does, in plain values.

        `deadline_ms`: milliseconds that are left when it is called. Raises InputError or DeadlineError.
        """
        if is_finite(deadline_ms) and deadline_ms <= 0:
            raise DeadlinePassedError(f"dropped: {deadline_ms:g} ms were left of its deadline when it was asked")
        answers = await self._engine.arun(text, deadline_ms=deadline_ms)
        return list(map(plain_answer, answers)) if isinstance(answers, list) else plain_answer(answers)

    def check_health(self) -> None:
        """Raise EngineClosedError if the engine was closed: Ray Serve asks now and then."""
        self._engine.warm_up(())

    def __del__(self) -> None:
        engine = getattr(self, "_engine", None)
        if engine is not None:
            engine.close()


def application(
    bundle: str | Path, *, replicas: int = 1, cpus: float = 1.0, limits: Limits | None = None, **options: Any
) -> serve.Application:
    """Return an application for `ray.serve.run`: `replicas` processes with `cpus` each, on the machines that have them.

    `bundle`: path that every machine has. `options`: of `Engine.load`; as many threads as whole `cpus` unless named.
    Raises InputError.
    """
    if not is_whole(replicas, 1):
        raise InputError(f"replicas: expected a whole number of at least 1, got {shown(replicas)}")
    if not is_finite(cpus) or cpus <= 0:
        raise InputError(f"cpus: expected a number above 0, got {shown(cpus)}")
    deployment = serve.deployment(
        Replica,
        name="gearshift",
        num_replicas=replicas,
        max_ongoing_requests=ONGOING,
        ray_actor_options={"num_cpus": cpus},
    )
    told = {"threads": max(1, int(cpus)), **options}
    return deployment.bind(str(Path(bundle).resolve()), limits or Limits(), told)
