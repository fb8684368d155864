"""Answers of each path, for every task and in every form, without sockets."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import numpy as np
import pytest

from gearshift.runtime import Engine, Words
from gearshift.runtime.bundle.tasks import MULTI_TASK, TEXT_TASKS
from gearshift.runtime.conformance.texts import REFUSED
from gearshift.runtime.inference.answers import RunFacts, plain_answer
from gearshift.server import Limits, Service
from gearshift.server.messages import Call
from gearshift.server.service import TASK_PATHS
from tests.server.asking import TEXT, Headers, ask, asked, call_of, refused

FACTS = set(RunFacts.__dataclass_fields__)
PAIR = ("who was it", "it was the sun")


def without_facts(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in FACTS}


def text_for(task: str) -> str | tuple[str, str]:
    return PAIR if task == "question-answering" else TEXT


# The contract's form


def test_there_is_a_path_for_every_task() -> None:
    assert TASK_PATHS.keys() == {*TEXT_TASKS, MULTI_TASK}


@pytest.mark.parametrize("task", TEXT_TASKS)
def test_a_text_has_the_answer_that_the_engine_gives(engines: dict[str, Engine], task: str) -> None:
    engine, text = engines[task], text_for(task)
    answer = asked(Service(engine), TASK_PATHS[task], {"text": text})
    wanted = json.loads(json.dumps(plain_answer(engine.run(text))))
    assert without_facts(answer) == without_facts(wanted)
    assert answer.keys() == wanted.keys()
    assert answer["subnet"] == wanted["subnet"] and answer["tokens"] == wanted["tokens"]


@pytest.mark.parametrize("task", TEXT_TASKS)
def test_a_list_has_an_answer_for_each_text(engines: dict[str, Engine], task: str) -> None:
    engine, text = engines[task], text_for(task)
    service = Service(engine)
    many = asked(service, TASK_PATHS[task], {"texts": [text, text]})["answers"]
    assert len(many) == 2 and without_facts(many[0]) == without_facts(many[1])
    assert many[0].keys() == asked(service, TASK_PATHS[task], {"text": text}).keys()


def test_the_words_of_a_text_are_tagged(engines: dict[str, Engine]) -> None:
    engine = engines["token-classification"]
    service, words = Service(engine), ["turn", "it", "off"]
    wanted = [word.label for word in engine.run(Words(words)).words]
    one = asked(service, "/v1/tag", {"words": words})
    several = asked(service, "/v1/tag", {"texts": [{"words": words}]})["answers"][0]
    for answer in (one, several):
        assert [word["label"] for word in answer["words"]] == wanted


def test_a_pair_is_read_together(service: Service, engine: Engine) -> None:
    assert asked(service, "/v1/classify", {"text": [TEXT, TEXT]})["tokens"] == engine.run((TEXT, TEXT)).tokens


def test_a_body_and_a_list_too_large_for_the_loop_s_own_thread_have_the_same_answers(service: Service) -> None:
    long = {"text": f"{TEXT} " * 2000}
    assert asked(service, "/v1/classify", long)["truncated"] is True
    texts = [TEXT, "play some music"] * 8
    labels = [one["label"] for one in asked(service, "/v1/classify", {"texts": texts})["answers"]]
    assert labels == [answer.label for answer in service.engine.run(texts)]
    assert labels[::2] == ["lights_off"] * 8


# What is refused


@pytest.mark.parametrize(("kind", "value"), [(k, v) for k, v in REFUSED if k == "text"])
def test_a_text_that_is_none_is_refused_in_the_contract_s_words(service: Service, kind: str, value: Any) -> None:
    with pytest.raises(ValueError) as caught:
        service.engine.run(tuple(value) if isinstance(value, list) else value)
    body = json.dumps({"text": value}).encode()
    assert refused(service, "/v1/classify", body) == str(caught.value)


@pytest.mark.parametrize("value", ["soon", "-1", "0", "nan", "inf", "", "5 ms", "[5]", "1e999", "1_0", "\u0661\u0665"])
def test_a_deadline_that_is_none_is_refused_in_the_contract_s_words(service: Service, value: str) -> None:
    message = refused(service, "/v1/classify", {"text": TEXT}, Gearshift_Deadline_Ms=value)
    assert message.startswith("deadline_ms: expected a positive number of milliseconds or None, got ")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "body: expected a JSON object"),
        (b"{", "body: expected a JSON object"),
        (b"[" * 10000, "body: expected a JSON object (nested"),
        (b'{"text": NaN}', "body: expected a JSON object (expected a number, found NaN)"),
        (b"\xff\xfe", "body: expected a JSON object"),
        ([TEXT], "body: expected a JSON object, got ['turn"),
        ({}, "body: expected one of text, words, texts, got none"),
        ({"text": TEXT, "texts": [TEXT]}, "got text and texts"),
        ({"text": TEXT, "deadline": 5}, "got the field 'deadline'"),
        ({"texts": TEXT}, "texts: expected a list"),
        ({"texts": []}, "texts: expected 1 to 128 in a request, got 0"),
        ({"texts": [TEXT] * 129}, "got 129; send several requests"),
        ({"texts": [TEXT, ""]}, "text 1: empty text"),
        ({"text": TEXT, "model": "other"}, "model: expected tiny"),
        ({"words": ["a"]}, "Words, which are for token classification"),
        ({"words": 5}, "Words, which are for token classification"),
    ],
)
def test_a_body_that_cannot_be_read_is_one_line(service: Service, body: object, words: str) -> None:
    assert words in refused(service, "/v1/classify", body)


def test_paths_methods_and_types_that_are_not_there_are_told(service: Service) -> None:
    assert "answers classification at /v1/classify" in refused(service, "/v1/embeddings", {"input": TEXT}, 404)
    assert refused(service, "/nowhere", {}, 404) and refused(service, "/v2/nowhere", {}, 404)
    assert refused(service, "/v1/classify", None, 405) == "expected POST at /v1/classify, got GET"
    assert refused(service, "/health", {}, 405)
    assert refused(service, "/v1/classify", {"text": TEXT}, 415, Content_Type="text/plain")
    assert refused(service, "/v1/classify", {"text": TEXT}, 415, Content_Encoding="gzip")


def test_a_body_beyond_the_limit_is_refused(engine: Engine) -> None:
    body = {"text": TEXT, "model": "x" * 1024}
    assert "at most 1024 bytes" in refused(Service(engine, limits=Limits(body_kb=1)), "/v1/classify", body, 413)


# Deadlines and facts


def test_answers_carry_subnet_and_latency_and_a_deadline_decides(service: Service) -> None:
    free = ask(service, "/v1/classify", {"text": TEXT})
    fields = json.loads(free.body)
    assert free.headers["Gearshift-Subnet"] == fields["subnet"] == service.engine.ladder[0]
    assert free.headers["Gearshift-Latency-Ms"] == f"{fields['latency_ms']:.3f}"
    assert "Gearshift-Deadline-Met" not in free.headers and fields["deadline_ms"] is None
    hurried = ask(service, "/v1/classify", {"text": TEXT}, Gearshift_Deadline_Ms="0.0001")
    assert hurried.status == 504  # it went by before the body was read
    roomy = ask(service, "/v1/classify", {"text": TEXT}, Gearshift_Deadline_Ms="60000")
    assert json.loads(roomy.body)["deadline_ms"] == 60000 and roomy.headers["Gearshift-Deadline-Met"] == "true"
    assert roomy.headers["Gearshift-Reason"] == "fits"


def test_what_is_left_of_a_deadline_is_less_by_the_time_since_the_headers_came(service: Service) -> None:
    call = call_of("/v1/classify", {"text": TEXT}, Gearshift_Deadline_Ms="1000")
    late = Call(call.method, call.path, call.headers, call.body, call.received_s - 0.6)
    left = late.left_ms()
    assert left is not None and 0 < left <= 400
    answer = json.loads(asyncio.run(service.reply(late)).body)
    assert answer["latency_ms"] >= 600 and answer["deadline_ms"] == 1000
    gone = Call(call.method, call.path, call.headers, call.body, call.received_s - 2)
    reply = asyncio.run(service.reply(gone))
    assert reply.status == 504 and b"DeadlinePassedError" in reply.body


def test_a_service_that_ends_says_so_and_finishes_what_it_has(service: Service) -> None:
    service.ready = False
    assert ask(service, "/v1/classify", {"text": TEXT}).status == 200
    assert [ask(service, path).status for path in ("/health", "/health/ready", "/v2/health/ready")] == [503] * 3
    assert ask(service, "/health/live").status == 200


def test_an_engine_that_was_closed_is_a_503(tiny_bundle: Any, profile: Any) -> None:
    closed = Engine.load(tiny_bundle, threads=1, precision="fp32", profile=profile, sensors=False)
    closed.close()
    assert "closed" in refused(Service(closed), "/v1/classify", {"text": TEXT}, 503)


def test_health_metrics_and_models_are_there(service: Service) -> None:
    assert asked(service, "/health") == {"live": True, "ready": True}
    assert ask(service, "/metrics").body.startswith(b"# HELP gearshift_requests_total")
    assert [one["id"] for one in asked(service, "/v1/models")["data"]] == ["tiny"]
    assert ask(service, "/health", method="HEAD").status == 200


# OpenAI's form


def test_embeddings_have_openai_s_form(engines: dict[str, Engine]) -> None:
    engine = engines["embedding"]
    service, texts = Service(engine), [TEXT, "we saw the sun"]
    wanted = [one.vector for one in engine.run(texts)]
    plain = asked(service, "/v1/embeddings", {"input": texts, "model": "made"})
    assert [one["index"] for one in plain["data"]] == [0, 1] and plain["model"] == "made"
    assert plain["usage"]["total_tokens"] == sum(one.tokens for one in engine.run(texts))
    coded = asked(service, "/v1/embeddings", {"input": texts, "encoding_format": "base64"})
    for vector, one, other in zip(wanted, plain["data"], coded["data"], strict=True):
        assert np.allclose(one["embedding"], vector, atol=1e-6)
        assert np.allclose(np.frombuffer(base64.b64decode(other["embedding"]), "<f4"), vector, atol=1e-6)
    single = asked(service, "/v1/embeddings", {"input": TEXT, "dimensions": len(wanted[0])})
    assert len(single["data"]) == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "input: expected a string or a list of strings, got None"),
        ({"input": []}, "expected 1 to 3 in a request, got 0"),
        ({"input": ["a"] * 4}, "expected 1 to 3 in a request, got 4"),
        ({"input": [1, 2]}, "input: expected a string or a list of strings, got 1"),
        ({"input": "a", "dimensions": 3}, "dimensions: expected 32"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format: expected float or base64"),
        ({"input": "a", "model": "text-embedding-3-small"}, "model: expected made"),
    ],
)
def test_embeddings_that_cannot_be_given_are_refused(
    engines: dict[str, Engine], fields: dict[str, Any], words: str
) -> None:
    assert words in refused(Service(engines["embedding"], limits=Limits(texts=3)), "/v1/embeddings", fields)


# KServe's form


@pytest.mark.parametrize("task", TEXT_TASKS)
def test_every_task_answers_kserve_s_protocol(engines: dict[str, Engine], task: str) -> None:
    engine, text = engines[task], text_for(task)
    service, name = Service(engine), engine.bundle.manifest.name
    parts = list(text) if isinstance(text, tuple) else [text]
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1, len(parts)], "data": parts}
    found = asked(service, f"/v2/models/{name}/infer", {"id": "7", "inputs": [tensor]})
    described = asked(service, f"/v2/models/{name}")
    assert (found["id"], found["model_name"]) == ("7", name)
    assert [one["name"] for one in found["outputs"]] == [one["name"] for one in described["outputs"]]
    for output, wanted in zip(found["outputs"], described["outputs"], strict=True):
        assert output["datatype"] == wanted["datatype"]
        assert [1, *wanted["shape"][1:]] == output["shape"]
        assert len(output["data"]) == np.prod(output["shape"])
    contract = asked(service, TASK_PATHS[task], {"text": text})
    for output in found["outputs"]:
        value = json.loads(output["data"][0]) if output["name"] == "answer" else output["data"]
        mine = contract if output["name"] == "answer" else contract[output["name"]]
        if output["name"] == "answer":
            assert without_facts(value) == without_facts(mine)
        else:
            assert value == (
                list(mine.values()) if isinstance(mine, dict) else mine if isinstance(mine, list) else [mine]
            )


def test_kserve_s_data_may_be_nested_and_outputs_may_be_chosen(service: Service) -> None:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [2, 2], "data": [[TEXT, "a"], [TEXT, "b"]]}
    found = asked(service, "/v2/models/tiny/infer", {"inputs": [tensor], "outputs": [{"name": "label"}]})
    (output,) = found["outputs"]
    assert (output["name"], output["shape"]) == ("label", [2])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inputs": []}, "inputs: expected a list of one tensor"),
        ({"name": "input_ids"}, "inputs: expected the name text"),
        ({"datatype": "INT64"}, "the datatype BYTES"),
        ({"shape": [2]}, "expected 2 strings for the shape [2], got 1"),
        ({"shape": [-1]}, "expected the shape [n]"),
        ({"shape": [True]}, "expected the shape [n]"),
        ({"shape": [0], "data": []}, "expected 1 to 128"),
        ({"shape": [1, 3], "data": ["a", "b", "c"]}, "expected the shape [n]"),
        ({"data": 5}, "with data"),
        ({"data": [[], [TEXT]]}, "expected 1 string in each row for the shape [1], got one of 0"),
        ({"shape": [2, 2], "data": [["a"], ["b", "c", "d"]]}, "expected 2 strings in each row for the shape [2, 2]"),
        ({"shape": [2], "data": [["a", "b"]]}, "expected 1 string in each row"),
        ({"data": [5]}, "expected a text (str)"),
        ({"outputs": [{"name": "logits"}]}, "outputs: expected objects with a name, of label, score, scores"),
        ({"outputs": [{"name": "label"}, {"name": "logits"}]}, "outputs: expected"),
        ({"outputs": []}, "outputs: expected"),
        ({"outputs": [["label"]]}, "outputs: expected"),
        ({"outputs": [{"name": ["label"]}]}, "outputs: expected"),
    ],
)
def test_kserve_s_tensors_that_are_none_are_refused(service: Service, change: dict[str, Any], words: str) -> None:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": [TEXT]}
    top = {name: value for name, value in change.items() if name in ("inputs", "outputs")}
    body = {"inputs": [{**tensor, **{n: v for n, v in change.items() if n not in top}}], **top}
    assert words in refused(service, "/v2/models/tiny/infer", body)


def test_a_fault_of_ours_is_a_500_and_a_line_in_the_log(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    broken = Call("POST", "/v1/classify", Headers({"Content-Type": "application/json"}), None)  # type: ignore[arg-type]
    reply = asyncio.run(service.reply(broken))
    assert reply.status == 500 and b"see its log" in reply.body
    assert [record.message for record in caplog.records] == ["a request could not be answered"]
