"""The page itself: data of runs in, one string of HTML out. All text in it is escaped, never markup."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from siri.counting import counted
from siri.errors import ConfigError
from siri.plaintext import clean
from siri.report.curves import CHARTS, curves, stage_points
from siri.report.episodes import fitting, pairs
from siri.report.skills import skills
from siri.runs import Comparison, Run, StageResult, compare
from siri.storage import write_atomic

__all__ = ["page", "write_report"]

BUDGET = 2_000_000
"""Most bytes of episodes in a page, over all of its runs."""
_STAGES = {
    "base": "before training",
    "warmup": "end of warm-up",
    "mining": "end of mining",
    "final": "final",
}


def page(runs: Sequence[Run], *, live: str = "", budget: int = BUDGET) -> str:
    """Make one HTML document about ``runs``, finished or not.

    Args:
        runs: the runs; the others are compared with the first.
        live: for a server: the answer of its ``/stamp`` when the page was made. The page asks again, and
            reloads itself when the answer changes.
        budget: most bytes of episodes; the page says how many it left out.

    Raises:
        ConfigError: no run was given, or a run is damaged.
    """
    if not runs:
        raise ConfigError("got no run to report, expected one at least; fix: name a run directory")
    names = _names(runs)
    shown, data = list[dict[str, Any]](), list[dict[str, Any]]()
    for name, run in zip(names, runs, strict=True):
        every = pairs(run)
        kept = fitting(every, budget // len(runs))
        own = skills(run)
        shown.append(
            _about(name, run) | {"skills": own, "pairs": len(kept), "left_out": len(every) - len(kept)}
        )
        data.append(
            {
                "name": name,
                **curves(run),
                "stages": stage_points(run),
                "skills": {skill["id"]: skill["curve"] for skill in own},
                "pairs": kept,
            }
        )
    charts = [
        {"title": c.title, "about": c.about, "series": c.series, "smooth": c.smooth, "share": c.share}
        for c in CHARTS
    ]
    text: str = (
        _environment()
        .get_template("page.html.jinja")
        .render(
            runs=shown,
            comparison=_compared(compare(runs), names) if len(runs) > 1 else None,
            data=_embedded({"charts": charts, "runs": data}),
            made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            live=bool(live),
            stamp=live,
            script=_asset("report.js"),
            plot=_asset("uPlot.iife.min.js"),
            style=_asset("uPlot.min.css") + _asset("report.css"),
            licence=_asset("LICENSE-uPlot"),
        )
    )
    return text


def write_report(runs: Sequence[Run], path: str | os.PathLike[str]) -> None:
    """Write ``page`` to a file, atomically."""
    write_atomic(Path(path), page(runs))


def _names(runs: Sequence[Run]) -> list[str]:
    short = [run.path.resolve().name for run in runs]
    return short if len(set(short)) == len(short) else [str(run.path) for run in runs]


def _about(name: str, run: Run) -> dict[str, Any]:
    summary = run.summary
    return {
        "name": name,
        "path": str(run.path),
        "state": run.state,
        "phase": run.phase.value,
        "suite": summary.suite,
        "policy": run.recipe.policy,
        "miner": run.recipe.miner,
        "seed": run.config.seed,
        "iterations": summary.iterations,
        "steps": summary.env_steps,
        "minutes": summary.seconds / 60,
        "headline": _headline(summary.stages),
        "statuses": [
            (status, sum(row["status"] == status for row in summary.skills))
            for status in ("active", "internalized", "candidate", "retired")
        ],
        "stages": [
            {"stage": _STAGES[stage], "split": split, "plain": plain, "skill": result[split].get("skill")}
            for stage, result in summary.stages.items()
            for split in result
            if (plain := result[split]["plain"])
        ],
        "events": _by_iteration(run),
        "settings": _settings(run),
        "versions": list(run.versions.items()),
    }


def _headline(stages: Mapping[str, StageResult]) -> list[dict[str, str]]:
    """For each split at the last stage: plain success, its gain since the start, and the skill arm's."""
    if not stages:
        return []
    name, last = list(stages.items())[-1]
    first = stages.get("base")
    found = []
    for split in last:
        plain, skill = last[split]["plain"], last[split].get("skill")
        before = None if first is None or name == "base" or split not in first else first[split]["plain"]
        words = "95 % interval " + _bounds(plain.interval)
        if before is not None:
            gain, bounds = plain.minus(before)
            words += f"; {gain:+.3f} {_bounds(bounds)} since the beginning"
        more = "" if skill is None else f"{skill.rate:.3f} {_bounds(skill.interval)}"
        found.append({"split": split, "rate": f"{plain.rate:.3f}", "words": words, "skill": more})
    return found


def _bounds(interval: tuple[float, float]) -> str:
    return f"[{interval[0]:.3f}, {interval[1]:.3f}]"


def _cell(found: Any) -> str:
    return "" if found is None else f"{found.rate:.3f} [{found.interval[0]:.3f}, {found.interval[1]:.3f}]"


def _by_iteration(run: Run) -> list[tuple[int, str, list[str]]]:
    """(iteration, phase, events) of every iteration that has events."""
    found: dict[int, list[str]] = {}
    for iteration, text in run.events:
        found.setdefault(iteration, []).append(text)
    phases = [phase.value for phase in run.phases]
    return [(k, phases[k] if k < len(phases) else "", texts) for k, texts in found.items()]


def _settings(run: Run) -> list[tuple[str, list[tuple[str, str]]]]:
    """The settings by section."""
    parts = [(name, str(value)) for name, value in run.recipe.to_json().items() if name != "config"]
    found, alone = list[tuple[str, list[tuple[str, str]]]](), list[tuple[str, str]]()
    for section, values in run.config.model_dump().items():
        if isinstance(values, dict):
            found.append((section, [(name, json.dumps(value)) for name, value in values.items()]))
        else:
            alone.append((section, json.dumps(values)))
    return [("parts", parts), ("run", alone), *found]


def _compared(found: Comparison, names: Sequence[str]) -> dict[str, Any]:
    rows = []
    for (stage, split, arm), evaluations in found.measured.items():
        differences = found.difference(stage, split, arm)
        cells = [
            (_cell(e), "" if d is None else f"{d[0]:+.3f} [{d[1][0]:+.3f}, {d[1][1]:+.3f}]")
            for e, d in zip(evaluations, differences, strict=True)
        ]
        rows.append((_STAGES[stage], split, arm, cells))
    settings = [(name, [str(value) for value in values]) for name, values in found.settings.items()]
    return {"names": names, "rows": rows, "settings": settings}


def _embedded(data: Any) -> str:
    """JSON for a script element, in which nothing can end the element or begin a comment."""
    text = json.dumps(_cleaned(data), ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _cleaned(data: Any) -> Any:
    if isinstance(data, str):
        return clean(data)
    if isinstance(data, dict):
        return {clean(str(key)): _cleaned(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_cleaned(value) for value in data]
    return data


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("siri.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: clean(value) if type(value) is str else value,
    )
    environment.filters["f2"] = lambda value: f"{value:.2f}"
    environment.filters["f3"] = lambda value: f"{value:.3f}"
    environment.filters["counted"] = counted
    environment.filters["signed"] = lambda value: f"{value:+.2f}"
    return environment


def _asset(name: str) -> str:
    return (resources.files("siri.report") / "assets" / name).read_text(encoding="utf-8")
