"""`siri play`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from siri.cli.app import app, console
from siri.cli.parts import load_policy
from siri.errors import ConfigError
from siri.types import Request, Sampling, Task, Turn

Player = Callable[[list[Turn], str, Any], tuple[str, str] | None]
"""(turns, observation, info) → (action, whole text), or None to stop."""


@app.command()
def play(
    game: Annotated[Path | None, typer.Argument(help="A game file; a generated game without.")] = None,
    env: Annotated[str, typer.Option(help="Benchmark.")] = "alfworld",
    data: Annotated[str | None, typer.Option(help="Data folder to draw a game from.")] = None,
    split: Annotated[str, typer.Option(help="Split of --data, or of generated games.")] = "valid_seen",
    kind: Annotated[str | None, typer.Option(help="Kind of task.")] = None,
    policy: Annotated[
        str, typer.Option(help="Who plays: 'human', 'expert', 'tiny', a model folder or a hub name.")
    ] = "human",
    engine: Annotated[str, typer.Option(help="native or textworld.")] = "native",
    max_steps: Annotated[int, typer.Option(help="Commands until the episode ends.")] = 50,
    temperature: Annotated[float, typer.Option(help="Of a model; 0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Which game, and the model's sampling.")] = 0,
) -> None:
    """Play one game in the terminal. Example: siri play --policy expert --seed 3"""
    if env != "alfworld":
        raise ConfigError(f"got --env {env!r}, expected 'alfworld'; fix: choose it")
    from siri.envs.alfworld import ALFWorld

    task = _choose(game, data, split, kind, seed)
    world = ALFWorld(engine=engine, max_steps=max_steps)  # type: ignore[arg-type] (checked there)
    observation, info = world.reset(seed=seed, options={"task": task})
    player = _player(policy, task, temperature, seed)
    turns: list[Turn] = []
    while True:
        console.print(f"\n{escape(observation.strip())}", soft_wrap=True)
        answer = player(turns, observation, info)
        if answer is None:
            console.print("stopped")
            return
        action, text = answer
        before, shown = info, observation
        observation, reward, terminated, truncated, info = world.step(action)
        turns.append(
            Turn(
                observation=shown,
                admissible=tuple(before["admissible"]),
                action=action,
                text=text,
                valid=info["valid"],
                reward=float(reward),
                anchor=before["anchor"],
            )
        )
        if terminated or truncated:
            console.print(f"\n{escape(observation.strip())}", soft_wrap=True)
            end = "[bold]won[/bold]" if terminated else "not solved"
            console.print(f"{end} after {len(turns)} commands")
            return


def _choose(game: Path | None, data: str | None, split: str, kind: str | None, seed: int) -> Task:
    from siri.envs.alfworld import generate_games, load_game, load_tasks

    kinds = None if kind is None else [kind]
    if game is not None:
        file = game / "game.tw-pddl" if game.is_dir() else game
        return Task(file.parent.name, kind or "", load_game(file).task, split, str(file))
    if data is not None:
        tasks = load_tasks(data, split=split, kinds=kinds)
    else:
        tasks = generate_games(60, seed=0, split=split, kinds=kinds, scale=0.4)
    return tasks[seed % len(tasks)]


def _player(policy: str, task: Task, temperature: float, seed: int) -> Player:
    if policy == "human":
        return _ask
    return _expert(task) if policy == "expert" else _model(policy, task, temperature, seed)


def _ask(turns: list[Turn], observation: str, info: Any) -> tuple[str, str] | None:  # noqa: ARG001
    """A person at the terminal: a number of the list, or any text."""
    commands = info["admissible"]
    console.print("  ".join(f"[dim]{n}[/dim] {escape(c)}" for n, c in enumerate(commands, 1)), soft_wrap=True)
    try:
        text = console.input("> ").strip()
    except (EOFError, KeyboardInterrupt):
        return None
    if text in ("", "quit", "exit"):
        return None
    if text.isdecimal() and 1 <= int(text) <= len(commands):
        text = commands[int(text) - 1]
    return text, text


def _expert(task: Task) -> Player:
    from siri.envs.alfworld import Expert, State, load_game

    game = load_game(task.source)
    expert, shadow = Expert(game), State(game)

    def act(turns: list[Turn], observation: str, info: Any) -> tuple[str, str]:  # noqa: ARG001
        command = expert.next_command(shadow)
        shadow.step(command)
        console.print(f"> {escape(command)}")
        return command, command

    return act


def _model(name: str, task: Task, temperature: float, seed: int) -> Player:
    from siri.envs.alfworld import TranscriptPrompter, WindowPrompter

    model = load_policy(name, 1)
    tiny = name == "tiny"
    prompter = TranscriptPrompter() if tiny else WindowPrompter()
    sampling = Sampling(temperature=temperature, max_tokens=32 if tiny else 512)

    def act(turns: list[Turn], observation: str, info: Any) -> tuple[str, str] | None:
        messages = prompter.messages(task, turns, observation, info["admissible"])
        [answer] = model.generate([Request(messages, seed=seed + len(turns))], sampling)
        if not answer.completion_ids:
            console.print("the prompt no longer fits the model's context")
            return None
        console.print(f"> {escape(answer.text)}", soft_wrap=True)
        return prompter.parse(answer.text)[0], answer.text

    return act
