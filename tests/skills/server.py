"""A real server on this machine that speaks the Chat Completions protocol, well or badly."""

from __future__ import annotations

import itertools
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.serving import Quiet, served


@dataclass(frozen=True)
class Answer:
    """What the server does with one request."""

    status: int = 200
    body: str | bytes = ""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    """Seconds before it answers."""
    reset: bool = False
    """Close the connection with a TCP reset, after ``body``."""


def completion(content: str | None, *, finish: str = "stop", usage: Any = (11, 7), **message: Any) -> Answer:
    """A well-formed reply."""
    body = {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish,
                "message": {"role": "assistant", "content": content, **message},
            }
        ],
    }
    if usage is not None:
        asked, written = usage
        body["usage"] = {
            "prompt_tokens": asked,
            "completion_tokens": written,
            "total_tokens": asked + written,
        }
    return Answer(body=json.dumps(body))


@dataclass
class Seen:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@contextmanager
def server(*answers: Answer | Callable[[dict[str, Any]], Answer]) -> Iterator[tuple[str, list[Seen]]]:
    """Plays ``answers`` in turn, the last one for ever; yields its base URL and what it saw."""
    seen: list[Seen] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                seen.append(Seen(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                chosen = answers[min(len(seen), len(answers)) - 1]
            answer = chosen(body) if callable(chosen) else chosen
            time.sleep(answer.delay)
            content = answer.body.encode() if isinstance(answer.body, str) else answer.body
            try:
                self.send_response(answer.status)
                for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content) + 100 * answer.reset))
                self.end_headers()
                self.wfile.write(content)
                self.wfile.flush()
            except OSError:  # the client gave up
                self.close_connection = True
            if answer.reset:
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()
                self.close_connection = True

        def finish(self) -> None:
            try:
                super().finish()
            except OSError:
                self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    with served(Handler, Quiet) as url:
        yield f"{url}/v1", seen


@contextmanager
def raw_server(*scripts: Sequence[bytes], pause: float = 0.0) -> Iterator[str]:
    """Sends the pieces of each script in turn, ``pause`` seconds apart, whatever HTTP says; yields its URL.

    The last script is played for ever.
    """
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for number in itertools.count():
            try:
                connection, _ = listener.accept()
            except OSError:  # closed: the test is over
                return
            with connection, suppress(OSError):
                connection.settimeout(5.0)
                read = b""
                while b"\r\n\r\n" not in read:
                    read += connection.recv(65536)
                head, _, body = read.partition(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                while len(body) < length:
                    body += connection.recv(65536)
                for piece in scripts[min(number, len(scripts) - 1)]:
                    connection.sendall(piece)
                    time.sleep(pause)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        # wakes accept, which a close alone does not
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
