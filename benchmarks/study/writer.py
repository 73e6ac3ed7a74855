"""A Chat Completions server on this machine that writes skills as a strong model would.

It reads the summary prompt like any model does, sees from its commands what was done, and answers with the
right skill of that kind of task: the distillation arm of the study, over the real protocol.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from siri.policies.tiny import CONDITIONS

__all__ = ["kind_of", "serve"]


def kind_of(text: str) -> str:
    """The kind of task that a summary prompt tells of, from its commands."""
    lines = [line[2:] for line in text.splitlines() if line.startswith("> ")]
    for verb in ("clean", "heat", "cool"):
        if any(line.startswith(f"{verb} ") for line in lines):
            return f"pick_{verb}_then_place_in_recep"
    if any(line.startswith("use ") for line in lines):
        return "look_at_obj_in_light"
    two = text.partition("\n")[0].split()
    return "pick_two_obj_and_place" if "two" in two else "pick_and_place_simple"


def serve(strategies: Mapping[str, str]) -> str:
    """Start the server in a thread of this process; return its base URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            kind = kind_of(request["messages"][-1]["content"])
            skill = f"When {CONDITIONS[kind]}: {strategies[kind]}"
            choice = {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": skill},
            }
            usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
            body = json.dumps(
                {
                    "id": "study",
                    "object": "chat.completion",
                    "created": 0,
                    "model": request["model"],
                    "choices": [choice],
                    "usage": usage,
                }
            ).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}/v1"
