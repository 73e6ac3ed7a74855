"""Demonstrations for the embedded policy: episodes and summaries of a noisy explorer, as weighted segments.

The explorer's procedures are often wrong under the plain prompt; under a skill it does what the text says,
right or wrong.

Held out: no skill and no summary here ever pairs heat with a microwave, cool with a fridge or clean with a
sink basin. Following and summarising are learned in counterfactual worlds, in which another station does the
job; the true pairs are left for SIRI to find.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from tiny_explorer import Explorer
from tiny_plans import Plan, plain_plan, skill_plan, skill_text
from tiny_rooms import CLEAN, COOL, HEAT, HELD_OUT, KINDS, VERBS
from tiny_worlds import Worlds, class_of, sample_world

from siri.skills.writers.prompts import summary_text

Segment = tuple[str, str, str]
"""(role, text, how it is learnt)."""
SUMMARY = "summary"


def episode(
    rng: random.Random, worlds: Worlds, *, progress: float, right: float | None = None
) -> list[Segment]:
    """One training example at ``progress`` (0 to 1) of the run, as segments of a transcript."""
    draw = rng.random()
    size = "tiny" if progress < 0.3 or (progress < 0.4 and draw < 0.5) else "small"
    if progress > 0.4 and rng.random() < 0.06:
        size = "large"
    mode = rng.random()
    if mode < 0.40:
        return _plain(rng, worlds, size, progress, right)
    if mode < 0.85:
        return _skilled(rng, worlds, size, progress)
    return summary(rng, worlds, size)


def _limit(size: str) -> int:
    return 45 if size == "large" else 25


def _transcript(explorer: Explorer, opening: str) -> list[Segment]:
    segments: list[Segment] = [("user", opening, "")]
    for command, how, seen in explorer.turns:
        segments += [("assistant", command, how), ("user", seen, "")]
    return segments[:-1]


def _plain(
    rng: random.Random, worlds: Worlds, size: str, progress: float, right: float | None
) -> list[Segment]:
    world = worlds.draw(rng, kind=rng.choice(KINDS), size=size)
    opening = world.opening()
    explorer = Explorer(world, rng, _limit(size), noise=1.0 if progress < 0.5 else 0.6)
    explorer.play(lambda: plain_plan(rng, world, right=right))
    return _transcript(explorer, opening)


def _skilled(rng: random.Random, worlds: Worlds, size: str, progress: float) -> list[Segment]:
    kind = rng.choice([*KINDS, CLEAN, HEAT, COOL])
    world = worlds.draw(rng, kind=kind, size=size, counterfactual=rng.random() < 0.75)
    verb = VERBS.get(kind)
    right = rng.random() < 0.5 and (verb is None or (verb, world.stations[verb]) not in HELD_OUT)
    plan = skill_plan(rng, world, right=right)
    texts = [skill_text(kind, plan)]
    if rng.random() < 0.12:
        texts.insert(rng.randint(0, 1), _other_skill(rng, kind))
    opening = world.opening() + "".join(f"\n\nSkill: {text}" for text in texts)
    explorer = Explorer(world, rng, _limit(size), noise=1.0 if progress < 0.5 else 0.6)
    explorer.play(lambda: plan, tries=0.3)
    return _transcript(explorer, opening)


def _other_skill(rng: random.Random, kind: str) -> str:
    other = rng.choice([k for k in KINDS if k != kind])
    world = sample_world(rng, kind=other, counterfactual=True)
    return skill_text(other, skill_plan(rng, world, right=other in VERBS))


def summary(rng: random.Random, worlds: Worlds, size: str) -> list[Segment]:
    while True:
        kind = rng.choice([*KINDS, CLEAN, HEAT, COOL])
        world = worlds.draw(rng, kind=kind, size=size, counterfactual=True)
        verb = VERBS.get(kind)
        detour = verb is not None and rng.random() < 0.3
        plan = skill_plan(rng, world, right=True)
        plan = Plan("", plan.steps)
        plans = iter([plain_plan(rng, world), plain_plan(rng, world)]) if detour else iter(())

        def following(plans: Iterator[Plan] = plans, plan: Plan = plan) -> Plan:
            return next(plans, plan)

        explorer = Explorer(world, rng, 40)
        explorer.play(following, tries=1.0)
        takes = [c for c, _, _ in explorer.turns if c.startswith(f"take {world.item} ")]
        if not world.won or not takes:
            continue
        first = class_of(takes[0].partition(" from ")[2])
        commands = [c for c, _, seen in explorer.turns if seen != "Nothing happens."]
        text = skill_text(kind, Plan(first, plan.steps))
        return [("user", summary_text(world.goal, commands), ""), ("assistant", text, SUMMARY)]
