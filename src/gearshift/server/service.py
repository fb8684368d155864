"""The service: the paths of a server and what each does, without sockets.

`http_server` gives it what clients send; `gearshift.cluster` gives it what Ray Serve received.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from typing import Any

from gearshift.errors import GearshiftError, first_line
from gearshift.runtime import Engine
from gearshift.runtime.bundle.tasks import MULTI_TASK
from gearshift.runtime.inference.answers import Answer
from gearshift.server.access import Access
from gearshift.server.asked import Asked, Form, read_fields
from gearshift.server.contract_form import read_contract
from gearshift.server.kserve_form import described, read_kserve
from gearshift.server.limits import Limits
from gearshift.server.messages import JSON, Call, Reply, json_reply, refusal, refusal_of
from gearshift.server.openai_form import read_openai

TASK_PATHS: Mapping[str, str] = {
    "classification": "/v1/classify",
    "multi-label-classification": "/v1/classify",
    "regression": "/v1/score",
    "token-classification": "/v1/tag",
    "question-answering": "/v1/answer",
    "embedding": "/v1/embed",
    MULTI_TASK: "/v1/heads",
}
"""Task -> path of its answers in the contract's form."""

INLINE_BYTES, INLINE_TEXTS = 16 * 1024, 8
"""Size of a body and number of texts up to which they are read, tokenized and written at once; more would keep all
other clients waiting, and go to a thread."""

METRICS = "text/plain; version=0.0.4; charset=utf-8"

logger = logging.getLogger(__name__)

Handler = Callable[[Call], Awaitable[Reply]]


class Service:
    """Paths of a server over one engine. For one event loop; the engine itself may have other users.

    `ready`: whether more clients should come; False while it ends and finishes what it has.
    """

    def __init__(self, engine: Engine, access: Access | None = None, limits: Limits | None = None) -> None:
        self.engine, self.limits = engine, limits or Limits()
        self.ready = True
        self._access = access or Access()
        self._manifest = engine.bundle.manifest
        self._manifest.require_texts("serve")
        model = f"/v2/models/{self._manifest.name}"
        self._gets: dict[str, Handler] = {
            "/health": self._health,
            "/health/live": self._live,
            "/health/ready": self._is_ready,
            "/metrics": self._metrics,
            "/v1/models": self._models,
            "/v2": self._server,
            "/v2/health/live": self._live,
            "/v2/health/ready": self._is_ready,
            model: self._model,
            f"{model}/ready": self._is_ready,
        }
        self._posts: dict[str, Form] = {
            TASK_PATHS[self._manifest.task]: read_contract,
            f"{model}/infer": read_kserve,
        }
        if self._manifest.task == "embedding":
            self._posts["/v1/embeddings"] = read_openai

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths that answer texts."""
        return tuple(self._posts)

    async def reply(self, call: Call) -> Reply:
        """Answer a request, whatever it holds."""
        try:
            return self._access.refusal(call) or await self._routed(call)
        except GearshiftError as error:
            return refusal_of(call, error)
        except Exception as error:
            logger.exception("a request could not be answered")
            return refusal(call, 500, type(error).__name__, f"the server failed ({first_line(error)}); see its log")

    async def _routed(self, call: Call) -> Reply:
        form, handler = self._posts.get(call.path), self._gets.get(call.path)
        if form is not None:
            return await self._answered(call, form) if call.method == "POST" else _wrong_method(call, "POST")
        if handler is not None:
            return await handler(call) if call.method in ("GET", "HEAD") else _wrong_method(call, "GET, HEAD")
        task = f"this server answers {self._manifest.task} at {', '.join(self._posts)}"
        return refusal(call, 404, "NotFound", f"nothing is at {call.path[:80]!r}; {task}")

    async def _answered(self, call: Call, form: Form) -> Reply:
        if len(call.body) > self.limits.body_kb * 1024:
            return self.too_large(call)
        kind = call.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != JSON or call.headers.get("Content-Encoding", "identity").lower() != "identity":
            # A page of the web may send other types to any address without asking.
            return refusal(call, 415, "UnsupportedMediaType", f"expected a body of {JSON}, not compressed")
        large = len(call.body) > INLINE_BYTES
        asked, spent_ms, future = await asyncio.to_thread(self._begin, call, form) if large else self._begin(call, form)
        answers = await asyncio.wrap_future(future)
        if large or (isinstance(answers, list) and len(answers) > INLINE_TEXTS):
            return await asyncio.to_thread(_written, asked, answers, call, spent_ms)
        return _written(asked, answers, call, spent_ms)

    def _begin(self, call: Call, form: Form) -> tuple[Asked, float, Future[Any]]:
        """Read a body and queue its texts; return what was asked, the ms spent before, and the Future."""
        call.left_ms()  # a deadline that is none is refused before the body is read
        asked = form(read_fields(call.body), self._manifest, self.limits.texts)
        left_ms, spent_ms = call.left_ms(), call.spent_ms
        return asked, spent_ms, self.engine.submit(asked.texts, deadline_ms=left_ms)

    def too_large(self, call: Call) -> Reply:
        """Refuse a body beyond the limit."""
        message = f"expected a body of at most {self.limits.body_kb * 1024} bytes; send several requests"
        return refusal(call, 413, "TooLarge", message)

    async def _live(self, call: Call) -> Reply:
        return json_reply({"live": True})

    async def _is_ready(self, call: Call) -> Reply:
        return json_reply({"ready": self.ready}, 200 if self.ready else 503)

    async def _health(self, call: Call) -> Reply:
        return json_reply({"live": True, "ready": self.ready}, 200 if self.ready else 503)

    async def _metrics(self, call: Call) -> Reply:
        return Reply(200, self.engine.metrics().encode(errors="replace"), METRICS)

    async def _models(self, call: Call) -> Reply:
        model = {"id": self._manifest.name, "object": "model", "created": 0, "owned_by": "gearshift"}
        return json_reply({"object": "list", "data": [model]})

    async def _server(self, call: Call) -> Reply:
        from gearshift import __version__

        return json_reply({"name": "gearshift", "version": __version__, "extensions": []})

    async def _model(self, call: Call) -> Reply:
        return json_reply(described(self._manifest))


def _written(asked: Asked, answers: Any, call: Call, spent_ms: float) -> Reply:
    """Write answers, with times from the headers of the request on, and the facts of their run as headers too."""
    if isinstance(answers, list):
        told: Any = [_from_headers(answer, call, spent_ms) for answer in answers]
        facts = told[0]
    else:
        told = facts = _from_headers(answers, call, spent_ms)
    headers = {
        "Gearshift-Subnet": facts.subnet,
        "Gearshift-Reason": facts.reason,
        "Gearshift-Latency-Ms": f"{facts.latency_ms:.3f}",
    }
    if facts.deadline_met is not None:
        headers["Gearshift-Deadline-Met"] = "true" if facts.deadline_met else "false"
    return json_reply(asked.write(told), headers=headers)


def _from_headers(answer: Answer, call: Call, spent_ms: float) -> Answer:
    """Return an answer whose times count from the headers of its request on, not from the engine's call on."""
    return dataclasses.replace(answer, latency_ms=answer.latency_ms + spent_ms, deadline_ms=call.deadline_ms)


def _wrong_method(call: Call, allowed: str) -> Reply:
    message = f"expected {allowed} at {call.path}, got {call.method[:20]}"
    return refusal(call, 405, "MethodNotAllowed", message, {"Allow": allowed})
