"""Checking that a vLLM server answers as a run needs."""

from __future__ import annotations

import time

from siri.policies.vllm_http import Server
from siri.types import Sampling

__all__ = ["probed"]

_PATIENCE = 30.0
"""Most seconds that a server may take for a probe."""


def probed(url: str) -> str:
    """Send a server the requests of a run, once, and describe its answers in one sentence.

    One token is sampled, and no weights are sent.

    Raises:
        ConfigError, PolicyFault: the server does not answer as a run needs; the message says what to do.
    """
    began = time.monotonic()
    server = Server(url, timeout=_PATIENCE, connections=1)
    try:
        model, context = server.served()
        server.ask("GET", "/is_sleeping")
        backend = server.backend()
        server.generate([0], Sampling(max_tokens=1), seed=0, stops=())
    finally:
        server.close()
    room = "" if context is None else f", context {context:,} tokens"
    way = "weights as a checkpoint" if backend is None else f"weights by {backend[:40]}"
    took = time.monotonic() - began
    return f"server {url[:80]} answered in {took:.1f} s: model {model[:80]!r}{room}, {way}"
