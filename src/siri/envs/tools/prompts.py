"""How the world of tools is shown to a model that was taught to call tools."""

from __future__ import annotations

import json
from collections.abc import Sequence

from siri.envs.prompts import skill_block
from siri.envs.tools.calls import FAMILIES, Tool, find_call
from siri.errors import ConfigError
from siri.types import Message, Shown, Task, Turn

__all__ = ["TOOLS", "CallPrompter"]

TOOLS = (
    Tool("calculator", "Compute an expression.", {"expression": "numbers, + - * / and parentheses"}),
    Tool(
        "convert",
        "Convert a value to another unit.",
        {"value": "a number", "from_unit": "its unit, in the plural", "to_unit": "the unit that is wanted"},
    ),
    Tool(
        "query",
        "Look up one entry of the table.",
        {"item": "the name of an item", "column": "color, price, weight, length, age, volume or stock"},
    ),
    Tool("answer", "Give the final answer.", {"value": "a number or a word"}),
)
"""The tools of the world, in the words of their schemas."""

_ASK = {
    "hermes": "For a function call, return a json object within <tool_call></tool_call> tags:\n"
    '<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>',
    "llama": 'Reply with one JSON object and nothing else: {"name": <function-name>, "parameters": <args>}',
    "mistral": 'Reply with [TOOL_CALLS][{"name": <function-name>, "arguments": <args-json-object>}]',
}


class CallPrompter:
    """The episode as a conversation of tool calls, in the form of one model family.

    The first message is the system's: the task and the signatures of the tools. Each prompt extends the one
    before. The skill block stands at the end of the question. A reply without a call that can be read, with
    two calls, or with arguments that its tool does not take, is malformed: the turn counts as invalid.

    Args:
        family: whose form calls have, see :mod:`siri.envs.tools.calls`.
        tools: what may be called.
    """

    def __init__(self, family: str = "hermes", *, tools: Sequence[Tool] = TOOLS) -> None:
        if family not in FAMILIES:
            raise ConfigError(
                f"got tool family {family!r}, expected one of {list(FAMILIES)}; fix: choose one"
            )
        self.family = family
        self.tools = tuple(tools)
        signatures = "\n".join(json.dumps(tool.schema(), ensure_ascii=False) for tool in self.tools)
        self.system = (
            "Answer the question with the help of the tools, one call at a time. Look values up, never guess "
            f"them.\n\n# Tools\n\n<tools>\n{signatures}\n</tools>\n\n{_ASK[family]}"
        )

    def messages(
        self,
        task: Task,  # noqa: ARG002 (the first observation is the question)
        turns: Sequence[Turn],
        observation: str,
        admissible: Sequence[str],  # noqa: ARG002 (a model that calls tools gets signatures)
        skills: Sequence[Shown] = (),
    ) -> list[Message]:
        """The conversation that asks for the next call."""
        seen = [turn.observation for turn in turns] + [observation]
        chat: list[Message] = [
            {"role": "system", "content": self.system},
            {"role": "user", "content": seen[0] + self.block(skills)},
        ]
        for turn, after in zip(turns, seen[1:], strict=True):
            chat.append({"role": "assistant", "content": turn.text})
            chat.append({"role": "user", "content": f"<tool_response>\n{after}\n</tool_response>"})
        return chat

    def block(self, skills: Sequence[Shown]) -> str:
        """The exact text that ``skills`` add."""
        return skill_block(skills)

    def parse(self, text: str) -> tuple[str, bool, tuple[int, int]]:
        """The first call as a command; well-formed only if it is the only one and fits its tool."""
        call = find_call(text, self.family)
        command = call.command(self.tools) if call else None
        if call is None or command is None:
            return " ".join(text.split())[-60:], False, (0, len(text))
        return command, call.alone, call.span
