"""The learning half of an iteration: rows of rollouts and of lessons, one update, then the policy syncs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from siri import doors
from siri.algos import linear_warmup
from siri.config import RunConfig
from siri.curriculum.hooks import Hooks
from siri.curriculum.iteration import skips, standing_of
from siri.curriculum.notes import KeptGroup, Watch, plain_rows, sampled
from siri.curriculum.phases import Phase, State
from siri.protocols import TrainablePolicy
from siri.rollout.play import Rollout
from siri.rollout.suite import Suite
from siri.seeds import derive_seed
from siri.skills import SkillBank
from siri.training.credit import Advantages, advantages
from siri.training.learner import Learner
from siri.training.lessons import Gate, Standing
from siri.training.no_learner import NoLearner
from siri.training.privileged import Advised
from siri.training.replay import Replay, Replayed
from siri.training.rows import Row, build_rows
from siri.training.writers import writer_rows
from siri.types import Group

__all__ = ["Learned", "Teaching"]


class Learned(NamedTuple):
    """The results of an update."""

    metrics: Mapping[str, float]
    events: list[str]
    """Reports of faults in the advice, the rewards or the steps."""
    kept: tuple[KeptGroup, ...]
    """Some groups, with notes on how training used their turns."""
    replayed: tuple[Replayed, ...]
    """Wins of past iterations that were distilled again."""


class Teaching:
    """The learning half of an iteration.

    Args:
        suite: the suite that is played.
        policy: takes the newest weights.
        learner: takes the steps.
        rollout: has the clock, and the guard of shown skills.
        bank: says which skills are active and proven.
        gate: chooses the rollouts that may be distilled.
        hooks: the hooks of another method.
        tolerance: how often a hook may break its contract.
        config: the configuration of the run.
    """

    def __init__(
        self,
        suite: Suite,
        policy: TrainablePolicy,
        learner: Learner | NoLearner,
        *,
        rollout: Rollout,
        bank: SkillBank,
        gate: Gate,
        hooks: Hooks,
        tolerance: doors.Tolerance,
        config: RunConfig,
    ) -> None:
        self.suite, self.policy, self.learner = suite, policy, learner
        self.rollout, self.bank, self.gate, self.hooks, self.config = rollout, bank, gate, hooks, config
        self.tolerance = tolerance
        self.replay = Replay(config.internalization.replay)

    def learn(self, groups: Sequence[Group], state: State) -> Learned:
        """Update on the rollouts, on new lessons and on replayed ones; then give the policy the weights."""
        k = state.index
        scale, i, clock = 0.0, self.config.internalization, self.rollout.clock
        figures: dict[str, float] = {}
        standing = standing_of(self.bank)
        counsel = self.hooks.advised(
            groups,
            self.bank,
            self.rollout.guard,
            policy=self.policy,
            iteration=k,
            tolerance=self.tolerance,
        )
        said = list(counsel.events)
        doors.told(self.policy, self.policy.make_room, sleep=self.config.rollout.sleep)
        rows, worth, found, warning = self._rows(groups, standing, counsel.advice, state)
        chosen = [row for row in rows if row.kind == "rl"] + writer_rows(counsel.samples)
        internalizes = state.phase is Phase.INTERNALIZATION
        fresh = list[Row]()
        if self.hooks.schedule is not None:
            scale = self.tolerance.of("schedule", partial(doors.scheduled, self.hooks.schedule, k), 0.0)
        elif internalizes:
            scale = linear_warmup(k, start=state.since, length=i.warmup, peak=i.peak)
        # a hook has already chosen its lessons, whatever their skills are worth
        own = self.hooks.teach is not None
        proven = None if own else standing.proven
        if internalizes or scale:
            fresh = [row for row in rows if row.kind == "int" and (own or standing.teaches(row.skills))]
            figures["int/prompt_gap"] = self.learner.gap(fresh)
            chosen += fresh + self.replay.rows(proven)
        again = self.replay.given(proven) if scale else ()
        if again:
            tokens = sum(row.tokens for row in fresh)
            older = sum(lot.tokens for lot in again)
            figures["int/replayed"] = older / max(1, older + tokens)
        # the groups that a skill wins prove it: its earlier wins are kept, and taught once it is proven
        self.replay.add(k, rows)
        with clock.part("keep"):
            places = sampled(k, len(groups), keep=self.config.episodes.groups, seed=self.config.seed)
            watch = Watch(
                groups,
                places,
                values=worth.by_turn(groups),
                rows=fresh if scale else (),
                plain=plain_rows(groups, worth, places),
                learner=self.learner,
            )
            uptake = watch.uptake()
            if uptake is not None:
                figures["arm/skill/uptake"] = uptake
        with clock.part("learn"):
            seed = derive_seed("learn", self.config.seed, k)
            metrics = self.learner.update(chosen, int_scale=scale, seed=seed)
        if self.policy.elsewhere and "learn/logprob_gap" in metrics:
            figures["engine/logprob_gap"] = metrics["learn/logprob_gap"]
        with clock.part("sync"):
            doors.told(self.policy, self.policy.sync, self.learner)
        with clock.part("keep"):
            kept = watch.kept()
        said = said + ([warning] if warning else []) + skips(metrics, self.learner.trouble)
        figures |= {**found, **counsel.figures, "int/scale": scale}
        return Learned({**metrics, **figures}, said, kept, again)

    def _rows(
        self, groups: Sequence[Group], standing: Standing, advised: Advised | None, state: State
    ) -> tuple[list[Row], Advantages, Mapping[str, float], str | None]:
        """Make RL rows and, where needed, rows of L_int of what helped, whatever the status of its skill."""
        credit = advantages(groups, self.config.advantage, max_return=self.suite.max_return)
        hooked = self.hooks.apply(
            groups,
            credit,
            advised,
            learner=self.learner,
            policy=self.policy,
            suite=self.suite,
            shown=lambda names: self.rollout.guard([self.bank.get(name).skill for name in names]),
            config=self.config,
            iteration=state.index,
            phase=state.phase.value,
            seed=derive_seed("hooks", self.config.seed, state.index),
            tolerance=self.tolerance,
        )
        lessons = hooked.lessons
        if lessons is None:
            wanted = self.config.internalization.replay or state.phase is Phase.INTERNALIZATION
            lessons = self.gate.lessons(groups, credit, standing) if wanted else []
        rows = build_rows(
            groups,
            hooked.advantages,
            lessons,
            teacher=hooked.teacher,
            prompts=hooked.prompts,
            tops=hooked.tops,
        )
        return rows, hooked.advantages, hooked.figures or {}, credit.warning
