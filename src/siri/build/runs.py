"""Assembling all parts of a run."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from siri.build.losses import objective as configured
from siri.build.worlds import check_splits
from siri.errors import ConfigError, first_line

if TYPE_CHECKING:
    from siri.config import RunConfig
    from siri.curriculum import Curriculum
    from siri.protocols import Objective, Policy, Progress, SkillMiner, Validator
    from siri.recipes import Parts
    from siri.rollout.suite import Suite

__all__ = ["OWN", "method_parts", "run"]

OWN = "own"
"""Name of the recipe's own writer, in place of a file with advice."""


def run(
    suite: Suite,
    policy: Policy,
    miner: SkillMiner | None,
    config: RunConfig,
    *,
    objective: Objective | None = None,
    validator: Validator | None = None,
    recipe: str | None = None,
    advice: str | Path | None = None,
    progress: Progress | None = None,
) -> Curriculum:
    """Assemble the parts of a run as configured.

    Args:
        suite: the benchmark.
        policy: the policy to train.
        miner: writes skills; None means GiGPO alone.
        config: configuration of the run.
        objective: the loss; None makes the configured one.
        validator: proves skills; None makes the configured one.
        recipe: a method of ``siri.recipes``, whose parts replace those that are None. ``config`` already has
            its settings.
        advice: YAML file with advice for the recipe's teacher by kind of task, ``"*"`` for all other kinds;
            or ``"own"``: the recipe's own writer, which asks ``miner``. All rollouts are then plain, and
            nothing is mined.
        progress: shows the progress of each part.

    Raises:
        ConfigError: the suite has none of the splits to evaluate, two parts do not fit together, or the
            recipe does not get the advice or skills that it needs.
    """
    from siri.curriculum import Curriculum
    from siri.skills import StopAfter

    check_splits(suite, config)
    kinds = {task.kind for task in suite.split("train")}
    found, miner = method_parts(recipe, config, miner=miner, advice=advice, kinds=kinds)
    limit = config.mining.max_failures
    return Curriculum(
        suite,
        policy,
        miner=miner,
        objective=objective or found.objective or configured(config),
        validator=validator or found.validator,
        config=config,
        retriever=found.retriever,
        gate=found.gate,
        hooks=found.hooks,
        on_miner_fault=None if limit is None else StopAfter(limit),
        progress=progress,
    )


def method_parts(
    recipe: str | None,
    config: RunConfig,
    *,
    miner: SkillMiner | None,
    advice: str | Path | None = None,
    kinds: Collection[str] | None = None,
) -> tuple[Parts, SkillMiner | None]:
    """Make the parts that a recipe adds to a run, and its miner; for the arguments see ``run``.

    This needs neither the suite nor the policy, so that a missing part is reported before they are made.

    Args:
        recipe: the recipe; None adds nothing.
        config: configuration of the run.
        miner: the run's own miner.
        advice: see ``run``.
        kinds: kinds of the tasks, if known; given advice must be for some of them.

    Raises:
        ConfigError: the recipe does not get what it needs, or its loss does not support the configuration.
    """
    from siri.algos.composition import reads_lessons
    from siri.recipes import Parts, method

    if recipe is None:
        if advice is not None:
            raise ConfigError(
                "got advice=... without a recipe, expected one with a teacher; fix: recipe='sdar'"
            )
        return Parts(), miner
    made = method(recipe)
    writer = made.own_writer(miner) if advice == OWN else None
    words = None if advice is None or writer is not None else _advice(Path(advice), kinds)
    found = made.parts(config, miner=miner is not None, advice=words, adviser=writer)
    peak = config.internalization.peak
    if peak and found.objective is not None and not reads_lessons(found.objective):
        raise ConfigError(
            f"got internalization.peak={peak:g} with recipe {recipe!r}, whose loss has no term for what is "
            "distilled, expected 0; fix: internalization.peak=0"
        )
    return found, miner if made.mines and advice is None else found.miner


def _advice(path: Path, kinds: Collection[str] | None) -> dict[str, str]:
    """Read advice by kind of task."""
    from siri.strict_yaml import StrictYAMLError, load_strict

    try:
        found = load_strict(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, StrictYAMLError) as error:
        raise ConfigError(
            f"got advice {str(path)[-100:]} that cannot be read ({first_line(error)}); fix: its path or YAML"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise ConfigError(
            f"got advice {str(path)[-100:]} that is not a mapping, expected kind: words; fix: its YAML"
        )
    words = {str(kind): text for kind, text in found.items() if text.strip()}
    if not words:
        raise ConfigError(f"got advice {str(path)[-100:]} without words, expected kind: words; fix: its YAML")
    if kinds is not None and "*" not in words and words.keys().isdisjoint(kinds):
        raise ConfigError(
            f"got advice for {str(sorted(words))[:80]}, expected some of {str(sorted(kinds))[:120]}; fix: "
            "these kinds, or '*' for all"
        )
    return words
