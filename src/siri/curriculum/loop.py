"""The three phases of SIRI (arXiv 2606.02355, section 3), as an iterator to be read next to the paper.

warmup            every rollout is plain; GiGPO; it ends after enough plain successes
mining            the policy writes skills from its successes; half of a group sees one; GiGPO on both arms
internalization   the same, plus λ(k) · L_int on the skill arm's beneficial, skill-guided tokens
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal

from siri import doors
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
    unplayed,
)
from siri.curriculum.mining import Mining
from siri.curriculum.phases import Phase, Schedule, State, refuse_barren, remaining, strike, transition
from siri.curriculum.teaching import Teaching
from siri.deadline import Watch
from siri.errors import MinerFault, PolicyFault
from siri.processes import Processes, peak_memory
from siri.progress import Silent
from siri.protocols import Objective, Policy, Progress, SkillMiner, Validator
from siri.rollout.episodes import GroupPlan
from siri.rollout.suite import Suite, in_processes
from siri.seeds import derive_seed
from siri.skills import ContinueWithout, Screen, SkillBank, SkillRetriever
from siri.training.learner import Learner
from siri.training.lessons import Gate, Internalize
from siri.training.no_learner import NoLearner
from siri.types import Group, Skill, Task, Trajectory

__all__ = ["Curriculum"]


class Curriculum:
    """Composes the parts of a run; iterate over it to train.

    Every part may have the small form of its protocol (``siri.protocols``); ``siri.doors`` completes it. To
    be trained, a policy needs the full form, which ``HFPolicy`` has.

    Args:
        suite: the suite to play.
        policy: the policy that plays and is trained.
        miner: writes skills. None means GiGPO alone: the run stays in warm-up until ``max_env_steps``, or for
            as many iterations as all phases together.
        objective: the loss; not needed with a ``learner``.
        config: all other settings.
        validator: decides which skills help; by default the one that ``config.validation`` names.
        retriever: chooses the skills of a group; by default the one that ``config.validation`` names.
        screen: judges new candidates before rollouts are spent on them.
        gate: chooses the rollouts that may be distilled. They teach now if their skills are active, and in
            later iterations (replay) if these are proven by then. A plain rollout has no skills to wait for.
            By default the gate is ``siri.training.lessons.Gate``.
        hooks: what other methods add to an iteration (advice for a teacher, credit of tokens, lessons); the
            recipes of ``siri.recipes`` consist of them.
        on_miner_fault: called with a ``MinerFault`` and the number of minings in a row that failed. It
            raises, or lets the run continue without new skills (the default, with a warning).
        learner: ``"own"`` makes a learner of the policy's weights; None plays without learning.
        progress: shows the progress of rollouts, mining and learning.
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
        self.config = config
        self.tolerance = doors.Tolerance(strict=r.on_fault == "stop")
        """The tolerance for parts that every process calls: retriever, validator and gate."""
        self.watch = Watch(r.part_timeout)
        """Ends a part that hangs during the run, and names it."""
        self._unshown: list[str] = []
        hooks = hooks or Hooks()
        self.horizon = hooks.horizon
        self.suite = in_processes(suite, timeout=r.timeout) if r.processes else suite
        self.policy = doors.policy(policy)
        self.miner = None if miner is None else doors.miner(miner)
        self.validator = doors.judge(validator or parts.make_validator(config.validation))
        self.retriever = retriever or parts.make_retriever(config.validation, self.validator)
        self.progress = doors.progress(progress or Silent(), self._unshown.append)
        if isinstance(learner, str):
            with self.watch:
                learner = parts.make_learner(
                    self.policy,
                    objective,
                    config,
                    taught=hooks.advise is not None,
                    top_k=hooks.top_k,
                    progress=self.progress,
                )
        self.learner = learner or NoLearner()
        # making the learner has joined the process group
        self.processes = Processes.current()
        self.rollout = parts.make_rollout(self.suite, self.policy, config, progress=self.progress)
        self.bank = SkillBank(capacity=config.mining.capacity)
        doors.begun(self.validator, 0, self.bank)
        self.state = State()
        self._unplayed = 0
        self.schedule = Schedule.of(config, mines=miner is not None)
        self.pool: dict[str, list[Trajectory]] = {}
        """Successful plain episodes by kind, oldest first, for mining."""
        self.mining = Mining(
            self.policy,
            self.miner,
            bank=self.bank,
            rollout=self.rollout,
            screen=screen,
            on_fault=on_miner_fault or ContinueWithout(),
            timeout=config.mining.timeout,
            progress=self.progress,
        )
        self.teaching = Teaching(
            self.suite,
            self.policy,
            self.learner,
            rollout=self.rollout,
            bank=self.bank,
            gate=Gate(i.level, i.scope, i.max_weight, chosen=gate and self._chosen(gate)),
            hooks=hooks,
            tolerance=self.tolerance,
            config=config,
        )
        own = {
            "validator": self.validator,
            "miner": self.miner,
            "retriever": self.retriever,
            "adviser": hooks.advise,
            "horizon": hooks.horizon,
        }
        self.stateful = doors.stateful({**own, "replay": self.teaching.replay})
        """Parts whose state is saved in checkpoints."""

    def __iter__(self) -> Iterator[Iteration]:
        while self.state.phase is not Phase.DONE:
            yield self.step()
            refuse_barren(self.state)

    def step(self) -> Iteration:
        """Carry out one iteration.

        Raises:
            LearningFault: the last iterations played no step, or skipped every optimizer step.
            PartTimeout: a part did not answer within ``rollout.part_timeout``.
        """
        refuse_barren(self.state)
        with self.watch:
            return self._step()

    def _step(self) -> Iteration:
        state, phase, k = self.state, self.state.phase, self.state.index
        clock = self.rollout.clock
        mined: tuple[Trajectory, ...] = ()
        none: tuple[str, ...] = ()
        over = self.tolerance.of(
            "validator's begin", partial(doors.begun, self.validator, k, self.bank), none
        )
        events = [f"skill {name} expired" for name in over]
        if phase is not Phase.WARMUP and (k - state.since) % self.config.mining.every == 0:
            mined, event = self.mining.mine(self.pool, state)
            events.append(event)
        plans = self._plans(k)
        groups = self.rollout.play_together(plans, self.processes)
        events += self._fitting(groups)
        lost = self.rollout.on_fault.take()
        faults, said = losses(self.processes.gather([] if lost is None else [lost]))
        rounded = sum(self.processes.gather([self.rollout.rounded]))
        self.rollout.rounded = 0
        state.successes += remember(groups, self.pool, keep=self.config.mining.keep)
        events += [*said, *rounding(rounded)]
        events += observe(groups, self.validator, self.bank, self.tolerance)
        if self.horizon is not None:
            self.tolerance.of("horizon", partial(doors.seen, self.horizon, groups), None)
        learned = self.teaching.learn(groups, state)
        wrong, said = self._wrong()
        events += [*learned.events, *said]
        metrics = {**outcomes(groups), **faults, **learned.metrics, **wrong}
        limits = [plan.turns for plan in plans if plan.turns is not None]
        if limits:
            metrics["env/horizon"] = sum(limits) / len(limits)
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
        noted = (learned.kept, learned.replayed)
        return Iteration(k, phase, metrics, tuple(groups), tuple(events), mined, times, left, *noted)

    def tasks(self, k: int) -> list[Task]:
        """The tasks of iteration ``k``: epochs over the train split, each in a new order."""
        size, seed = self.config.rollout.tasks, self.config.seed
        return parts.tasks_of(self.suite.split("train"), k, size=size, seed=seed)

    def _fitting(self, groups: Sequence[Group]) -> list[str]:
        """Return an event if no prompt fitted the policy; raise an error if that happens twice in a row."""
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
            skills = () if self.state.phase is Phase.WARMUP else self._select(task, seed, k)
            plans.append(parts.group_plan(task, skills, seed, self.config, self._turns(task)))
        return plans

    def _turns(self, task: Task) -> int | None:
        if self.horizon is None:
            return None
        return self.tolerance.of("horizon", partial(doors.limited, self.horizon, task), None)

    def _select(self, task: Task, seed: int, k: int) -> tuple[Skill, ...]:
        call = partial(doors.selected, self.retriever, self.bank, task, seed, iteration=k)
        return self.tolerance.of("retriever", call, ())

    def _chosen(self, gate: Internalize) -> Internalize:
        """``gate`` with tolerance: where it breaks its contract, the rollout is not taught."""

        def chosen(group: Group, trajectory: Trajectory) -> bool:
            call = partial(doors.benefit, gate, group, trajectory)
            # a number such as a weight also counts as a truth value
            return self.tolerance.of("gate", call, 0.0)  # type: ignore[return-value]

        return chosen

    def _wrong(self) -> tuple[dict[str, float], list[str]]:
        """The metric and events for invalid answers of parts in this iteration, in all processes."""
        alike, events = self.tolerance.take()
        unshown, self._unshown[:] = [*self._unshown], []
        own = (len(unshown), unshown + self.watch.slow())
        found = self.processes.gather([self.rollout.tolerance.take()]) + self.processes.gather([own])
        total = alike + sum(count for count, _ in found)
        events += [event for _, said in found for event in said]
        return ({"part/faults": float(total)} if total else {}), events

    def _advance(self) -> list[str]:
        """Enter the next phase if its condition holds; return an event that names the condition."""
        found = transition(self.state, self.bank.counts(), self.schedule)
        if found is None:
            return []
        left, (self.state.phase, why) = self.state.phase, found
        self.state.since = self.state.index
        return [f"{left.value} → {self.state.phase.value}: {why}"]
