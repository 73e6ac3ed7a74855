"""The three phases of SIRI (arXiv 2606.02355, section 3), as an iterator to be read beside the paper.

warmup            every rollout plain, GiGPO; until enough plain successes were seen
mining            skills from own successes; half of a group sees one; GiGPO on both arms
internalization   the same, plus λ(k) · L_int on the skill arm's beneficial, skill-guided tokens
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

from siri import doors
from siri.algos import linear_warmup
from siri.config import RunConfig
from siri.curriculum import parts
from siri.curriculum.hooks import Hooks
from siri.curriculum.iteration import (
    Iteration,
    finite,
    losses,
    observe,
    outcomes,
    remember,
    rounding,
    skips,
    standing_of,
    unplayed,
)
from siri.curriculum.notes import KeptGroup, Watch, sampled
from siri.curriculum.phases import Phase, Schedule, State, refuse_barren, remaining, strike, transition
from siri.errors import MinerFault, PolicyFault
from siri.processes import Processes, peak_memory
from siri.progress import Silent, during
from siri.protocols import Objective, Policy, Progress, SkillMiner, Validator
from siri.rollout.episodes import GroupPlan
from siri.rollout.suite import Suite, in_processes
from siri.seeds import derive_seed
from siri.skills import ContinueWithout, Proposal, Screen, SkillBank, SkillRetriever, admit, propose
from siri.training.credit import Advantages, advantages
from siri.training.learner import Learner
from siri.training.lessons import Gate, Internalize, Standing
from siri.training.no_learner import NoLearner
from siri.training.privileged import Advised
from siri.training.replay import Replay
from siri.training.rows import Row, build_rows
from siri.types import Group, Skill, Task, Trajectory

__all__ = ["Curriculum"]


class Curriculum:
    """Composes the parts of a run; iterate over it to train.

    Every part may have the small form of its protocol (``siri.protocols``); ``siri.doors`` completes it. To
    be trained, a policy needs the full form, which ``HFPolicy`` has.

    Args:
        suite: what is played.
        policy: what plays, and is trained.
        miner: writes skills. None is GiGPO alone: the run stays in warm-up until ``max_env_steps``, or for as
            many iterations as the phases would have had.
        objective: the loss; not needed with a ``learner``.
        config: everything else.
        validator: decides which skills help; by default the one that ``config.validation`` names.
        retriever: chooses the skills of a group; likewise.
        screen: judges new candidates before rollouts are spent on them.
        gate: picks the rollouts that may be distilled: now if their skills are active, in later iterations
            (replay) if they are proven by then; a plain rollout has none to ask for. By default
            that of ``siri.training.lessons.Gate``.
        hooks: what other methods put into an iteration (advice for a teacher, credit of tokens, lessons); the
            recipes of ``siri.recipes`` are made of them.
        on_miner_fault: told of a ``MinerFault`` and of how many minings in a row failed; raises, or lets the
            run continue without new skills (the default, with a warning).
        learner: ``"own"`` makes one of the policy's weights; None plays without learning.
        progress: told how far rollouts, mining and learning have come.
    """

    def __init__(
        self,
        suite: Suite,
        policy: Policy,
        *,
        miner: SkillMiner | None,
        objective: Objective | None = None,
        config: RunConfig,
        validator: Validator | None = None,
        retriever: SkillRetriever | None = None,
        screen: Screen | None = None,
        gate: Internalize | None = None,
        hooks: Hooks | None = None,
        on_miner_fault: Callable[[MinerFault, int], None] | None = None,
        learner: Learner | Literal["own"] | None = "own",
        progress: Progress | None = None,
    ) -> None:
        r, i = config.rollout, config.internalization
        self.config, self.screen, self.hooks = config, screen, hooks or Hooks()
        self.gate = Gate(i.level, i.scope, i.max_weight, chosen=gate)
        self.suite = in_processes(suite, timeout=r.timeout) if r.processes else suite
        self.policy = doors.policy(policy)
        self.miner = None if miner is None else doors.miner(miner)
        self.validator = doors.judge(validator or parts.make_validator(config.validation))
        self.retriever = retriever or parts.make_retriever(config.validation, self.validator)
        self.on_miner_fault = on_miner_fault or ContinueWithout()
        self.progress = progress or Silent()
        if isinstance(learner, str):
            learner = parts.make_learner(
                self.policy,
                objective,
                config,
                taught=self.hooks.advise is not None,
                progress=self.progress,
            )
        self.learner = learner or NoLearner()
        # a learner has joined the process group
        self.processes = Processes.current()
        self.rollout = parts.make_rollout(self.suite, self.policy, config, progress=self.progress)
        self.bank = SkillBank(capacity=config.mining.capacity)
        self.validator.begin(0, self.bank)
        self.state = State()
        self._unplayed = 0
        self.schedule = Schedule.of(config, mines=miner is not None)
        self.pool: dict[str, list[Trajectory]] = {}
        """Successful plain episodes by kind, oldest first: what is mined."""
        self.replay = Replay(config.internalization.replay)
        own = {"validator": self.validator, "miner": self.miner, "retriever": self.retriever}
        self.stateful = doors.stateful({**own, "replay": self.replay})
        """Parts whose state travels with checkpoints."""

    def __iter__(self) -> Iterator[Iteration]:
        while self.state.phase is not Phase.DONE:
            yield self.step()
            refuse_barren(self.state)

    def step(self) -> Iteration:
        """Carry out one iteration.

        Raises:
            LearningFault: the last iterations played no step, or skipped every optimizer step.
        """
        refuse_barren(self.state)
        state, phase, k = self.state, self.state.phase, self.state.index
        clock = self.rollout.clock
        mined: tuple[Trajectory, ...] = ()
        events = [f"skill {name} expired" for name in self.validator.begin(k, self.bank)]
        if phase is not Phase.WARMUP and (k - state.since) % self.config.mining.every == 0:
            mined, event = self._mine(k)
            events.append(event)
        played = self.rollout.play(self.processes.share(self._plans(k)))
        with clock.part("sync"):
            groups = self.processes.gather(played)
        events += self._fitting(groups)
        lost = self.rollout.on_fault.take()
        faults, said = losses(self.processes.gather([] if lost is None else [lost]))
        rounded = sum(self.processes.gather([self.rollout.rounded]))
        self.rollout.rounded = 0
        state.successes += remember(groups, self.pool, keep=self.config.mining.keep)
        events += [*said, *rounding(rounded), *observe(groups, self.validator, self.bank)]
        learned, said, kept = self._learn(groups, k)
        events += said
        metrics = {**outcomes(groups), **faults, **learned}
        metrics |= {f"bank/{name}": float(count) for name, count in self.bank.counts().items()}
        metrics, said = finite(metrics)
        events += said
        strike(state, metrics, trouble=self.learner.trouble)
        state.env_steps += int(metrics["env/steps"])
        metrics["env/total_steps"] = float(state.env_steps)
        state.index += 1
        events += self._advance()
        times = clock.take() | {"peak_memory": peak_memory()}
        left = remaining(state, self.schedule)
        return Iteration(k, phase, metrics, tuple(groups), tuple(events), mined, times, left, kept)

    def tasks(self, k: int) -> list[Task]:
        """The tasks of iteration ``k``: epochs over the train split, each in an order of its own."""
        size, seed = self.config.rollout.tasks, self.config.seed
        return parts.tasks_of(self.suite.split("train"), k, size=size, seed=seed)

    def _fitting(self, groups: Sequence[Group]) -> list[str]:
        """An event where no prompt fitted the policy, and an error where that happens twice in a row."""
        said = unplayed(groups, self.rollout.too_long)
        if said is None:
            self._unplayed = 0
            return []
        self._unplayed += 1
        if self._unplayed > 1:
            raise PolicyFault(f"got 2 iterations in which {said}")
        return [said]

    def _plans(self, k: int) -> list[GroupPlan]:
        plans = []
        for place, task in enumerate(self.tasks(k)):
            seed = derive_seed("group", self.config.seed, k, place)
            skills = () if self.state.phase is Phase.WARMUP else self._select(task, seed)
            plans.append(parts.group_plan(task, skills, seed, self.config))
        return plans

    def _select(self, task: Task, seed: int) -> tuple[Skill, ...]:
        return doors.selected(self.retriever, self.bank, task, seed)

    def _mine(self, k: int) -> tuple[tuple[Trajectory, ...], str]:
        """Let a frozen snapshot of the policy summarise its own successes; what for, and what came of it."""
        if self.miner is None:
            return (), "no miner"
        pool = [trajectory for kind in sorted(self.pool) for trajectory in self.pool[kind]]
        miner = self.miner

        def mine() -> Proposal:
            with during(self.progress, "mining", len(pool)):
                miner.bind(self.policy.snapshot(), iteration=k)
                return propose(miner, pool, self.bank, screen=self.screen, timeout=self.config.mining.timeout)

        try:
            proposal = self.processes.on_first(mine)
        except MinerFault as fault:
            self.state.failed_minings += 1
            self.on_miner_fault(fault, self.state.failed_minings)
            return (), f"mining failed: {fault}"
        self.state.failed_minings = 0
        known = self.bank.sources()
        event = admit(proposal, self.bank, iteration=k, guard=self.rollout.guard)[1]
        new = self.bank.sources() - known
        return tuple(t for t in pool if t.id in new), event

    def _rows(
        self, groups: Sequence[Group], standing: Standing, advised: Advised | None
    ) -> tuple[list[Row], Advantages, Mapping[str, float], str | None]:
        """RL rows; and rows of L_int, where they are of use, of what helped whatever its skill's status."""
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
            iteration=self.state.index,
            phase=self.state.phase.value,
            seed=derive_seed("hooks", self.config.seed, self.state.index),
        )
        lessons = hooked.lessons
        if lessons is None:
            wanted = self.config.internalization.replay or self.state.phase is Phase.INTERNALIZATION
            lessons = self.gate.lessons(groups, credit, standing) if wanted else []
        rows = build_rows(groups, hooked.advantages, lessons, teacher=hooked.teacher, prompts=hooked.prompts)
        return rows, hooked.advantages, hooked.figures or {}, credit.warning

    def _learn(
        self, groups: Sequence[Group], k: int
    ) -> tuple[dict[str, float], list[str], tuple[KeptGroup, ...]]:
        """One update on what was played, what helped now and what helped before; then the policy follows.

        Returns:
            Metrics, what was wrong with the advice or the rewards, and some groups with their notes.
        """
        scale, i, clock = 0.0, self.config.internalization, self.rollout.clock
        figures: dict[str, float] = {}
        standing = standing_of(self.bank)
        advised, said = self.hooks.advised(groups, self.bank, self.rollout.guard)
        self.policy.make_room(sleep=self.config.rollout.sleep)
        rows, worth, found, warning = self._rows(groups, standing, advised)
        chosen = [row for row in rows if row.kind == "rl"]
        internalizes = self.state.phase is Phase.INTERNALIZATION
        fresh = list[Row]()
        if self.hooks.schedule is not None:
            scale = self.hooks.schedule(k)
        elif internalizes:
            scale = linear_warmup(k, start=self.state.since, length=i.warmup, peak=i.peak)
        if internalizes or scale:
            # lessons of a hook are chosen already
            own = self.hooks.teach is not None
            fresh = [row for row in rows if row.kind == "int" and (own or standing.teaches(row.skills))]
            figures["int/prompt_gap"] = self.learner.gap(fresh)
            chosen += fresh + self.replay.rows(standing.proven)
        # a skill is proved by the groups it wins in: what it won before is kept, and taken once it is proven
        self.replay.add(k, rows)
        with clock.part("keep"):
            watch = Watch(
                groups,
                sampled(k, len(groups), keep=self.config.episodes.groups, seed=self.config.seed),
                values=worth.by_turn(groups),
                rows=fresh if scale else (),
                learner=self.learner,
            )
        with clock.part("learn"):
            seed = derive_seed("learn", self.config.seed, k)
            metrics = self.learner.update(chosen, int_scale=scale, seed=seed)
        if self.policy.elsewhere and "learn/logprob_gap" in metrics:
            figures["engine/logprob_gap"] = metrics["learn/logprob_gap"]
        with clock.part("sync"):
            self.policy.sync(self.learner)
        with clock.part("keep"):
            kept = watch.kept()
        said = said + ([warning] if warning else []) + skips(metrics, self.learner.trouble)
        return {**metrics, **figures, **found, "int/scale": scale}, said, kept

    def _advance(self) -> list[str]:
        """Enter the next phase where its condition holds; say which condition it was."""
        found = transition(self.state, self.bank.counts(), self.schedule)
        if found is None:
            return []
        left, (self.state.phase, why) = self.state.phase, found
        self.state.since = self.state.index
        return [f"{left.value} → {self.state.phase.value}: {why}"]
