from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from siri.errors import ConfigError, MinerFault, MissingExtra, SplitError
from siri.skills import ChatMiner
from tests.skills.helpers import make_trajectory

KEY = "sk-very-secret"
SKILLS = json.dumps([{"condition": "an object must be hot", "strategy": "use the microwave"}])


def completion(content):
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return json.dumps(
        {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
    )


@contextmanager
def server(*replies):
    """A real server on this machine; plays (status, body[, headers]) in turn, the last one for ever."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append((self.path, self.headers, json.loads(body)))
            status, text, *more = replies[min(len(seen), len(replies)) - 1]
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **(more[0] if more else {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_address[1]}/v1", seen
        finally:
            httpd.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def test_mines_through_a_real_server():
    with server((200, completion(SKILLS))) as (url, seen), ChatMiner("big", base_url=url, seed=5) as miner:
        (skill,) = miner.bind(iteration=7).mine([make_trajectory()])
    assert skill.text == "When an object must be hot: use the microwave"
    assert (skill.origin, skill.created, skill.sources) == ("openai:big", 7, ("t1",))
    ((path, headers, body),) = seen
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert body["model"] == "big"
    assert "Goal: put a hot apple" in body["messages"][1]["content"]
    assert miner.events == {"requests": 1}


def test_retries_honour_retry_after_then_succeed():
    busy = (429, "{}", {"Retry-After": "0.01"})
    with server(busy, busy, (200, completion(SKILLS))) as (url, seen), ChatMiner("m", base_url=url) as miner:
        assert len(miner.mine([make_trajectory()])) == 1
    assert len(seen) == 3


@pytest.mark.parametrize("status", [401, 500])
def test_an_outage_is_a_fault_that_does_not_repeat_the_key(status):
    body = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}"}})
    with server((status, body)) as (url, _), ChatMiner("m", base_url=url, max_retries=0) as miner:
        with pytest.raises(MinerFault, match=f"HTTP {status}") as caught:
            miner.mine([make_trajectory()])
        assert KEY not in str(caught.value)
        assert caught.value.__cause__ is None
        assert miner.events == {"requests": 1, "outage": 1}


def test_no_server_is_a_fault():
    with server((200, "")) as (url, _):
        pass
    with (
        ChatMiner("m", base_url=url, max_retries=0) as miner,
        pytest.raises(MinerFault, match="APIConnectionError"),
    ):
        miner.mine([make_trajectory()])


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("{}", "application/json"),
        ('{"choices": []}', "application/json"),
        ('{"choices": [{"index": 0}]}', "application/json"),
        ("[1]", "application/json"),
        ('{"choices":', "application/json"),
        ("<html>hello</html>", "text/html"),
    ],
)
def test_a_malformed_reply_is_a_fault(body, content_type):
    with (
        server((200, body, {"Content-Type": content_type})) as (url, _),
        ChatMiner("m", base_url=url, max_retries=0) as miner,
        pytest.raises(MinerFault),
    ):
        miner.mine([make_trajectory()])


@pytest.mark.parametrize("content", ["I would rather not.", "", None])
def test_an_answer_without_skills_is_counted(content):
    with server((200, completion(content))) as (url, _), ChatMiner("m", base_url=url) as miner:
        assert miner.mine([make_trajectory()]) == []
        assert miner.last_report.rejected == {"unparseable": 1}


def test_validation_episodes_never_leave():
    with server((200, completion(SKILLS))) as (url, seen), ChatMiner("m", base_url=url) as miner:
        with pytest.raises(SplitError):
            miner.mine([make_trajectory(split="valid_unseen")])
        assert seen == []


def test_key_and_package_are_asked_for(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        ChatMiner("m")
    with ChatMiner("m", base_url="http://127.0.0.1:1/v1"):
        pass
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingExtra, match="openai"):
        ChatMiner("m")


def test_importing_skills_loads_nothing_heavy():
    code = "import sys, siri.skills; print({'openai', 'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
