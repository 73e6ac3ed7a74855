"""`siri run --dry-run`: check everything that needs no weights."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from siri import doors
from siri.build import check_engine
from siri.cli.app import console
from siri.counting import counted
from siri.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from siri.config import RunConfig
    from siri.policies.encoding import Encoder
    from siri.protocols import SkillMiner
    from siri.rollout.suite import Suite
    from siri.runs import Recipe

__all__ = ["dry_run", "probe_once"]

_THOUGHT = 64
"""Number of tokens that suffice for a short thought and an action."""


def dry_run(recipe: Recipe, processes: int) -> None:
    """Print what the run would need; raise the errors that the run would raise."""
    from siri.policies.tiny import EMBEDDED, base_path
    from siri.runs import versions
    from siri.runs.planning import plan, shape_of

    settings, policy = recipe.config, recipe.policy
    check_engine(recipe.engine)
    if recipe.engine == "vllm" and importlib.util.find_spec("vllm") is None:
        raise MissingExtra("vllm", "vllm")
    embedded = str(base_path(recipe.env if recipe.env in EMBEDDED else "alfworld"))
    shape = shape_of(embedded if policy == "tiny" else policy)
    room = _machine_memory()
    found = plan(
        settings,
        shape,
        processes=processes,
        env=recipe.env,
        engine=recipe.engine,
        memory_of_device=room,
    )
    table = Table("memory of a process", "GiB", title=f"{policy}: {found.parameters / 1e9:.3f} B parameters")
    for name, size in found.memory.items():
        table.add_row(name, f"{size:.2f}")
    console.print(table)
    moments = Table("part of an iteration", "GiB", title="at most at once, on the device of a process")
    for name, size in found.moments.items():
        moments.add_row(name, f"{size:.1f}")
    console.print(moments)
    host = Table("what", "GiB", title="on the host of a machine, for all its processes")
    for name, size in (
        ("copies while a checkpoint is written", found.host),
        ("shared memory, if servers here take tensors", found.shared),
    ):
        if size:
            host.add_row(name, f"{size:.1f}")
    if host.row_count:
        console.print(host)
    if room is not None:
        most = max(found.moments.values())
        verdict = "more than" if most > room / 2**30 else "within"
        console.print(f"{most:.1f} GiB at most, {verdict} this machine's {room / 2**30:.1f} GiB")
    batches = Table("batches", "", title=counted(processes, "process", "processes"))
    for name, count in found.batches.items():
        batches.add_row(name, f"{count:,.0f}")
    for name, gigabytes in found.checkpoints.items():
        batches.add_row(name, f"{gigabytes:,.1f}")
    played = settings.rollout.tasks * settings.rollout.group_size
    if played % processes:
        shares = counted(processes, "process", "processes")
        batches.caption = f"{counted(played, 'episode')} over {shares}: some play one less"
    console.print(batches)
    encoder = _show_template(embedded if policy == "tiny" else policy, settings)
    suite = None
    if recipe.data is None:
        console.print("tasks: generated, since no --data was given")
    else:
        suite = recipe.make_suite()
        counts = ", ".join(f"{len(tasks):,} {split}" for split, tasks in suite.tasks.items())
        console.print(f"tasks: {counts}, from {Path(recipe.data)}")
    if encoder is not None and policy != "tiny":
        _require_room(suite or _few_games(recipe), encoder, policy, settings)
    console.print(", ".join(f"{name} {version}" for name, version in versions().items() if version))


def probe_once(recipe: Recipe, writer: SkillMiner | None) -> None:
    """Probe what the run needs over the network (the writer's endpoint, vLLM servers); print the answers.

    Raises:
        MinerFault, PolicyFault, ConfigError: one of them does not answer, or not as the run needs.
    """
    from siri.policies.vllm_http import addresses
    from siri.policies.vllm_probe import probed

    said = [] if writer is None else [doors.probed(writer)]
    if recipe.engine.startswith(("http://", "https://")):
        said += [probed(url) for url in addresses(recipe.engine)]
    said = [words for words in said if words]
    for words in said or [f"nothing to ask: miner {recipe.miner} and engine {recipe.engine} are here"]:
        console.print(words)


def _few_games(recipe: Recipe) -> Suite:
    """The suite of a run, with only enough generated games to show the prompts."""
    from siri.config import load_config

    few = {"env.train_games": min(recipe.config.env.train_games, 6)}
    return replace(recipe, config=load_config(recipe.config, changes=few)).make_suite()


def _require_room(suite: Suite, encoder: Encoder, policy: str, settings: RunConfig) -> None:
    """Print the length of a task's first prompt; raise an error if it leaves no room for a reply."""
    from siri.policies.checkpoints import context_of, located
    from siri.types import Request

    task = suite.split("train")[0]
    observation, info = doors.seat_of(suite.make_env).reset(seed=0, options={"task": task})
    shown = doors.prompted(suite.prompter, task, [], observation, info["admissible"])
    [prompt] = encoder.encode([Request(shown, tools=doors.tools_of(suite.prompter))], [None])
    r = settings.rollout
    tokens, room = len(prompt.ids), context_of(located(policy), r.max_context) - r.max_tokens
    if tokens > room:
        raise ConfigError(
            f"got a first prompt of {tokens} tokens and a policy that takes {room} (its context, or "
            "rollout.max_context, less rollout.max_tokens), expected room; fix: a longer context, shorter "
            "prompts, or a lower rollout.max_tokens"
        )
    console.print(f"first prompt: {tokens:,} tokens of the {room:,} that the policy takes")
    limit, opened = settings.rollout.max_tokens, encoder.opened
    thinks = encoder.report.thinks or (opened and "</" not in opened)
    if limit < _THOUGHT and (thinks or settings.env.style == "window"):
        console.print(f"note: replies hold a thought; rollout.max_tokens={limit} leaves little room for it")


def _show_template(policy: str, settings: RunConfig) -> Encoder | None:
    """Print what the policy's chat template does; raise an error if it cannot be served."""
    from siri.policies.checkpoints import encoder_of, located

    path = located(policy)
    if not Path(path).is_dir():
        console.print(f"chat template: not probed, since {policy} is not in a folder here")
        return None
    encoder = encoder_of(path, settings.rollout.chat_template_kwargs)
    report = encoder.report
    table = Table("chat template", "", title="what the policy's chat template does")
    table.add_row("system role", report.system)
    table.add_row("content", report.content)
    table.add_row("turn closed by", repr(report.closing) if report.closing else "no token of its own")
    stops = encoder.tokenizer.convert_ids_to_tokens(sorted(encoder.stop_ids))
    table.add_row("replies end at", ", ".join(map(repr, stops)))
    table.add_row("prompt opens", repr(report.opened) if report.opened else "nothing of the reply")
    continues = "past thoughts are removed" if report.continues else "rewritten"
    table.add_row("past turns", "kept" if report.keeps_thoughts else continues)
    for note in report.notes:
        table.add_row("note", note)
    console.print(table)
    return encoder


def _machine_memory() -> int | None:
    """Bytes of memory of the computing device: the GPU's, else the machine's; None where unknown."""
    import torch

    from siri.models.memory import device_memory

    return device_memory("cuda" if torch.cuda.is_available() else "cpu")
