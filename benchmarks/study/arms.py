"""What the study compares: arms, regimes of the base policy, and budgets. Everything is declared here."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from benchmarks.study.writer import serve
from siri import build
from siri.algos import ImportanceDistillation, Loss, SiriObjective, TokenBatch, TokenScores
from siri.config import RunConfig
from siri.config.presets import preset
from siri.curriculum.hooks import Hooks
from siri.envs.webshop.lexicon import CATEGORIES
from siri.errors import ConfigError
from siri.policies.language import Language
from siri.policies.tiny import CONDITIONS, base_path
from siri.protocols import Objective, Policy, SkillMiner, Validator
from siri.recipes import METHODS, Method
from siri.recipes.method import Parts, Words, as_configured, policy_loss
from siri.recipes.self_imitation import Nothing, own_win
from siri.skills import TINY_SKILL_GRAMMAR, ChatMiner, JsonSummaryPrompt
from siri.skills.bank import skill_id
from siri.training.lessons import Internalize
from siri.types import Skill, SkillStatus, Trajectory

__all__ = ["ARMS", "FAMILY", "MAIN", "PAIRS", "REGIMES", "SMALL", "Arm", "Budget", "Regime", "asked"]

BENCHMARKS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Budget:
    """What one run may cost and how often it is measured; equal for all arms."""

    env_steps: int
    points: int
    """Evaluations after the start, at equal distances in environment steps."""
    valid_games: int
    """Generated games, or goals of the shop, that nobody trains on. The last checkpoint plays all of them,
    other evaluations one of ``turns`` equal parts by turns."""
    real_games: bool
    """Measure the last checkpoint on the real valid_seen as well, where ALFWORLD_DATA is set."""
    turns: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)


FULL = Budget(env_steps=30_000, points=8, valid_games=600, real_games=True, turns=3)
RECIPE = preset("embedded").model_dump()
SHOP = Budget(
    env_steps=20_000,
    points=8,
    valid_games=500,
    real_games=False,
    turns=2,
    settings={
        # how the other regimes learn, in place of what the shop's own preset says
        **{section: RECIPE[section] for section in ("optimizer", "mining", "validation", "internalization")},
        "warmup": {"successes": 64, "max_iterations": 8},
    },
)
LONG = Budget(env_steps=100_000, points=10, valid_games=600, real_games=True, turns=3)
SMALL = Budget(
    env_steps=2_000,
    points=5,
    valid_games=12,
    real_games=False,
    settings={
        "env": {"max_steps": 12, "train_games": 24},
        "rollout": {"tasks": 6, "group_size": 4},
        "warmup": {"successes": 4, "max_iterations": 1},
        "mining": {"every": 1, "min_active": 1, "min_iterations": 1, "max_iterations": 3},
        "validation": {"n_eval": 1},
    },
)
"""The whole chain in minutes; its numbers mean nothing."""


@dataclass(frozen=True)
class Regime:
    """A base policy to start from, and where it is trained and measured."""

    base: Callable[[], Path]
    summary: str
    env: str = "alfworld"
    split: str = "valid_unseen"
    budget: Budget = FULL
    most_seeds: int = 8
    """Where an arm asks for more, that many are run."""
    iterations: int = 13
    """About as many follow the warm-up; for methods whose schedule counts iterations."""
    arms: tuple[str, ...] = ()
    """Which are run there; () is all."""
    also: str | None = None
    """Another split, of which the last checkpoint plays all."""


MAIN = ("gigpo", "self_imitation", "siri", "siri_adaptive", "full_length")
"""Arms of the longer and of the wider runs."""


def _rare() -> Path:
    return BENCHMARKS / "bases" / "rare"


def _world(env: str, steps: int) -> Regime:
    """Another world, with the embedded preset and the shipped base of its own."""
    return Regime(
        lambda: base_path(env),
        "the shipped base of the world",
        env=env,
        budget=Budget(env_steps=steps, points=8, valid_games=300, real_games=False, turns=3),
        most_seeds=2,
        arms=MAIN,
        also="valid_seen",
    )


REGIMES = {
    "default": Regime(
        base_path, "the shipped base: about .2 plain success on heat, cool and clean, .7 with a right skill"
    ),
    "rare": Regime(
        _rare,
        "the same base, tuned on demonstrations whose plain attempts nearly always use a wrong station: "
        "plain success .03 on heat and cool and .16 on clean, .70 to .86 with a right skill",
    ),
    "shop": Regime(
        lambda: base_path("webshop"),
        "the shipped base of the shop, on the bundled catalogue (siri-shop-small): .02 plain success, .09 "
        "with a right skill",
        env="webshop",
        split="valid",
        budget=SHOP,
        most_seeds=4,
        iterations=30,
    ),
    "long": Regime(
        _rare,
        "that of `rare`, for 100,000 steps",
        budget=LONG,
        most_seeds=2,
        iterations=40,
        arms=MAIN,
    ),
    "textcraft": _world("textcraft", 25_000),
    "babyai": _world("babyai", 40_000),
    "tools": _world("tools", 10_000),
}


ALFWORLD = ("rare", "default")


class Unweighted(SiriObjective):
    """SIRI whose L_int gives every gated token the weight 1 instead of clip(A, 0, w_max)."""

    def __call__(self, batch: TokenBatch, scores: TokenScores) -> Loss:
        """As ``SiriObjective``."""
        return super().__call__(replace(batch, weights=batch.int_mask.to(batch.weights.dtype)), scores)


class TrustAll:
    """No validation: a skill is active from its first group on, whatever came of it."""

    def observe(self, skill_id: str, plain: Sequence[bool], skilled: Sequence[bool]) -> SkillStatus:
        """Active."""
        del skill_id, plain, skilled
        return SkillStatus.ACTIVE


STRATEGIES = {
    "pick_and_place_simple": "take it, then move it to the goal.",
    "look_at_obj_in_light": "search the desk first, take it, then use the desklamp.",
    "pick_clean_then_place_in_recep": "take it, clean it with the sinkbasin, then move it to the goal.",
    "pick_heat_then_place_in_recep": "take it, heat it with the microwave, then move it to the goal.",
    "pick_cool_then_place_in_recep": "take it, cool it with the fridge, then move it to the goal.",
    "pick_two_obj_and_place": "take it, move it to the goal, then repeat with the second one.",
}
"""One right skill a kind, as a person writes it; what the oracle gives and a strong model would find."""

SHOP_STRATEGIES = {
    category.name: "search the name with the details, open the best one, read the features, "
    "read the description, go back and open another if something is missing, "
    f"{', '.join(f'choose the {option}' for option in sorted(category.options))}, then buy it."
    for category in sorted(CATEGORIES, key=lambda category: category.name)
}
"""The same for the shop, of the words of its base."""


class OracleMiner:
    """Hands out the skills that people wrote; validation and all else stay as they are."""

    def __init__(self, right: Mapping[str, tuple[str, str]]) -> None:
        self.right = right
        self.iteration = 0

    @property
    def words(self) -> dict[str, str]:
        """The text of each skill, by kind."""
        return {kind: f"When {condition}: {strategy}" for kind, (condition, strategy) in self.right.items()}

    def bind(self, policy: Policy, *, iteration: int = 0) -> None:
        """Note the iteration; the policy is not asked."""
        del policy
        self.iteration = iteration

    def mine(self, trajectories: Sequence[Trajectory]) -> list[Skill]:
        """The same skills at every mining, one a kind."""
        del trajectories
        return [
            Skill(
                id=skill_id(kind, f"When {condition}: {strategy}"),
                kind=kind,
                condition=condition,
                strategy=strategy,
                origin="human",
                created=self.iteration,
            )
            for kind, (condition, strategy) in self.right.items()
        ]


def oracle(config: RunConfig, _: Language | None = None) -> OracleMiner:
    """Right skills for the benchmark of ``config``."""
    if config.env.style == "compact":
        return OracleMiner({k: (f"the task is to buy a {k} product", s) for k, s in SHOP_STRATEGIES.items()})
    return OracleMiner({kind: (CONDITIONS[kind], strategy) for kind, strategy in STRATEGIES.items()})


def self_miner(config: RunConfig, language: Language | None) -> SkillMiner | None:
    """The policy's own words: `siri run --miner self`."""
    return build.miner("self", config, embedded=language)


def chat_miner(config: RunConfig, language: Language | None) -> SkillMiner | None:
    """`siri run --miner openai` with ``benchmarks.study.writer`` on this machine as the endpoint."""
    url = serve(STRATEGIES)
    return build.miner("openai", config, embedded=language, base_url=url, model="strong-writer")


WRITER = "STUDY_WRITER"
"""Environment variable: base URL of a Chat Completions server whose model `writer` `siri sft` has taught."""


def model_miner(config: RunConfig, language: Language | None) -> SkillMiner | None:
    """A model of another kind as the writer, asked as `siri sft` taught it. Of what it says, sentences in the
    policy's grammar are taken."""
    del language
    if WRITER not in os.environ:
        raise ConfigError(f"got no {WRITER}, expected the URL of a server; fix: docs/how-to/reproduce.md")
    m = config.mining
    return ChatMiner(
        "writer",
        base_url=os.environ[WRITER],
        prompt=JsonSummaryPrompt(),
        max_per_request=m.max_per_request,
        max_skills=m.max_skills,
        samples=m.samples,
        temperature=m.temperature,
        structured=False,
        pattern=TINY_SKILL_GRAMMAR,
        seed=config.seed,
    )


@dataclass(frozen=True)
class Arm:
    """One way to train. What it does not name is as in the embedded preset."""

    summary: str
    miner: Callable[[RunConfig, Language | None], SkillMiner | None] | None = self_miner
    """Makes it from the configuration and the form in which the base writes skills."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    validator: Callable[[], Validator] | None = None
    gate: Internalize | None = None
    objective: Callable[..., Objective] = SiriObjective
    method: Method | None = None
    """A recipe, whose parts and settings it has; its loss replaces ``objective``."""
    text: Literal["right", "bank"] = "bank"
    """Where the words of a teacher come from: written by hand, or the proven skills of the run."""
    seeds: int = 4
    """Paired seeds that the study asks for at least."""
    regimes: tuple[str, ...] = ()
    """Where it is run; () is everywhere."""
    needs: str | None = None
    """An environment variable without which it cannot be run."""

    def parts(self, config: RunConfig) -> Parts:
        """The parts of its recipe."""
        if self.method is None:
            return Parts()
        words = oracle(config).words if self.method.text == "words" and self.text == "right" else None
        return self.method.parts(config, miner=self.miner is not None, advice=words)


def right(name: str, **changes: Any) -> Arm:
    """The recipe ``name`` with right words for its teacher, or right skills for its prompts."""
    method = METHODS[name]
    miner = oracle if method.text == "skills" else None
    source = "shows" if method.text == "skills" else "has a teacher with"
    return Arm(
        f"`{name}` ({method.paper}), {source} right skills written by hand",
        miner=miner,
        method=method,
        text="right",
        **changes,
    )


def reverse_kl(weight: float, text: Literal["right", "bank"] = "right", **changes: Any) -> Arm:
    """`skill_sd` with another weight of its term; ``text`` is where the words of its teacher come from."""

    def make(config: RunConfig, words: Words) -> Parts:
        return Parts(policy_loss(config) + weight * ImportanceDistillation(), Hooks(advise=words))

    method = replace(METHODS["skill_sd"], make=make)
    words = "right words" if text == "right" else "its teacher reads the proven skills of the run"
    return Arm(
        f"`skill_sd` at weight {weight:g}, where its scripts have .001; {words}",
        miner=None if text == "right" else self_miner,
        method=method,
        text=text,
        **changes,
    )


ARMS: dict[str, Arm] = {
    "gigpo": Arm("GiGPO alone", miner=None, seeds=8),
    "grpo": Arm(
        "GRPO alone: no step-level advantages",
        miner=None,
        settings={"advantage": {"omega": 0.0, "statistics": "per_trajectory"}},
    ),
    "self_imitation": Arm(
        "GiGPO that distils and replays its own plain wins as SIRI does those of the skill arm; no skills",
        miner=lambda *_: Nothing(),  # so the phases pass without a skill
        settings={"mining": {"max_iterations": 3}},  # as long as phase 1 takes where skills are found
        gate=own_win,
    ),
    "skill_arm": Arm(
        "skill rollouts without distillation (λ = 0); with its skills in the prompt: the retrieval baseline",
        settings={"internalization": {"peak": 0.0}},
        seeds=8,
    ),
    "siri": Arm("SIRI", seeds=8),
    "no_validation": Arm("SIRI, every mined skill is used", validator=TrustAll, regimes=ALFWORLD),
    "no_weights": Arm(
        "SIRI, gated tokens weigh 1 instead of clip(A, 0, 2)", objective=Unweighted, regimes=ALFWORLD
    ),
    "action_span": Arm(
        "SIRI, only the action's own tokens are distilled (here: all but the stop token)",
        settings={"internalization": {"scope": "action_span"}},
        regimes=ALFWORLD,
    ),
    "no_replay": Arm(
        "SIRI, each win is distilled once, as in the paper",
        settings={"internalization": {"replay": 0}},
        regimes=ALFWORLD,
    ),
    "no_warmup": Arm(
        "SIRI from the first iteration on",
        settings={"warmup": {"successes": 0, "max_iterations": 0}},
        regimes=ALFWORLD,
    ),
    "siri_adaptive": Arm(
        "SIRI without phases: wins of both arms are distilled at once, skills are used while being proved, "
        "episodes end when wins would have",
        method=METHODS["siri_adaptive"],
        seeds=8,
    ),
    "full_length": Arm(
        "recipe `siri_both`: `siri_adaptive` whose episodes take as many turns as the environment allows",
        method=METHODS["siri_both"],
        seeds=8,
    ),
    "oracle": Arm("SIRI with right skills written by hand: an upper bound", miner=oracle),
    "openai": Arm("SIRI with another writer of skills, `--miner openai`", miner=chat_miner, regimes=ALFWORLD),
    "openai_smollm2": Arm(
        "SIRI whose skills another model writes: SmolLM2-135M after a warm start, on a server",
        miner=model_miner,
        seeds=2,
        regimes=("rare",),
        needs=WRITER,
    ),
    "grpo_turns": Arm(
        "GRPO with μ and σ over turns: what the methods with a teacher stand on",
        miner=None,
        method=Method("grpo_turns", "", "", as_configured, {"advantage.omega": 0.0}, mines=False),
    ),
    "ucob": right("ucob"),
    "rlsd": right("rlsd"),
    "sdar": right("sdar"),
    "d2skill": right("d2skill"),
    "opid": right("opid"),
    "skill_sd": right("skill_sd"),
    "skill0": right("skill0"),
    "grsd": right("grsd"),
    "agent_opsd": right("agent_opsd"),
    "skillrl": right("skillrl"),
    # what of section "expectations" in docs/results.md the published weights cannot answer
    "skill_sd_0.0125": reverse_kl(0.0125, regimes=ALFWORLD),
    "skill_sd_0.1": reverse_kl(0.1, regimes=ALFWORLD),
    "skill_sd_1": reverse_kl(1.0),
    "skill_sd_0.1_bank": reverse_kl(0.1, "bank", regimes=("rare",)),
}
"""The first twelve, with the settings of their time, are the first round; the family follows."""


def asked(arm: str, regime: str) -> int:
    """How many seeds the study asks for; 0 where the arm is not run."""
    declared, place = ARMS[arm], REGIMES[regime]
    there = arm in (place.arms or ARMS) and regime in (declared.regimes or REGIMES)
    return min(declared.seeds, place.most_seeds) if there else 0


FAMILY = [
    name
    for name, arm in ARMS.items()
    if arm.method is not None and arm.method.name not in ("siri_both", "siri_adaptive")
]
PAIRS = (
    ("siri", "gigpo"),
    ("siri", "skill_arm"),
    ("skill_arm", "gigpo"),
    ("grpo", "gigpo"),
    *((arm, "siri") for arm in ARMS if arm not in ("siri", "gigpo", "skill_arm", "grpo", *FAMILY)),
    ("oracle", "gigpo"),
    ("siri_adaptive", "gigpo"),
    ("siri_adaptive", "self_imitation"),
    ("siri_adaptive", "full_length"),
    *((arm, base) for arm in FAMILY for base in ("gigpo", "oracle")),
)
"""Differences that the tables state, first minus second. The family has the words of `oracle`."""
