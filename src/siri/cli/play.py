"""`siri play`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape

from siri.cli.app import app, console
from siri.cli.parts import make_suite
from siri.errors import ConfigError


@app.command()
def play(
    env: Annotated[str, typer.Option(help="Benchmark: alfworld or webshop.")] = "alfworld",
    data: Annotated[
        str | None, typer.Option(help="The benchmark's data folder; tasks are generated without.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split; by default the first one for validation.")] = None,
    task: Annotated[int, typer.Option(help="Number of the task in its split.")] = 0,
    html: Annotated[
        bool, typer.Option("--html", help="WebShop: as web pages on 127.0.0.1 instead of the terminal.")
    ] = False,
    port: Annotated[int, typer.Option(help="Port of --html; 0 takes a free one.")] = 8000,
    set_: Annotated[list[str], typer.Option("--set", help="section.key=value.")] = [],  # noqa: B006
) -> None:
    """Play a task yourself, as the agent sees it. Example: siri play --env webshop"""
    from siri.config import load_config, preset

    base = preset("paper" if env == "webshop" else "embedded", env)
    suite = make_suite(load_config(base, assignments=set_), env, data)
    if html:
        _serve(suite, port)
        return
    tasks = suite.split(split or next(name for name in suite.tasks if name != "train"))
    if not 0 <= task < len(tasks):
        raise ConfigError(f"got --task {task}, expected 0 to {len(tasks) - 1}; fix: choose one")
    world = suite.make_env()
    observation, info = world.reset(seed=0, options={"task": tasks[task]})
    console.print(f"{suite.name}: {escape(tasks[task].goal)}", style="bold")
    console.print("A command or its number; empty or Ctrl-D to stop.", style="dim")
    _loop(world, observation, info)


def _loop(world: Any, observation: str, info: Any) -> None:
    steps = 0
    while True:
        console.print(f"\n{escape(observation)}")
        for number, command in enumerate(info["admissible"]):
            console.print(f"  {number:3d}  {escape(command)}", style="dim")
        try:
            line = console.input("> ").strip()
        except EOFError:
            return
        if not line:
            return
        offered = info["admissible"]
        command = offered[int(line)] if line.isdecimal() and int(line) < len(offered) else line
        observation, _, terminated, truncated, info = world.step(command)
        steps += 1
        if not info["valid"]:
            console.print("(refused)", style="yellow")
        if terminated or truncated:
            score = f", task score {100 * info['score']:.1f}" if "score" in info else ""
            console.print(f"\n{'Solved' if info['success'] else 'Not solved'} after {steps} steps{score}.")
            for name, value in info.get("extra", {}).get("reward", {}).items():
                console.print(f"  {name} {value}", style="dim")
            return


def _serve(suite: Any, port: int) -> None:
    from siri.envs.webshop import WebShop
    from siri.envs.webshop.browser import make_server

    shop = suite.make_env()
    if not isinstance(shop, WebShop):
        raise ConfigError(f"got --html for {suite.name}, expected WebShop; fix: --env webshop")
    try:
        server = make_server(shop, port=port)
    except OSError as error:
        raise ConfigError(f"got port {port} that cannot be used ({error.strerror}); fix: --port 0") from error
    console.print(f"{suite.name}: http://127.0.0.1:{server.server_port}/ (Ctrl-C to stop)")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
