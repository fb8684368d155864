"""A corpus and replicas on a local Ray of two workers."""

from __future__ import annotations

import json
import os
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gearshift.cluster import Scorer
from gearshift.errors import DeadlinePassedError, InputError
from gearshift.runtime import Engine
from tests.command_line import PATIENCE_S

pytestmark = [
    pytest.mark.ray,
    # Ray warns of its own changes to come, and leaves sockets and files to the collector of garbage.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

TEXTS = ["turn the lights off", "play some music", "what is the weather", "lock all the doors"]
WORKERS = 2


@pytest.fixture(scope="module")
def options(profile: Path) -> dict[str, Any]:
    return {"precision": "fp32", "profile": str(profile)}


@pytest.fixture(scope="module")
def expected(tiny_bundle: Path, options: dict[str, Any]) -> dict[str, str]:
    with Engine.load(tiny_bundle, threads=1, sensors=False, **options) as engine:
        return {text: engine.run(text).label for text in TEXTS}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]))
        import ray

        ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, configure_logging=False)
        yield ray
        ray.shutdown()


def test_a_corpus_is_scored_by_two_actors(
    cluster: Any, tiny_bundle: Path, options: dict[str, Any], expected: dict[str, str]
) -> None:
    from ray import data

    rows = [{"number": number, "text": TEXTS[number % len(TEXTS)]} for number in range(200)]
    scored = data.from_items(rows, override_num_blocks=8).map_batches(
        Scorer,
        fn_constructor_args=(str(tiny_bundle),),
        fn_constructor_kwargs=options,
        compute=data.ActorPoolStrategy(size=WORKERS),
        batch_size=25,
        num_cpus=1,
    )
    found = {row["number"]: row for row in scored.take_all()}
    assert len(found) == 200
    assert {(row["text"], row["predicted_label"]) for row in found.values()} == set(expected.items())


@pytest.fixture(scope="module")
def port() -> int:
    """Port that was free a moment ago: Ray Serve takes none that says `any`."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def handle(cluster: Any, port: int, tiny_bundle: Path, options: dict[str, Any]) -> Iterator[Any]:
    from ray import serve

    from gearshift.cluster.replicas import application

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_SERVE_LOG_TO_STDERR", "0")
        serve.start(http_options={"host": "127.0.0.1", "port": port}, proxy_location="HeadOnly")
        made = serve.run(
            application(tiny_bundle, replicas=WORKERS, cpus=0.5, sensors=False, **options), route_prefix="/text"
        )
        yield made
        serve.shutdown()


def test_replicas_answer_with_a_subnet_of_their_own_choice(handle: Any, expected: dict[str, str]) -> None:
    replies = [handle.answer.remote(text, deadline_ms=60_000) for text in TEXTS * 10]
    answers = [reply.result(timeout_s=PATIENCE_S) for reply in replies]
    assert [answer["label"] for answer in answers] == [expected[text] for text in TEXTS * 10]
    assert {answer["reason"] for answer in answers} == {"fits"}
    many = handle.answer.remote(TEXTS).result(timeout_s=PATIENCE_S)
    assert [answer["label"] for answer in many] == list(expected.values())


def test_both_replicas_run(handle: Any) -> None:
    from ray import serve

    (application,) = serve.status().applications.values()
    assert application.deployments["gearshift"].replica_states == {"RUNNING": WORKERS}


def test_a_deadline_that_is_over_and_a_text_that_is_none_are_told_as_by_an_engine(handle: Any) -> None:
    with pytest.raises(DeadlinePassedError, match="-3 ms were left"):
        handle.answer.remote(TEXTS[0], deadline_ms=-3).result(timeout_s=PATIENCE_S)
    with pytest.raises(InputError, match="empty text"):
        handle.answer.remote("").result(timeout_s=PATIENCE_S)


def test_http_has_the_paths_of_serve_and_passes_the_deadline_on(
    handle: Any, port: int, expected: dict[str, str]
) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/text/v1/classify",
        json.dumps({"text": TEXTS[0]}).encode(),
        {"Content-Type": "application/json", "Gearshift-Deadline-Ms": "60000"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as reply:
        answer = json.loads(reply.read())
        assert reply.headers["Gearshift-Deadline-Met"] == "true"
    assert (answer["label"], answer["deadline_ms"], answer["reason"]) == (expected[TEXTS[0]], 60000, "fits")


def test_a_body_beyond_the_limit_is_refused(handle: Any, port: int) -> None:
    body = json.dumps({"text": "on " * 400_000}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/text/v1/classify", body)
    with pytest.raises(urllib.error.HTTPError) as raised, urllib.request.urlopen(request, timeout=PATIENCE_S):
        pass
    assert raised.value.code == 413
    raised.value.close()


@pytest.mark.parametrize(
    ("given", "words"), [({"replicas": 0}, "replicas: expected a whole number"), ({"cpus": 0}, "cpus: expected a")]
)
def test_a_number_of_replicas_that_is_none_is_told(tiny_bundle: Path, given: dict[str, Any], words: str) -> None:
    from gearshift.cluster.replicas import application

    with pytest.raises(InputError, match=words):
        application(tiny_bundle, **given)
