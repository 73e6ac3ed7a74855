"""Servers that say what they are told to, for tests of what a policy does when they restart or fail."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import torch

from siri.policies.buckets import SHARED, mapped
from tests.serving import served


class Fake:
    """What a vLLM server knows: its weights, what they are called, and what it was asked."""

    def __init__(self, backend: str | None = None) -> None:
        self.backend = backend
        self.begin()
        self.seen: list[str] = []
        self.prompts: list[list[int]] = []
        self.dtype: str | None = "torch.float32"
        self.trouble: Callable[[str], int | None] = lambda _: None
        """Asked before every answer: a status instead of one; 0 hangs up."""

    def begin(self) -> None:
        """As after a start: weights of its own."""
        self.weights, self.version, self.paused, self.sleeping = "", "default", False, False
        self.updating, self.received = False, dict[str, torch.Tensor]()

    def answer(self, path: str, body: Any) -> Any:
        if path == "/v1/models":
            return {"data": [{"id": "m", "max_model_len": 64}]}
        if path in ("/is_sleeping", "/is_paused"):
            return {path[1:]: self.sleeping if path == "/is_sleeping" else self.paused}
        if path == "/server_info?config_format=json":
            transfers = None if self.backend is None else {"backend": self.backend}
            return {
                "vllm_config": {"model_config": {"dtype": self.dtype}, "weight_transfer_config": transfers}
            }
        if path == "/weight_info":
            return {"weight_version": self.version}
        if path == "/pause?mode=abort":
            self.paused = True
        elif path == "/resume":
            self.paused = False
        elif path == "/update_weight_version":
            self.version = body["new_version"]
        elif path == "/collective_rpc":
            folder = Path(body["kwargs"]["weights_path"])
            assert self.paused
            assert (folder / "config.json").is_file()
            assert list(folder.glob("*.safetensors"))
            self.weights = folder.name
        elif path == "/get_world_size":
            return {"world_size": 2}
        elif path == "/init_weight_transfer_engine":
            self.joined = body["init_info"]
            return None if Path(self.joined.get("folder", "/")).is_dir() else 500
        elif path == "/start_weight_update":
            assert self.paused
            if self.updating:
                return 500
            self.updating, self.received = True, {}
        elif path == "/update_weights":
            if not self.updating:
                return 500
            if self.backend == SHARED:
                file = Path(body["update_info"]["path"])
                self.received |= dict(mapped(file, body["update_info"]["tensors"]))
                self.weights = file.parent.name
        elif path == "/finish_weight_update":
            if not self.updating:
                return 500
            self.updating = False
            self.version = (body or {}).get("weight_version", self.version)
        elif path == "/inference/v1/generate":
            assert not self.paused
            assert not self.updating
            self.prompts.append(body["token_ids"])
            span = {"version": self.version, "start": 0, "end": 1}
            # which weights answered is in the log-prob
            content = [{"token_id": 2, "logprob": -float(self.weights or 99)}]
            choice = {"finish_reason": "stop", "token_ids": [2], "logprobs": {"content": content}}
            return {"choices": [{**choice, "weight_versions": [span]}]}
        return None


@contextmanager
def serving(fake: Fake) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            fake.seen.append(self.path)
            status = fake.trouble(self.path)
            if status == 0:
                self.close_connection = True
                return
            answer = None if status else fake.answer(self.path, body)
            status = answer if isinstance(answer, int) else status
            content = b"" if status else json.dumps(answer).encode()
            self.send_response(status or 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, *args: object) -> None:
            pass

    with served(Handler) as url:
        yield url
