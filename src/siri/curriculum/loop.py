"""The three phases of SIRI (arXiv 2606.02355, section 3), as an iterator to be read beside the paper.

warmup            every rollout plain, GiGPO; until enough plain successes were seen
mining            skills from own successes; half of a group sees one; GiGPO on both arms
internalization   the same, plus λ(k) · L_int on the skill arm's beneficial, skill-guided tokens
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import torch

from siri.algos import linear_warmup
from siri.config import RunConfig
from siri.curriculum.parts import make_retriever, make_validator
from siri.errors import ConfigError, MinerFault, SplitError
from siri.models.adapters import add_lora, has_adapter
from siri.models.scoring import logprobs_only
from siri.processes import Processes, peak_memory
from siri.protocols import Objective, SkillMiner, Validator
from siri.rollout.faults import DropEpisode, FailFast
from siri.rollout.play import GroupPlan, Rollout
from siri.rollout.suite import Suite, in_processes
from siri.seeds import derive_seed
from siri.skills import (
    PROVEN,
    ContinueWithout,
    PairedValidator,
    Proposal,
    Screen,
    SkillBank,
    SkillRetriever,
    admit,
    propose,
)
from siri.training.batches import collate, micro_batches
from siri.training.credit import advantages
from siri.training.learner import Learner, start_processes
from siri.training.lessons import Gate, Internalize, Lesson, Standing
from siri.training.replay import Replay
from siri.training.rows import Row, build_rows
from siri.types import Group, Sampling, SkillStatus, Task, Trajectory

__all__ = ["Curriculum", "Iteration", "Phase", "State"]


class Phase(Enum):
    """Where a run is."""

    WARMUP = "warmup"
    MINING = "mining"
    INTERNALIZATION = "internalization"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Iteration:
    """One iteration that was carried out."""

    index: int
    phase: Phase
    metrics: Mapping[str, float]
    groups: tuple[Group, ...]
    events: tuple[str, ...] = ()
    """What happened beside the numbers, in words: transitions, minings, faults."""
    mined: tuple[Trajectory, ...] = ()
    """Episodes that skills came from, as far as this is the first iteration to name them."""
    times: Mapping[str, float] = field(default_factory=dict)
    """Seconds and rates of this process (docs/metrics.md); the only numbers that the seed does not fix."""


@dataclass
class State:
    """What a run is besides weights, optimizer, bank and validator."""

    index: int = 0
    phase: Phase = Phase.WARMUP
    since: int = 0
    """Iteration in which the phase began."""
    successes: int = 0
    env_steps: int = 0
    failed_minings: int = 0
    """Minings in a row that ended in a fault."""


class Curriculum:
    """Composes the parts of a run; iterate over it to train.

    ``policy`` needs, beside ``generate``, what ``HFPolicy`` has: ``model``, ``tokenizer``, ``snapshot()`` and
    ``reset_cache()``. Without a miner the run is GiGPO alone: it stays in warm-up until ``max_env_steps``
    (or for as many iterations as the phases would have had).

    A miner that fails with ``MinerFault`` is reported as an event; ``on_miner_fault`` is told of the fault
    and of how many minings in a row failed, and lets the run go on without new skills (the default, with a
    warning) or raises. A ``screen`` judges new candidates before rollouts are spent on them. ``gate``
    picks the rollouts that may be distilled: now if their skills are active, in later iterations (replay) if
    they are proven by then; a plain rollout has none to ask for. The default is that of
    ``siri.training.lessons.Gate``. L_int needs phase 2, so a run without a miner has no use for it.
    """

    def __init__(
        self,
        suite: Suite,
        policy: Any,
        *,
        miner: SkillMiner | None,
        objective: Objective,
        config: RunConfig,
        validator: Validator | None = None,
        retriever: SkillRetriever | None = None,
        screen: Screen | None = None,
        gate: Internalize | None = None,
        on_miner_fault: Callable[[MinerFault, int], None] | None = None,
    ) -> None:
        r, o = config.rollout, config.optimizer
        self.suite = in_processes(suite, timeout=r.timeout) if r.processes else suite
        self.policy, self.miner, self.config = policy, miner, config
        self.bank = SkillBank(capacity=config.mining.capacity)
        self.validator = validator or make_validator(config.validation)
        if isinstance(self.validator, PairedValidator):
            self.validator.bind(self.bank)
        i = config.internalization
        self.gate = Gate(i.level, i.scope, i.max_weight, chosen=gate)
        self.retriever = retriever or make_retriever(config.validation, self.validator)
        self.screen, self.on_miner_fault = screen, on_miner_fault or ContinueWithout()
        if r.sleep and not hasattr(policy, "sleep"):
            raise ConfigError(
                "got rollout.sleep with an engine that cannot, expected vLLM; fix: --engine vllm"
            )
        adapted = _adapted(policy, config)
        reference = None
        if getattr(objective, "kl", 0):
            # the learner reads a model with an adapter without it
            reference = policy.model if adapted else policy.snapshot().model
        # a model that is spread over processes cannot play, so the policy keeps a whole one
        several = start_processes().size > 1
        trained = copy.deepcopy(policy.model) if o.shard and several else policy.model
        if o.gradient_checkpointing:
            trained.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if trained is not policy.model:
            dtype = getattr(torch, r.dtype)
            policy.model.to(dtype)
            reference = None if reference is None else reference.to(dtype)
        self.learner = Learner(
            trained,
            objective,
            lr=o.lr,
            weight_decay=o.weight_decay,
            grad_clip=o.grad_clip,
            minibatches=o.minibatches,
            epochs=o.epochs,
            max_tokens_per_micro_batch=o.max_tokens_per_micro_batch,
            reference=reference,
            recompute=o.recompute,
            shard=o.shard,
        )
        policy.model.to(self.learner.device)
        # the learner has joined the process group
        self.processes = Processes.current()
        self.rollout = Rollout(
            self.suite.make_env,
            suite.prompter,
            policy,
            sampling=Sampling(temperature=r.temperature, top_p=r.top_p, max_tokens=r.max_tokens),
            slots=r.slots,
            on_fault=DropEpisode() if r.on_fault == "drop" else FailFast(),
            overflow=r.overflow,
        )
        self.state = State()
        self.pool: dict[str, list[Trajectory]] = {}
        """Successful plain episodes by kind, oldest first: what is mined."""
        self.replay = Replay(config.internalization.replay)

    def __iter__(self) -> Iterator[Iteration]:
        while self.state.phase is not Phase.DONE:
            yield self.step()

    def step(self) -> Iteration:
        """Carry out one iteration."""
        state, phase, k = self.state, self.state.phase, self.state.index
        events: list[str] = []
        mined: tuple[Trajectory, ...] = ()
        clock = self.rollout.clock
        if isinstance(self.validator, PairedValidator):
            events += [f"skill {name} expired" for name in self.validator.expire(k)]
        if phase is not Phase.WARMUP and (k - state.since) % self.config.mining.every == 0:
            mined, event = self._mine(k)
            events.append(event)
        plans = self._plans(k)
        played = self.rollout.play(self.processes.share(plans))
        with clock.part("sync"):
            groups = self.processes.gather(played)
        faults, said = self._faults()
        events += said
        self._remember(groups)
        events += self._observe(groups, k)
        learned, said = self._learn(groups, k)
        events += said
        metrics = {**self._outcomes(groups), **faults, **learned}
        metrics |= {f"bank/{name}": float(count) for name, count in self.bank.counts().items()}
        state.env_steps += int(metrics["env/steps"])
        metrics["env/total_steps"] = float(state.env_steps)
        state.index += 1
        events += self._transition()
        times = clock.take() | {"peak_memory": peak_memory()}
        return Iteration(k, phase, metrics, tuple(groups), tuple(events), mined, times)

    def tasks(self, k: int) -> list[Task]:
        """The tasks of iteration ``k``: epochs over the train split, each in an order of its own."""
        train, size = self.suite.split("train"), self.config.rollout.tasks
        chosen = []
        for position in range(k * size, (k + 1) * size):
            epoch, place = divmod(position, len(train))
            order = list(range(len(train)))
            random.Random(derive_seed("tasks", self.config.seed, epoch)).shuffle(order)
            chosen.append(train[order[place]])
        return chosen

    def _plans(self, k: int) -> list[GroupPlan]:
        plans = []
        size = self.config.rollout.group_size
        for place, task in enumerate(self.tasks(k)):
            seed = derive_seed("group", self.config.seed, k, place)
            skills = () if self.state.phase is Phase.WARMUP else self.retriever.select(self.bank, task, seed)
            skilled = min(max(int(size * self.config.rollout.skill_share), 1), size - 1) if skills else 0
            plans.append(GroupPlan(task, size - skilled, skilled, skills, seed))
        return plans

    def _mine(self, k: int) -> tuple[tuple[Trajectory, ...], str]:
        """Let a frozen snapshot of the policy summarise its own successes; what for, and what came of it."""
        if self.miner is None:
            return (), "no miner"
        pool = [trajectory for kind in sorted(self.pool) for trajectory in self.pool[kind]]
        miner = self.miner

        def mine() -> Proposal:
            bind = getattr(miner, "bind", None)
            if bind is not None:
                bind(self.policy.snapshot(), iteration=k)
            return propose(miner, pool, self.bank, screen=self.screen)

        try:
            proposal = self.processes.on_first(mine)
        except MinerFault as fault:
            self.state.failed_minings += 1
            self.on_miner_fault(fault, self.state.failed_minings)
            return (), f"mining failed: {fault}"
        self.state.failed_minings = 0
        known = self.bank.sources()
        event = admit(proposal, self.bank, iteration=k)[1]
        new = self.bank.sources() - known
        return tuple(t for t in pool if t.id in new), event

    def _faults(self) -> tuple[dict[str, float], list[str]]:
        """How many episodes of this iteration were lost, and to what."""
        policy = self.rollout.on_fault
        if not isinstance(policy, DropEpisode):
            return {}, []
        own = (policy.dropped, policy.timeouts, policy.take_reasons())
        policy.dropped = policy.timeouts = 0
        found = self.processes.gather([own])
        counts = {
            "env/faults": float(sum(dropped for dropped, _, _ in found)),
            "env/timeouts": float(sum(timeouts for _, timeouts, _ in found)),
        }
        reasons = [reason for _, _, said in found for reason in said]
        return counts, [f"{len(reasons)} episodes lost, the first to {reasons[0]}"] if reasons else []

    def _remember(self, groups: Sequence[Group]) -> None:
        for group in groups:
            for trajectory in group.arm("plain"):
                if not trajectory.success:
                    continue
                if trajectory.task.split != "train":
                    raise SplitError(f"got {trajectory.task.id!r} of {trajectory.task.split!r} in training")
                self.state.successes += 1
                kept = self.pool.setdefault(trajectory.task.kind, [])
                kept.append(trajectory)
                del kept[: -self.config.mining.keep]

    def _observe(self, groups: Sequence[Group], k: int) -> list[str]:
        """Tell the validator of every group with both arms."""
        events = []
        for group in groups:
            plain = [t.success for t in group.arm("plain")]
            skilled = [t.success for t in group.arm("skill")]
            if not plain or not skilled:
                continue
            for name in group.skills:
                record = self.bank.get(name)
                after = self.validator.observe(name, plain, skilled)
                if not isinstance(self.validator, PairedValidator):  # which writes into the bank itself
                    rates = {"plain": sum(plain) / len(plain), "skilled": sum(skilled) / len(skilled)}
                    self.bank.observe(name, **rates, iteration=k)
                    self.bank.set_status(name, after, k)
                if record.status is not after:
                    events.append(f"skill {name} {after.value}: {record.skill.text}")
        return events

    def _rows(self, groups: Sequence[Group], standing: Standing) -> tuple[list[Row], str | None]:
        """RL rows; and rows of L_int, where they are of use, of what helped whatever its skill's status."""
        credit = advantages(groups, self.config.advantage, max_return=self.suite.max_return)
        lessons: list[Lesson] = []
        if self.config.internalization.replay or self.state.phase is Phase.INTERNALIZATION:
            lessons = self.gate.lessons(groups, credit, standing)
        return build_rows(groups, credit, lessons), credit.warning

    def _learn(self, groups: Sequence[Group], k: int) -> tuple[dict[str, float], list[str]]:
        """Train on an iteration; metrics, and what was wrong with its rewards."""
        scale, i = 0.0, self.config.internalization
        records = self.bank.records()
        standing = Standing(
            {record.skill.id: record.evidence.utility for record in records},
            active=frozenset(r.skill.id for r in records if r.status is SkillStatus.ACTIVE),
            proven=frozenset(r.skill.id for r in records if r.status in PROVEN),
        )
        rows, warning = self._rows(groups, standing)
        chosen = [row for row in rows if row.kind == "rl"]
        if self.config.rollout.sleep:
            self.policy.sleep()
        gap: dict[str, float] = {}
        if self.state.phase is Phase.INTERNALIZATION:
            scale = linear_warmup(k, start=self.state.since, length=i.warmup, peak=i.peak)
            fresh = [row for row in rows if row.kind == "int" and standing.teaches(row.skills)]
            gap = self._prompt_gap(fresh)
            chosen += fresh + self.replay.rows(standing.proven)
        # a skill is proved by the groups it wins in: what it won before is kept, and taken once it is proven
        self.replay.add(k, rows)
        if not hasattr(self.policy, "engine"):
            # keys and values are of no use once the weights change, and the learner needs their room
            self.policy.reset_cache()
        with self.rollout.clock.part("learn"):
            metrics = self.learner.update(
                chosen, int_scale=scale, seed=derive_seed("learn", self.config.seed, k)
            )
        if hasattr(self.policy, "engine") and "learn/logprob_gap" in metrics:
            gap["engine/logprob_gap"] = metrics["learn/logprob_gap"]
        with self.rollout.clock.part("sync"):
            if self.learner.model is not self.policy.model:
                self.policy.model.load_state_dict(self.learner.weights(), strict=False)
            self.policy.reset_cache()
        return {**metrics, **gap, "int/scale": scale}, [warning] if warning else []

    def _prompt_gap(self, rows: Sequence[Row]) -> dict[str, float]:
        """Of this iteration's rows, before the update. The learner's number is of replayed rows too, amid its
        steps, and with λ = 0 it has none, though a control run still wants to see the gap."""
        total, tokens = 0.0, 0
        most = self.config.optimizer.max_tokens_per_micro_batch
        for part in micro_batches(self.processes.share(rows), max_tokens=most):
            batch = collate(part, pad_id=0)
            now = logprobs_only(self.policy.model, batch)
            total += float((batch.old_logprobs - now)[batch.int_mask].sum())
            tokens += int(batch.int_mask.sum())
        parts = self.processes.gather([(total, tokens)])
        total, tokens = sum(part[0] for part in parts), sum(part[1] for part in parts)
        return {"int/prompt_gap": total / max(tokens, 1)}

    @staticmethod
    def _outcomes(groups: Sequence[Group]) -> dict[str, float]:
        episodes = [t for group in groups for t in group.trajectories]
        turns = [turn for t in episodes for turn in t.turns]
        metrics = {
            "env/steps": float(len(turns)),
            "env/episodes": float(len(episodes)),
            "env/valid": sum(turn.valid for turn in turns) / max(1, len(turns)),
        }
        paired = [group for group in groups if group.arm("plain") and group.arm("skill")]
        for arm, arms in (
            ("plain", [group.arm("plain") for group in groups]),
            ("skill", [group.arm("skill") for group in groups]),
        ):
            outcomes = [t.success for part in arms for t in part]
            if outcomes:
                metrics[f"arm/{arm}/success"] = sum(outcomes) / len(outcomes)
            scores = [t.score for part in arms for t in part if t.score is not None]
            if scores:
                metrics[f"arm/{arm}/task_score"] = 100 * sum(scores) / len(scores)
        if paired:
            deltas = [
                sum(t.success for t in group.arm("skill")) / len(group.arm("skill"))
                - sum(t.success for t in group.arm("plain")) / len(group.arm("plain"))
                for group in paired
            ]
            metrics["arm/delta"] = sum(deltas) / len(deltas)
        return metrics

    def _transition(self) -> list[str]:
        """Move to the next phase where its condition holds; say which condition it was."""
        state, c = self.state, self.config
        here = state.index - state.since
        if c.max_env_steps is not None and state.env_steps >= c.max_env_steps:
            return self._enter(Phase.DONE, f"{state.env_steps} environment steps were reached")
        if self.miner is None:
            limit = c.warmup.max_iterations + c.mining.max_iterations + c.internalization.iterations
            if c.max_env_steps is None and here >= limit:
                return self._enter(Phase.DONE, f"{here} iterations without a miner")
            return []
        counts = self.bank.counts()
        active = counts["active"] + counts["internalized"]
        if state.phase is Phase.WARMUP:
            if state.successes >= c.warmup.successes:
                return self._enter(Phase.MINING, f"{state.successes} plain successes")
            if here >= c.warmup.max_iterations:
                return self._enter(Phase.MINING, f"{here} iterations, the most allowed")
        elif state.phase is Phase.MINING:
            if active >= c.mining.min_active and here >= c.mining.min_iterations:
                return self._enter(Phase.INTERNALIZATION, f"{active} active skills after {here} iterations")
            if here >= c.mining.max_iterations:
                warning = "" if active else "; warning: no skill is active, so L_int is 0"
                return self._enter(Phase.INTERNALIZATION, f"{here} iterations, the most allowed{warning}")
        elif here >= c.internalization.iterations:
            return self._enter(Phase.DONE, f"{here} iterations")
        return []

    def _enter(self, phase: Phase, why: str) -> list[str]:
        left, self.state.phase, self.state.since = self.state.phase, phase, self.state.index
        return [f"{left.value} → {phase.value}: {why}"]


def _adapted(policy: Any, config: RunConfig) -> bool:
    """Put on the adapter that ``config`` asks for; whether there is one."""
    lora = config.lora
    if not lora.rank:
        if has_adapter(policy.model):
            raise ConfigError(
                "got a policy with a LoRA adapter and lora.rank=0, expected the adapter's rank and alpha to "
                "train it further; fix: --set lora.rank=R --set lora.alpha=A"
            )
        return False
    if hasattr(policy, "engine"):
        raise ConfigError("got lora.rank with --engine vllm, expected a policy that adapts; fix: --engine hf")
    add_lora(policy.model, rank=lora.rank, alpha=lora.alpha, targets=lora.targets, seed=config.seed)
    policy.reset_cache()
    return True
