"""Words that people wrote for the study: right skills, and wrong ones in the same form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from siri.config import RunConfig
from siri.envs.webshop.lexicon import CATEGORIES
from siri.policies.language import Language
from siri.policies.tiny import CONDITIONS
from siri.protocols import Policy
from siri.skills.bank import skill_id
from siri.types import Skill, Trajectory

__all__ = ["SHOP_STRATEGIES", "STRATEGIES", "OracleMiner", "oracle", "wrong_words"]

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


def wrong_words() -> dict[str, str]:
    """Advice for the household whose condition is right and whose strategy is that of another kind.

    Where a kind needs a station, the words name the wrong one.
    """
    kinds = list(STRATEGIES)
    needs, others = [k for k in kinds if "_then_" in k], [k for k in kinds if "_then_" not in k]
    taken = {kind: of[(place + 1) % len(of)] for of in (needs, others) for place, kind in enumerate(of)}
    return OracleMiner({kind: (CONDITIONS[kind], STRATEGIES[taken[kind]]) for kind in kinds}).words
