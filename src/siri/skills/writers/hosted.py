"""A chat model behind an OpenAI-compatible API: retries, limits, budget, cache. The only file that knows
``openai``.

The key comes from OPENAI_API_KEY and goes into the Authorization header, nowhere else: no message here
repeats what a server said, and a reply that contains the key has it blotted out before anyone sees it.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from siri.errors import CheckpointError, ConfigError, MissingExtra
from siri.storage import write_atomic
from siri.types import Message

__all__ = ["Call", "Failure", "HostedModel", "Reply"]

_LARGEST = 256 * 1024
"""Bytes of a reply that are read; a few skills are a few hundred."""
_LONGEST_WAIT = 120.0
"""Seconds that a server may ask us to wait before the next attempt."""
_BLOT = "<|key|>"
"""Stands where the key stood; a skill that contains it is refused as leaked text."""
_OPTIONAL = ("response_format", "temperature", "seed", "max_completion_tokens")
"""Parameters that a server may not know: dropped when it says so."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A completion."""

    text: str
    refusal: bool = False
    """The model declined in the API's own field, or a content filter did."""
    cut_off: bool = False
    """It ended at the token limit."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: bool = False
    """The server reported no usage: a token is taken to have four characters."""
    attempts: int = 1

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Failure:
    """A call without a completion."""

    cause: str
    """``timeout``, ``connection``, ``http_<status>``, ``truncated_body``, ``wrong_shape``, ``too_large``,
    ``budget``."""
    retry: bool = False
    wait: float | None = None
    """Seconds that the server asked for."""
    blamed: str | None = None
    """A parameter that the server seems not to know."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call as it is recorded, retries included."""

    key: str
    """Hash of the request."""
    attempts: int
    causes: tuple[str, ...]
    """Of the attempts that failed, in order."""
    prompt_tokens: int
    completion_tokens: int
    estimated: bool
    seconds: float
    cached: bool


class HostedModel:
    """Asks one model, politely and within limits. Thread-safe.

    Attempts are repeated after time-outs, lost connections, bodies that are no JSON, and HTTP 408, 409, 429
    and 5xx: after Retry-After where the server gives one (up to two minutes), else after 0.5, 1, 2 … 8
    seconds less a random part of up to a quarter. A parameter that a server refuses (structured outputs,
    temperature, seed) is dropped for good. Answers are kept in ``cache`` under a hash of the request; what
    they cost counts towards the budget again when they are read, so a resumed run goes on as if it had not
    stopped, and pays once.

    Args:
        model: its name at the endpoint.
        base_url: of an OpenAI-compatible API, without user name, password or query; None is OpenAI's own.
        options: of every request, e.g. ``temperature``, ``max_completion_tokens``, ``response_format``.
        timeout: seconds for one attempt, reading the reply included.
        max_retries: attempts beyond the first.
        concurrency: calls on the way at once.
        max_requests, max_tokens: budget of attempts and of tokens since construction; None is no limit.
        cache: folder of kept answers and of ``calls.jsonl``; None keeps nothing.
        sleep: waits between attempts.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        options: Mapping[str, Any] | None = None,
        timeout: float = 60.0,
        max_retries: int = 3,
        concurrency: int = 4,
        max_requests: int | None = None,
        max_tokens: int | None = None,
        cache: str | os.PathLike[str] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        try:
            import openai
        except ImportError as error:
            raise MissingExtra("openai", "openai") from error
        if timeout <= 0 or max_retries < 0 or concurrency < 1:
            raise ConfigError(
                f"got timeout={timeout}, max_retries={max_retries}, concurrency={concurrency}; "
                "expected timeout > 0, max_retries >= 0, concurrency >= 1"
            )
        _check_address(base_url)
        self._secret = os.environ.get("OPENAI_API_KEY", "").strip()
        if not self._secret and base_url is None:
            raise ConfigError(
                "got no OPENAI_API_KEY in the environment, expected one; fix: set it, or pass base_url"
            )
        self.model, self.base_url, self.options = model, base_url, dict(options or {})
        self.timeout, self.max_retries, self.concurrency = timeout, max_retries, concurrency
        self.max_requests, self.max_tokens = max_requests, max_tokens
        self.cache = None if cache is None else Path(cache)
        self.events: Counter[str] = Counter()
        """Counts: ``calls``, ``requests`` (attempts), ``retries``, ``cached``, one of each cause,
        ``dropped:…``."""
        self.calls: list[Call] = []
        self._spent = {"requests": 0, "tokens": 0}
        self._dropped: set[str] = set()
        self._lock = threading.Lock()
        self._sleep = sleep
        self._openai = openai
        self._http = _transport_errors(openai)
        self._client = openai.OpenAI(
            api_key=self._secret or "none", base_url=base_url, timeout=timeout, max_retries=0
        )

    @property
    def spent(self) -> Mapping[str, int]:
        """``requests`` and ``tokens`` so far, kept answers included."""
        return dict(self._spent)

    def exhausted(self) -> str | None:
        """Which part of the budget is spent, in words; None while there is some left."""
        for name, limit in (("requests", self.max_requests), ("tokens", self.max_tokens)):
            if limit is not None and self._spent[name] >= limit:
                return f"the budget of {limit} {name} is spent"
        return None

    def ask(self, conversations: Sequence[list[Message]], seeds: Sequence[int]) -> list[Reply | Failure]:
        """One reply or failure for each conversation, in order.

        Calls go out in waves of ``concurrency``, and what a wave cost is added up in order before the next,
        so that a budget cuts at the same place whatever the timing.
        """
        done: list[Reply | Failure] = []
        pairs = list(zip(conversations, seeds, strict=True))
        with ThreadPoolExecutor(self.concurrency) as pool:
            while pairs:
                wave, pairs = pairs[: self.concurrency], pairs[self.concurrency :]
                results = list(pool.map(lambda pair: self._call(*pair), wave))
                for result, call in results:
                    self._account(result, call)
                    done.append(result)
        return done

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def state_dict(self) -> dict[str, Any]:
        """What was spent and counted, as JSON values."""
        return {"spent": dict(self._spent), "events": dict(self.events)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of ``state_dict``."""
        try:
            self._spent = {name: int(state["spent"][name]) for name in ("requests", "tokens")}
            self.events = Counter({str(k): int(v) for k, v in state["events"].items()})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"got a malformed miner state ({error!r})") from error

    def _call(self, messages: list[Message], seed: int) -> tuple[Reply | Failure, Call | None]:
        """One call with its retries. Attempts are claimed from the budget here, tokens are added up later."""
        body = {"model": self.model, "messages": messages, "seed": seed, **self.options}
        key = hashlib.sha256(
            json.dumps([self.base_url, body], sort_keys=True, default=str).encode()
        ).hexdigest()
        began = time.monotonic()
        kept = self._recall(key)
        if kept is not None:
            with self._lock:
                if self.exhausted() is not None:
                    return Failure("budget"), None
                self._spent["requests"] += kept.attempts
            return kept, _call_record(key, kept, (), began, cached=True)
        jitter = random.Random(key)
        causes: list[str] = []
        attempts = retries = 0
        while True:
            with self._lock:
                if self.exhausted() is not None:
                    return Failure("budget"), _call_record(key, None, causes, began, attempts=attempts)
                self._spent["requests"] += 1
                self.events["requests"] += 1
            attempts += 1
            result = self._attempt(self._renamed(body))
            if isinstance(result, Reply):
                result = _with_attempts(result, attempts)
                self._keep(key, result)
                return result, _call_record(key, result, causes, began)
            causes.append(result.cause)
            if result.blamed is not None:
                with self._lock:
                    self.events[f"dropped:{result.blamed}"] += result.blamed not in self._dropped
                    self._dropped.add(result.blamed)
                continue
            if not result.retry or retries >= self.max_retries or (result.wait or 0.0) > _LONGEST_WAIT:
                return result, _call_record(key, None, causes, began, attempts=attempts)
            back_off = min(8.0, 0.5 * 2.0**retries) * (1.0 - 0.25 * jitter.random())
            retries += 1
            with self._lock:
                self.events["retries"] += 1
            self._sleep(back_off if result.wait is None else result.wait)

    def _renamed(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The request without what the server does not know; older ones call the token limit max_tokens."""
        with self._lock:
            dropped = set(self._dropped)
        sent = {name: value for name, value in body.items() if name not in dropped}
        if "max_completion_tokens" in dropped and "max_completion_tokens" in body:
            sent["max_tokens"] = body["max_completion_tokens"]
        return sent

    def _attempt(self, body: Mapping[str, Any]) -> Reply | Failure:
        openai, began = self._openai, time.monotonic()
        create = self._client.chat.completions.with_streaming_response.create
        try:
            with create(**body) as response:
                content = b""
                for chunk in response.iter_bytes(16384):
                    content += chunk
                    if len(content) > _LARGEST:
                        return Failure("too_large")
                    if time.monotonic() - began > self.timeout:
                        return Failure("timeout", retry=True)
        except openai.APITimeoutError:
            return Failure("timeout", retry=True)
        except openai.APIConnectionError:
            return Failure("connection", retry=True)
        except openai.APIStatusError as error:
            return _status_failure(error, body)
        except self._http.TimeoutException:
            return Failure("timeout", retry=True)
        except self._http.HTTPError:
            return Failure("connection", retry=True)
        except openai.OpenAIError:
            return Failure("client")
        return self._parse(content, body)

    def _parse(self, content: bytes, body: Mapping[str, Any]) -> Reply | Failure:
        try:
            data = json.loads(content)
        except (ValueError, RecursionError):
            return Failure("truncated_body", retry=True)
        choices = data.get("choices") if isinstance(data, dict) else None
        choice = choices[0] if isinstance(choices, list) and choices else None
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(choice, dict) or not isinstance(message, dict):
            return Failure("wrong_shape")
        text = message.get("content")
        if not (text is None or isinstance(text, str)):
            return Failure("wrong_shape")
        text = self._blot(text or "")
        finish = choice.get("finish_reason")
        usage = data.get("usage") if isinstance(data.get("usage"), dict) else {}
        asked, written = usage.get("prompt_tokens"), usage.get("completion_tokens")
        known = isinstance(asked, int) and isinstance(written, int) and min(asked, written) >= 0
        if not (isinstance(asked, int) and isinstance(written, int) and known):
            asked, written = sum(len(m["content"]) for m in body["messages"]) // 4, len(text) // 4
        return Reply(
            text,
            refusal=bool(message.get("refusal")) or finish == "content_filter",
            cut_off=finish == "length",
            prompt_tokens=asked,
            completion_tokens=written,
            estimated=not known,
        )

    def _blot(self, text: str) -> str:
        return text.replace(self._secret, _BLOT) if self._secret else text

    def _account(self, result: Reply | Failure, call: Call | None) -> None:
        """Add up what a call cost, and record it."""
        self.events["calls"] += 1
        if isinstance(result, Reply):
            self._spent["tokens"] += result.tokens
        else:
            self.events[result.cause] += 1
        if call is None:
            return
        self.events["cached"] += call.cached
        self.calls.append(call)
        if self.cache is not None:
            with _as_config_error(self.cache), (self.cache / "calls.jsonl").open("a") as log:
                log.write(json.dumps(asdict(call)) + "\n")

    def _recall(self, key: str) -> Reply | None:
        """A kept answer; one that was damaged is asked for again."""
        if self.cache is None:
            return None
        with suppress(OSError, ValueError, TypeError):
            reply = Reply(**json.loads((self.cache / f"{key}.json").read_text(encoding="utf-8")))
            if isinstance(reply.text, str) and isinstance(reply.tokens, int):
                return reply
        return None

    def _keep(self, key: str, reply: Reply) -> None:
        if self.cache is not None:
            with _as_config_error(self.cache):
                write_atomic(self.cache / f"{key}.json", json.dumps(asdict(reply)))


def _check_address(base_url: str | None) -> None:
    if base_url is None:
        return
    try:
        parts = urlsplit(base_url)
        good = parts.scheme in ("http", "https") and parts.hostname
        secret = parts.username is not None or parts.password is not None or parts.query
    except ValueError:
        good, secret = None, None
    if not good or secret:
        raise ConfigError(
            "got a base URL that is no plain http(s) address, expected e.g. http://127.0.0.1:8000/v1; "
            "fix: leave out user name, password and query, and put the key into OPENAI_API_KEY"
        )


def _transport_errors(openai: Any) -> Any:
    """The HTTP library under ``openai``: httpx2 in newer versions, httpx before."""
    import sys

    root = openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0]
    return sys.modules[root]


def _status_failure(error: Any, body: Mapping[str, Any]) -> Failure:
    status: int = error.status_code
    cause = f"http_{status}"
    if status in (400, 404, 422):
        # the text is only searched for the names of parameters
        said = json.dumps(error.body, default=str) if error.body is not None else ""
        known = [name for name in _OPTIONAL if name in body]
        blamed = [name for name in known if name in said]
        if not blamed and status != 404 and "response_format" in known:
            blamed = ["response_format"]
        return Failure(cause, blamed=blamed[0] if blamed else None)
    if status == 429 and getattr(error, "code", None) == "insufficient_quota":
        return Failure(cause)
    return Failure(cause, retry=status in (408, 409, 429) or status >= 500, wait=_retry_after(error))


def _retry_after(error: Any) -> float | None:
    """Seconds of the Retry-After header, which is a number or a date; None without a usable one."""
    headers = error.response.headers
    with suppress(TypeError, ValueError):
        return max(0.0, float(headers.get("retry-after-ms")) / 1000.0)
    value = headers.get("retry-after")
    with suppress(TypeError, ValueError):
        return max(0.0, float(value))
    with suppress(TypeError, ValueError, OverflowError):
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    return None


def _with_attempts(reply: Reply, attempts: int) -> Reply:
    return Reply(**{**asdict(reply), "attempts": attempts})


def _call_record(
    key: str,
    reply: Reply | None,
    causes: Sequence[str],
    began: float,
    *,
    attempts: int = 0,
    cached: bool = False,
) -> Call:
    seconds = round(time.monotonic() - began, 3)
    if reply is None:
        return Call(key, attempts, tuple(causes), 0, 0, False, seconds, cached)
    tokens = reply.prompt_tokens, reply.completion_tokens
    return Call(key, reply.attempts, tuple(causes), *tokens, reply.estimated, seconds, cached)


@contextmanager
def _as_config_error(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise ConfigError(f"got cache folder {folder} that cannot be written ({error.strerror})") from error
