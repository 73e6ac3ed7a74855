"""Demonstrations for the embedded shop policy: a scripted shopper in generated catalogues, seen compactly.

Under the plain prompt the shopper has a procedure of its own, drawn anew for each episode and mostly lacking
something: an option not chosen, features not read, the first product instead of the best. Under a skill it
does what
the text says, right or wrong. A third of the tasks summarise an episode that succeeded. Catalogues and
goals are
those of other seeds than the bundled ones.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from siri.envs.webshop import WebShop, build_goals, bundled_catalog, split_goals
from siri.envs.webshop.compact import CompactShop, CompactSummaryPrompt
from siri.envs.webshop.lexicon import CATEGORIES, SHOE_SIZES

DO, FREE, NOISE, SUMMARY = "do", "free", "noise", "summary"
"""How a segment is learnt: as it is, its first word only, not at all, as a summary."""
Segment = tuple[str, str, str]
"""(role, text, how it is learnt)."""

OPTIONS = {category.name: tuple(category.options) for category in CATEGORIES}
LIMIT = 15


@dataclass(frozen=True)
class Plan:
    """A procedure."""

    details: bool
    best: bool
    reads: tuple[str, ...]
    retry: bool
    choose: tuple[str, ...]


def skill_text(kind: str, plan: Plan) -> str:
    """A procedure in words."""
    parts = ["search the name with the details" if plan.details else "search the name"]
    parts.append("open the best one" if plan.best else "open the first one")
    parts += [f"read the {page}" for page in plan.reads]
    if plan.retry:
        parts.append("go back and open another if something is missing")
    parts += [f"choose the {name}" for name in plan.choose]
    return f"When the task is to buy a {kind} product: {', '.join(parts)}, then buy it."


def plain_plan(rng: random.Random, kind: str) -> Plan:
    """What the shopper does when nobody tells it: any procedure, usually one that lacks something."""
    return Plan(
        details=rng.random() < 0.5,
        best=rng.random() < 0.7,
        reads=tuple(p for p, share in (("features", 0.6), ("description", 0.35)) if rng.random() < share),
        retry=rng.random() < 0.4,
        choose=_some(rng, OPTIONS[kind], 0.72),
    )


def skill_plan(rng: random.Random, kind: str, *, right: bool) -> Plan:
    """A procedure for a skill."""
    if right:
        reads = ("features", "description") if rng.random() < 0.7 else ("features",)
        return Plan(True, True, reads, True, _some(rng, OPTIONS[kind], 1.0))
    return Plan(
        details=rng.random() < 0.5,
        best=rng.random() < 0.5,
        reads=tuple(p for p in ("features", "description") if rng.random() < 0.4),
        retry=rng.random() < 0.4,
        choose=_some(rng, OPTIONS[kind], 0.4),
    )


def _some(rng: random.Random, names: tuple[str, ...], share: float) -> tuple[str, ...]:
    chosen = [name for name in names if rng.random() < share]
    rng.shuffle(chosen)
    return tuple(chosen)


class Worlds:
    """Catalogues to shop in."""

    def __init__(self, seed: int, count: int = 6) -> None:
        self.shops = []
        for number in range(count):
            catalog = bundled_catalog("small", seed=10_000 + 100 * seed + number)
            goals = build_goals(catalog)
            train = split_goals(len(goals))["train"]
            self.shops.append(CompactShop(WebShop(catalog, [goals[n] for n in train], max_steps=LIMIT)))
        self.by_kind = []
        for shop in self.shops:
            kinds: dict[str, list[int]] = {}
            for n, goal in enumerate(shop.shop.goals):
                kinds.setdefault(goal.category, []).append(n)
            self.by_kind.append(kinds)

    def draw(self, rng: random.Random, kind: str) -> tuple[CompactShop, int]:
        """A shop and a goal of a kind."""
        n = rng.randrange(len(self.shops))
        return self.shops[n], rng.choice(self.by_kind[n][kind])


class Shopper:
    """Carries out a plan, by what its transcript has shown alone."""

    def __init__(self, env: CompactShop, goal: int, rng: random.Random, *, noise: float = 0.0) -> None:
        self.env, self.rng, self.noise = env, rng, noise
        self.opening, _ = env.reset(options={"goal": goal})
        self.turns: list[tuple[str, str, str]] = []
        self.seen = self.opening
        self.over = self.won = False

    def do(self, command: str, how: str = DO) -> str:
        """One step; the observation after it."""
        if self.over:
            return self.seen
        self.seen, _, terminated, truncated, info = self.env.step(command)
        self.turns.append((command, how, self.seen))
        self.over, self.won = terminated or truncated, info["success"]
        return self.seen

    def play(self, plan: Plan) -> None:
        """To the purchase."""
        parts = self.opening.split(" ; ")
        query, _, wanted = parts[0].removeprefix("buy ").partition(" : ")
        words = f"{query} {wanted.replace(' , ', ' ')}" if plan.details else query
        results = self.do(f"search {words}")
        self.blunder()
        for attempt in range(4):
            choice, how = self.pick(results, plan)
            if choice == "next":
                results = self.do("next")
                choice, how = self.pick(results, plan)
            item = self.do(f"open {choice}", how)
            self.blunder()
            for page in plan.reads:
                if "missing" in item:
                    self.do(f"read {page}")
                    item = self.do("back")
            lacking = "missing" in item or item.startswith("item over")
            lacking = lacking or any(f"no {name} ." in item for name in plan.choose)
            if not (plan.retry and lacking) or len(self.turns) > LIMIT - 6 or attempt == 3:
                break
            results = self.do("back")
        for name in plan.choose:
            told = item.partition(f"has {name} ")[2].partition(" .")[0]
            if told:
                item = self.do(f"choose {name} {told}")
        self.do("buy")

    def pick(self, results: str, plan: Plan) -> tuple[str, str]:
        """A product's number."""
        rows = [row.split() for row in results.split(" . ", 1)[1].removesuffix(" .").split(" . ")]
        fresh = [row for row in rows if row[0].isdigit() and "seen" not in row]
        if not fresh:
            return "next" if rows[0][0].isdigit() else "1", DO
        if not plan.best:
            return fresh[0][0], DO
        good = [row for row in fresh if "other" not in row and "over" not in row]
        if not good:
            return ("next", DO) if len(rows) == 10 and plan.retry else (fresh[0][0], DO)
        most = max(good, key=len)
        return most[0], DO

    def blunder(self) -> None:
        """Now and then a command that is refused; the way on is learnt, the command is not."""
        if self.rng.random() < self.noise:
            self.do(self.rng.choice(("open 12", "back back", "choose color", "read", "buy it")), NOISE)


def transcript(shopper: Shopper, block: str = "") -> list[Segment]:
    """The episode as segments."""
    segments: list[Segment] = [("user", shopper.opening + block, "")]
    for command, how, seen in shopper.turns:
        segments += [("assistant", command, how), ("user", seen, "")]
    return segments[:-1]


def words() -> list[str]:
    """Every word that an episode, a skill or a summary may hold, sorted."""
    found: set[str] = set()
    for category in CATEGORIES:
        texts = [kind.query for kind in category.kinds]
        texts += [*category.adjectives, *category.features, *category.uses, *category.materials]
        for name, values in category.options.items():
            texts += [name, *values, *SHOE_SIZES]
        plan = Plan(True, True, ("features", "description"), True, tuple(category.options))
        texts += [skill_text(category.name, plan), skill_text(category.name, replace(plan, best=False))]
        texts += [f"{word}," for word in skill_text(category.name, replace(plan, details=False)).split()[-9:]]
        texts += [CompactSummaryPrompt.text(category.name, "", ()), *category.options]
        texts += [f"the {name}," for name in category.options]
        found.update(word for text in texts for word in text.split())
    found.update(
        [
            "name,",
            "details,",
            "one,",
            "features,",
            "description,",
            "missing,",
            "Skill:",
            "skill",
            "product:",
            ".",
            ",",
            ":",
            ";",
            ">",
            "|",
        ]
    )
    found.update(
        [
            "search",
            "open",
            "choose",
            "read",
            "features",
            "description",
            "back",
            "next",
            "buy",
            "it",
            "nothing",
            "happens",
            "bought",
        ]
    )
    found.update(
        [
            "page",
            "item",
            "other",
            "over",
            "seen",
            "has",
            "no",
            "done",
            "missing",
            "complete",
            "under",
            "first",
            "best",
        ]
    )
    found.update(str(number) for number in (*range(1, 13), *range(10, 1000, 10)))
    return sorted(found)


def episode(rng: random.Random, worlds: Worlds, *, progress: float) -> list[Segment]:
    """One training example at ``progress`` (0 to 1) of the run."""
    mode, kind = rng.random(), rng.choice(list(OPTIONS))
    noise = 0.04 if progress > 0.3 else 0.0
    env, goal = worlds.draw(rng, kind)
    if mode < 0.40:
        shopper = Shopper(env, goal, rng, noise=noise)
        shopper.play(plain_plan(rng, kind))
        return transcript(shopper)
    if mode < 0.85:
        plan = skill_plan(rng, kind, right=rng.random() < 0.4)
        shopper = Shopper(env, goal, rng, noise=noise)
        shopper.play(plan)
        return transcript(shopper, f"\n\nSkill: {skill_text(kind, plan)}")
    return summary(rng, worlds, kind)


def summary(rng: random.Random, worlds: Worlds, kind: str) -> list[Segment]:
    """A successful episode's commands, and the skill that they amount to."""
    while True:
        env, goal = worlds.draw(rng, kind)
        shopper = Shopper(env, goal, rng)
        plan = plain_plan(rng, kind) if rng.random() < 0.4 else skill_plan(rng, kind, right=True)
        shopper.play(plan)
        if not shopper.won and rng.random() < 0.8:
            continue
        commands = [c for c, _, seen in shopper.turns if seen != "nothing happens ."]
        reads = tuple(p for p in ("features", "description") if f"read {p}" in commands)
        chosen = tuple(c.split()[1] for c in commands if c.startswith("choose "))
        opens = [c for c in commands if c.startswith("open ")]
        told = replace(plan, reads=reads, choose=chosen, retry=len(opens) > 1, best=opens[0] != "open 1")
        prompt = CompactSummaryPrompt.text(kind, shopper.opening, commands)
        return [("user", prompt, ""), ("assistant", skill_text(kind, told), SUMMARY)]
