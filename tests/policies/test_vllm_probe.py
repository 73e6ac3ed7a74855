"""What a run would ask of a vLLM server, asked once; the servers here say what they are told to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from siri.errors import SiriError
from siri.policies.vllm_probe import probed
from tests.serving import served

pytest.importorskip("httpx")

GENERATE = "/inference/v1/generate"
CHOICE: dict[str, Any] = {
    "finish_reason": "length",
    "token_ids": [7],
    "logprobs": {"content": [{"token_id": 7, "logprob": -0.5}]},
    "weight_versions": [{"version": "default", "start": 0, "end": 1}],
}
WHOLE: dict[str, Any] = {
    "/v1/models": {"data": [{"id": "qwen", "max_model_len": 2048}]},
    "/is_sleeping": {"is_sleeping": False},
    "/server_info?config_format=json": {"vllm_config": {"weight_transfer_config": None}},
    GENERATE: {"choices": [CHOICE]},
}


@contextmanager
def serving(answers: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """A server with these answers by path: JSON, a text as it is, or a number that is a status."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            answer = answers.get(self.path, 404)
            content = answer if isinstance(answer, str) else json.dumps(answer)
            self.send_response(answer if isinstance(answer, int) else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content.encode())

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *args: object) -> None:
            pass

    with served(Handler) as url:
        yield url, seen


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/"])
def test_a_server_that_a_run_can_use_is_asked_once(end: str) -> None:
    with serving(WHOLE) as (url, seen):
        said = probed(url + end)
    assert f"server {url}" in said
    assert "answered in " in said
    assert said.endswith("model 'qwen', context 2,048 tokens, weights as a checkpoint")
    assert seen == list(WHOLE)


def test_a_server_that_takes_tensors_says_so() -> None:
    config = {"vllm_config": {"weight_transfer_config": {"backend": "siri-shm"}}}
    with serving({**WHOLE, "/server_info?config_format=json": config}) as (url, _):
        assert probed(url).endswith("weights by siri-shm")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"/is_sleeping": 404}, "without /is_sleeping, .*VLLM_SERVER_DEV_MODE=1"),
        ({"/v1/models": 404}, "got HTTP 404 from .*/v1/models"),
        ({"/v1/models": 500}, "got HTTP 500"),
        ({"/v1/models": "<html>" * 900}, "got no JSON from"),
        ({"/v1/models": {}}, "got no model from"),
        ({"/v1/models": []}, "got no model from"),
        ({"/v1/models": {"data": []}}, "got no model from"),
        ({"/v1/models": {"data": ["qwen"]}}, "got no model from"),
        ({"/v1/models": {"data": [{"id": "qwen", "max_model_len": "long"}]}}, "got no model from"),
        ({GENERATE: {"choices": [{"text": "a"}]}}, "without token ids, log-probs or weight versions"),
        ({GENERATE: {"choices": []}}, "without token ids, log-probs or weight versions"),
        ({GENERATE: "null"}, "without token ids"),
        ({GENERATE: {"choices": [{**CHOICE, "token_ids": [1, 2]}]}}, "without token ids"),
        ({GENERATE: {"choices": [{**CHOICE, "weight_versions": None}]}}, "without token ids"),
        ({GENERATE: 400}, "got HTTP 400"),
        ({GENERATE: 403}, "without /inference/v1/generate, .*--enable-scale-out"),
        ({GENERATE: 404}, "without /inference/v1/generate, .*--enable-scale-out"),
    ],
)
def test_a_server_that_a_run_cannot_use_is_refused(changes: dict[str, Any], message: str) -> None:
    with serving({**WHOLE, **changes}) as (url, _), pytest.raises(SiriError, match=message) as found:
        probed(url)
    assert len(str(found.value)) <= 300
    assert "fix: " in str(found.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:9", "got no answer from http://127.0.0.1:9 .*fix: start it, or its address"),
        ("http://", "expected the address of a vLLM server"),
        ("http://[::1", "expected the address of a vLLM server"),
        ("http://a:99999999", "expected the address of a vLLM server|no answer"),
        ("http://" + "a" * 5_000, "no answer|expected the address"),
        ("ftp://127.0.0.1", "expected the address of a vLLM server"),
    ],
)
def test_an_address_where_nothing_is_or_can_be(url: str, message: str) -> None:
    with pytest.raises(SiriError, match=message) as found:
        probed(url)
    assert len(str(found.value)) <= 300
