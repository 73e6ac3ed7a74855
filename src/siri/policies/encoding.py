"""Chat messages to token ids, without ever tokenising twice what was sampled once.

A conversation that continues keeps the ids of its past: new ids = old prompt + sampled completion +
tokenised rest. Tokenising the whole text anew could split the model's own words differently, and then the
stored log-probs would belong to other tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from siri.errors import ConfigError
from siri.types import Message, Request

__all__ = ["Encoder", "Prompt", "Transcript"]


@dataclass(frozen=True, slots=True)
class Prompt:
    """An encoded request."""

    text: str
    ids: list[int]
    plain_ids: list[int]
    """The ids of ``Request.plain``; the same list as ``ids`` without one."""
    continued: bool
    """True when ``ids`` extend the ids of the transcript that came before."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """A session after its last completion: what the next request may extend."""

    request: Request
    prompt: Prompt
    reply: str
    completion_ids: tuple[int, ...]


class Encoder:
    """Renders with the tokenizer's chat template and tokenises.

    The text of a completion is the exact decoding of its ids, without the stop token and with special tokens
    skipped; spaces are kept as they are. The next request of the session must repeat it as the assistant's
    message.

    Args:
        tokenizer: any transformers tokenizer with a chat template.
        stop_ids: ids that end a completion.
    """

    def __init__(self, tokenizer: Any, stop_ids: Collection[int]) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise ConfigError(
                "got a tokenizer without chat template, expected one to render messages; "
                "fix: set tokenizer.chat_template"
            )
        self.tokenizer = tokenizer
        self.stop_ids = frozenset(stop_ids)
        self._stop_text = {i: str(tokenizer.convert_ids_to_tokens(i)) for i in self.stop_ids}

    def encode(self, requests: Sequence[Request], transcripts: Sequence[Transcript | None]) -> list[Prompt]:
        """Encode each request as the continuation of its transcript, or from nothing."""
        texts = self.render([request.messages for request in requests])
        rests = [
            None if old is None else self._rest(old, request.messages, text)
            for request, old, text in zip(requests, transcripts, texts, strict=True)
        ]
        plains = [
            n
            for n, (request, old, rest) in enumerate(zip(requests, transcripts, rests, strict=True))
            if request.plain is not None
            and (rest is None or old is None or not _same_rest(old.request, request))
        ]
        todo = [text if rest is None else rest for text, rest in zip(texts, rests, strict=True)]
        todo += self.render([requests[n].plain or () for n in plains])
        ids = self.tokenize(todo)
        anew = dict(zip(plains, ids[len(texts) :], strict=True))
        prompts = []
        for n, (request, old, rest) in enumerate(zip(requests, transcripts, rests, strict=True)):
            new = ids[n]
            if rest is None or old is None:
                full = plain = new
            else:
                tail = [*old.completion_ids, *new]
                full = plain = old.prompt.ids + tail
                if request.plain is not None and n not in anew:
                    plain = old.prompt.plain_ids + tail
            prompts.append(Prompt(texts[n], full, anew.get(n, plain), rest is not None))
        return prompts

    def render(self, conversations: Sequence[Sequence[Message]]) -> list[str]:
        """Each prompt as text, up to where the assistant speaks."""
        if not conversations:
            return []
        found = self.tokenizer.apply_chat_template(
            [list(messages) for messages in conversations], add_generation_prompt=True, tokenize=False
        )
        return [str(text) for text in found]

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text; equal texts are tokenised once."""
        unique = list(dict.fromkeys(texts))
        found = self.tokenizer(unique, add_special_tokens=False)["input_ids"] if unique else []
        table = dict(zip(unique, found, strict=True))
        return [table[text] for text in texts]

    def decode(self, completion_ids: Sequence[int]) -> str:
        """The text of a completion, without its stop token."""
        ids = list(completion_ids)
        if ids and ids[-1] in self.stop_ids:
            ids.pop()
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _rest(self, old: Transcript, messages: Sequence[Message], text: str) -> str | None:
        """What ``text`` adds after the transcript; None when it does not extend it."""
        past = old.request.messages
        count = len(past)
        if len(messages) <= count or list(messages[:count]) != list(past):
            return None
        answer = messages[count]
        if answer["role"] != "assistant" or answer["content"] != old.reply:
            return None
        # many templates trim what the assistant said
        for reply in (old.reply, old.reply.strip()):
            before = old.prompt.text + reply
            if text.startswith(before):
                rest = text[len(before) :]
                last = old.completion_ids[-1] if old.completion_ids else None
                return rest.removeprefix(self._stop_text[last]) if last in self._stop_text else rest
        return None


def _same_rest(old: Request, new: Request) -> bool:
    """Whether the plain conversation grew by exactly the messages that the other one grew by."""
    if old.plain is None or new.plain is None:
        return False
    before = list(old.plain)
    return list(new.plain[: len(before)]) == before and list(new.plain[len(before) :]) == list(
        new.messages[len(old.messages) :]
    )
