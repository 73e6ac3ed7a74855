"""Skills written by a chat model behind an OpenAI-compatible API. The only file that knows ``openai``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from siri.errors import ConfigError, MinerFault, MissingExtra
from siri.protocols import Policy
from siri.skills.mining import Miner
from siri.skills.prompts import SummaryPrompt
from siri.types import Message

__all__ = ["ChatMiner"]


class ChatMiner(Miner):
    """Asks ``model`` for the skills; prompts, parsing and refusals are those of ``SelfMiner``.

    The key is read from OPENAI_API_KEY and from nowhere else; with a ``base_url`` of your own it may be
    missing. The text of the episodes is sent to the endpoint. Retries, with back-off and Retry-After, are
    the client's. An outage is a ``MinerFault`` and is counted in ``events``; its message holds the status
    only, because a server's own words may repeat the key.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        prompt: SummaryPrompt | None = None,
        max_per_request: int = 4,
        max_skills: int = 3,
        samples: int = 1,
        temperature: float | None = None,
        max_tokens: int | None = None,
        timeout: float = 60.0,
        max_retries: int = 3,
        pattern: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            prompt=prompt,
            max_per_request=max_per_request,
            max_skills=max_skills,
            samples=samples,
            pattern=pattern,
            seed=seed,
        )
        try:
            import openai
        except ImportError as error:
            raise MissingExtra("openai", "openai") from error
        key = os.environ.get("OPENAI_API_KEY")
        if not key and base_url is None:
            raise ConfigError(
                "got no OPENAI_API_KEY in the environment, expected one; fix: set it, or pass base_url"
            )
        self.model = model
        self.events: Counter[str] = Counter()
        """Counts since construction: ``requests``, ``outage``, ``malformed``."""
        self._options: dict[str, Any] = {"max_completion_tokens": max_tokens or self.prompt.max_tokens}
        if temperature is not None:
            self._options["temperature"] = temperature
        self._openai = openai
        self._client = openai.OpenAI(
            api_key=key or "none", base_url=base_url, timeout=timeout, max_retries=max_retries
        )

    @property
    def origin(self) -> str:
        """``openai:<model>``."""
        return f"openai:{self.model}"

    def bind(self, policy: Policy | None = None, *, iteration: int = 0) -> ChatMiner:
        """Note the iteration. The policy is not used."""
        del policy
        self.iteration = iteration
        return self

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _complete(self, conversations: Sequence[list[Message]], seeds: Sequence[int]) -> list[str]:
        return [self._ask(messages, seed) for messages, seed in zip(conversations, seeds, strict=True)]

    def _ask(self, messages: list[Message], seed: int) -> str:
        self.events["requests"] += 1
        chat: Any = messages
        try:
            reply: Any = self._client.chat.completions.create(
                model=self.model, messages=chat, seed=seed, **self._options
            )
        except self._openai.OpenAIError as error:
            self.events["outage"] += 1
            status = getattr(error, "status_code", None)
            detail = type(error).__name__ if status is None else f"{type(error).__name__}, HTTP {status}"
            raise MinerFault(
                f"got {detail} from model {self.model!r}, expected a completion; "
                "fix: check the endpoint, the model name and OPENAI_API_KEY, or mine with SelfMiner"
            ) from None
        except ValueError:  # the client lets a body that is no JSON through as the decoder's own error
            reply = None
        choices = getattr(reply, "choices", None)
        message = getattr(choices[0], "message", None) if isinstance(choices, list) and choices else None
        text = getattr(message, "content", None)
        if message is None or not (text is None or isinstance(text, str)):
            self.events["malformed"] += 1
            raise MinerFault(
                f"got a reply without a message from model {self.model!r}, expected a chat completion; "
                "fix: check that base_url is an OpenAI-compatible API (it usually ends in /v1)"
            )
        return text or ""
