"""Who plays in `siri play`: a person, the benchmark's expert, or a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from siri.cli.app import console, use_threads
from siri.errors import ConfigError
from siri.types import Info, Request, Sampling, Task, Turn

if TYPE_CHECKING:
    from siri.protocols import Expert, Prompter

__all__ = ["Player", "player_of"]

Player = Callable[[list[Turn], str, Info], tuple[str, str] | None]
"""(turns, observation, info) → (action, whole text), or None to stop."""


def player_of(
    name: str,
    env: str,
    expert: Expert | None,
    task: Task,
    prompter: Prompter | None,
    temperature: float,
    seed: int,
) -> Player:
    """The player that --policy names."""
    if name == "human":
        return _ask
    if name == "expert":
        return _expert(expert, task, seed)
    return _model(name, env, task, prompter, temperature, seed)


def _ask(turns: list[Turn], observation: str, info: Info) -> tuple[str, str] | None:  # noqa: ARG001
    """A person at the terminal: a number of the list, or any text."""
    commands = info["admissible"]
    for number, command in enumerate(commands):
        console.print(f"  {number:3d}  {command}", style="dim")
    try:
        text = console.input("> ").strip()
    except (EOFError, KeyboardInterrupt):
        return None
    if not text:
        return None
    if text.isdecimal() and int(text) < len(commands):
        text = commands[int(text)]
    return text, text


def _say(command: str) -> tuple[str, str]:
    console.print(f"> {command}", soft_wrap=True)
    return command, command


def _expert(expert: Expert | None, task: Task, seed: int) -> Player:
    """The environment's expert, command by command."""
    shown = None if expert is None else expert.demonstrate(task, seed=seed)
    if shown is None:
        raise ConfigError(
            f"got --policy expert for {task.id}, expected a task that an expert solves; fix: --policy human"
        )
    commands = iter(shown)

    def act(turns: list[Turn], observation: str, info: Info) -> tuple[str, str] | None:  # noqa: ARG001
        command = next(commands, None)
        return None if command is None else _say(command)

    return act


def _model(
    name: str, env: str, task: Task, prompter: Prompter | None, temperature: float, seed: int
) -> Player:
    if prompter is None:
        from siri.envs.alfworld import TranscriptPrompter, WindowPrompter

        prompter = TranscriptPrompter() if name == "tiny" else WindowPrompter()
    from siri import build, doors
    from siri.config import load_config
    from siri.config.presets import preset

    use_threads()
    model = build.policy(name, load_config(preset("embedded", env), changes={"rollout.slots": 1}), env=env)
    sampling = Sampling(temperature=temperature, max_tokens=32 if name == "tiny" else 512)

    def act(turns: list[Turn], observation: str, info: Info) -> tuple[str, str] | None:
        messages = prompter.messages(task, turns, observation, info["admissible"])
        request = Request(messages, seed=seed + len(turns), tools=doors.tools_of(prompter))
        [answer] = model.generate([request], sampling)
        if not answer.completion_ids:
            console.print("the prompt no longer fits the model's context")
            return None
        console.print(f"> {answer.text}", soft_wrap=True)
        return prompter.parse(answer.text)[0], answer.text

    return act
