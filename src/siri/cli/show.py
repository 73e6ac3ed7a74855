"""Showing results: lines of progress and tables."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from siri.cli.app import console
from siri.counting import counted

if TYPE_CHECKING:
    from siri.config import RunConfig
    from siri.curriculum import Iteration
    from siri.rollout.evaluation import Evaluation
    from siri.rollout.suite import Suite
    from siri.runs import Recipe, RunDirectory, StageResult, Summary
    from siri.runs.records import SkillRow

__all__ = [
    "STAGES",
    "STATUSES",
    "Remaining",
    "cell",
    "go_on",
    "header",
    "interval",
    "next_steps",
    "show_progress",
    "skills_table",
    "stage_line",
    "summary_table",
    "whereabouts",
]

STAGES = {"base": "base", "warmup": "end of warm-up", "mining": "end of mining", "final": "final"}
"""Stages of a summary, in order, and their names in tables."""

STATUSES = ("active", "internalized", "candidate", "retired")
"""Statuses of skills, in the order of lists."""


class Remaining:
    """An upper bound on the time that is left; phases may end earlier."""

    def __init__(self, settings: RunConfig) -> None:
        self.settings, self.seconds = settings, 0.0

    def text(self, iteration: Iteration, seconds: float) -> str:
        """The most time that the run can still take, as text."""
        self.seconds = seconds if not self.seconds else 0.7 * self.seconds + 0.3 * seconds
        left, limit = iteration.remaining, self.settings.max_env_steps
        if limit is not None:
            done = iteration.metrics["env/total_steps"]
            steps = max(0, math.ceil((limit - done) / max(1.0, done / (iteration.index + 1))))
            left = steps if left is None else min(left, steps)
        return "" if left is None else f"≤ {math.ceil(left * self.seconds / 60)} min left"


def header(recipe: Recipe, suite: Suite, directory: RunDirectory, *, preset: str | None) -> str:
    """Describe the run that starts: parts, limits of the phases, and the folder of its files."""
    c = recipe.config
    lines = [
        f"{suite.name}: {', '.join(f'{len(tasks)} {split}' for split, tasks in suite.tasks.items())} tasks",
        f"policy {recipe.policy}, skills by {recipe.miner}, seed {c.seed}"
        + ("" if preset is None else f", preset {preset}")
        + ("" if recipe.method is None else f", recipe {recipe.method}"),
        f"{c.rollout.tasks} groups of {c.rollout.group_size} episodes an iteration; at most "
        f"{c.warmup.max_iterations} iterations of warm-up, {c.mining.max_iterations} of mining, "
        f"{c.internalization.iterations} of internalization"
        + ("" if c.max_env_steps is None else f", {c.max_env_steps:,} environment steps"),
        f"files in {directory.path}",
    ]
    return "\n".join(lines)


def whereabouts(iteration: Iteration) -> tuple[str, str]:
    """The lines above the bars: the progress of the run, and the content of its bank."""
    m = iteration.metrics
    counts = [(int(m.get(f"bank/{name}", 0)), name) for name in STATUSES]
    words = [counted(n, name) if name == "candidate" else f"{n} {name}" for n, name in counts if n]
    bank = f"skills: {', '.join(words)}" if words else "no skills yet"
    return f"{iteration.phase.value}, {counted(iteration.index + 1, 'iteration')} done", bank


def _named_again(recipe: Recipe) -> str:
    """The options that name a run's module:function again, because a folder may not do so itself."""
    return f" --env {shlex.quote(recipe.env)}" if ":" in recipe.env else ""


def go_on(path: Path, recipe: Recipe) -> str:
    """The shell command that continues an interrupted run."""
    return f"siri run --resume --out {shlex.quote(str(path))}{_named_again(recipe)}"


def next_steps(path: Path, recipe: Recipe, *, mined: bool) -> list[str]:
    """Shell commands that are useful after a run."""
    run, model = shlex.quote(str(path)), shlex.quote(str(path / "model"))
    again = _named_again(recipe)
    commands = [f"siri view {run}", f"siri eval {model} --seeds 3{again}"]
    if mined:
        commands[1:1] = [f"siri skills {run}"]
        commands.append(f"siri eval {model} --skills {run}{again}")
    return commands


def show_progress(iteration: Iteration, seconds: float, left: str) -> None:
    """Print one line for an iteration and one for each event; on a terminal, the bars show ``left``."""
    took = f"{seconds:.1f} s" if console.is_terminal or not left else f"{seconds:.1f} s, {left}"
    console.print(f"{iteration.line}  {took}", soft_wrap=True)
    for event in iteration.events:
        if console.is_terminal:
            console.print(Padding(Text(event, style="dim"), (0, 0, 0, 4)))
        else:
            console.print(f"    {event}", soft_wrap=True)


def stage_line(name: str, result: StageResult) -> Text:
    """Plain success at one stage, in one line of a terminal of 100 columns."""
    found = {split: result[split]["plain"] for split in result}
    cells = "  ".join(f"{split} {e.rate:.3f} {interval(e.interval)}" for split, e in found.items())
    sizes = dict.fromkeys(str(e.n) for e in found.values())
    return Text.assemble((STAGES[name], "bold"), f": plain {cells}  n={'/'.join(sizes)}")


def summary_table(summary: Summary, *, title: str) -> Table:
    caption = (
        f"{counted(summary.env_steps, 'environment step')}, {counted(summary.iterations, 'iteration')}, "
        f"{summary.seconds / 60:.1f} minutes"
    )
    table = Table("policy", "split", "plain", "95 % interval", "n", "skill arm", "Δ", caption=caption)
    table.title = title
    for stage, result in summary.stages.items():
        for split in result:
            plain, skill = result[split]["plain"], result[split].get("skill")
            shown = ("–", "–") if skill is None else (f"{skill.rate:.3f}", f"{skill.rate - plain.rate:+.3f}")
            bounds = interval(plain.interval)
            table.add_row(STAGES[stage], split, f"{plain.rate:.3f}", bounds, str(plain.n), *shown)
    return table


def skills_table(skills: Sequence[SkillRow]) -> Table:
    """A table of all skills of a run, by status, the best first."""
    counts = Counter(s["status"] for s in skills)
    words = ", ".join(f"{counts[status]} {status}" for status in STATUSES)
    table = Table("status", "skill", "u", "groups", title=f"skills: {words}")
    for s in sorted(skills, key=lambda s: (STATUSES.index(s["status"]), -s["utility"])):
        why = f" ({s['reason']})" if s.get("reason") else ""
        table.add_row(s["status"] + why, s["text"], f"{s['utility']:+.2f}", str(s["uses"]))
    return table


def cell(found: Evaluation | None) -> str:
    return "" if found is None else f"{found.rate:.3f} {interval(found.interval)} n={found.n}"


def interval(interval: Sequence[float], *, digits: int = 3) -> str:
    return f"[{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"
