"""Plays groups of episodes. Every free slot gets the next episode at once; both arms share their seeds."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from siri.errors import ConfigError, EnvironmentFault, PolicyFault
from siri.protocols import Environment, Policy, Prompter
from siri.rollout.clock import Clock
from siri.rollout.faults import FailFast, FaultPolicy, call
from siri.rollout.spans import shifted, tokens_of_span
from siri.seeds import derive_seed
from siri.skills.safety import SkillGuard
from siri.types import (
    Arm,
    Completion,
    Group,
    Info,
    Request,
    Sampling,
    Skill,
    StopReason,
    Task,
    Trajectory,
    Turn,
)

__all__ = ["GroupPlan", "Rollout"]


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """What to play for one task: ``plain`` rollouts, and ``skilled`` ones that see ``skills``."""

    task: Task
    plain: int
    skilled: int = 0
    skills: tuple[Skill, ...] = ()
    seed: int = 0


@dataclass(slots=True)
class _Episode:
    group: int
    number: int
    """Rollout number within the arm; the same number has the same seeds in both arms."""
    arm: Arm
    plan: GroupPlan
    session: str
    env: Environment | None = None
    observation: str = ""
    info: Info | None = None
    turns: list[Turn] = field(default_factory=list)
    hidden: int = 0
    """Turns after the first that prompts no longer show."""
    pending: Callable[[], Any] | None = None
    """Waits for what the environment is doing."""
    stop: StopReason | None = None

    @property
    def skills(self) -> tuple[Skill, ...]:
        return self.plan.skills if self.arm == "skill" else ()

    @property
    def shown(self) -> list[Turn]:
        """The first turn often says what the task is, so it stays."""
        return self.turns[:1] + self.turns[1 + self.hidden :]


class Rollout:
    """Plays plans with one policy.

    Deterministic: the seeds of an episode derive from its plan's seed and its number alone, so neither the
    number of slots nor the order in which episodes end changes a trajectory.

    Args:
        make_env: makes an environment; they are kept and reused, one for each slot.
        prompter: makes prompts and reads actions.
        policy: samples completions.
        sampling: how.
        slots: episodes played side by side.
        on_fault: told of every environment that raised; raises or lets the episode be dropped.
        overflow: what happens when a prompt does not fit the policy's context: ``end`` the episode
            (``StopReason.CONTEXT_LIMIT``), or ``drop_oldest`` turns after the first until it fits.
        guard: makes skills safe to show; every skill of every prompt passes it. By default one for the
            policy's tokenizer.
        keep_tokens: False leaves token ids and log-probs out of the turns, for who only counts outcomes: the
            prompts of an episode take memory that grows with the square of its turns.
    """

    def __init__(
        self,
        make_env: Callable[[], Environment],
        prompter: Prompter,
        policy: Policy,
        *,
        sampling: Sampling,
        slots: int = 128,
        on_fault: FaultPolicy | None = None,
        overflow: Literal["end", "drop_oldest"] = "end",
        guard: SkillGuard | None = None,
        keep_tokens: bool = True,
    ) -> None:
        if slots < 1:
            raise ConfigError(f"got slots={slots}, expected at least 1; fix: raise it")
        self.make_env = make_env
        self.prompter = prompter
        self.policy = policy
        self.sampling = sampling
        self.slots = slots
        self.on_fault = on_fault or FailFast()
        self.overflow = overflow
        self.guard = guard or SkillGuard(getattr(policy, "tokenizer", None))
        self.keep_tokens = keep_tokens
        self.clock = Clock()
        """Where the time of the plays went, for whoever wants to ``take`` it."""
        self._idle: list[Environment] = []

    def play(self, plans: Sequence[GroupPlan]) -> list[Group]:
        """Play every plan to its end; one group each, in order."""
        plans = [self._guarded(plan) for plan in plans]
        waiting = deque(_episodes(plans))
        active: list[_Episode] = []
        done: list[list[_Episode]] = [[] for _ in plans]
        while waiting or active:
            fresh = [waiting.popleft() for _ in range(min(len(waiting), self.slots - len(active)))]
            with self.clock.part("env"):
                for episode in fresh:
                    self._start(episode)
                for episode in fresh:
                    self._open(episode)
            active += fresh
            playing = [e for e in active if e.stop is None]
            for episode, completion in zip(playing, self._complete(playing), strict=True):
                self._act(episode, completion)
            with self.clock.part("env"):
                for episode in playing:
                    self._observe(episode)
            self.clock.count("env_steps", len(playing))
            for episode in active:
                if episode.stop is not None:
                    self._finish(episode, done)
            active = [e for e in active if e.stop is None]
        played = getattr(self.on_fault, "played", None)
        if played is not None:
            stops = [episode.stop for episodes in done for episode in episodes]
            played(len(stops), stops.count(StopReason.ENVIRONMENT_FAULT))
        return [_group(plan, episodes) for plan, episodes in zip(plans, done, strict=True)]

    def _guarded(self, plan: GroupPlan) -> GroupPlan:
        """The plan with skills as a prompt may show them; all plain when nothing is left to show."""
        safe = self.guard(plan.skills)
        if plan.skilled and plan.skills and not safe:
            return replace(plan, plain=plan.plain + plan.skilled, skilled=0, skills=())
        return replace(plan, skills=safe)

    def _start(self, episode: _Episode) -> None:
        seed = derive_seed("env", episode.plan.seed, episode.number) % 2**31
        try:
            episode.env = self._idle.pop() if self._idle else call(self.make_env)
            episode.pending = _begin(episode.env, "reset", seed=seed, options={"task": episode.plan.task})
        except EnvironmentFault as fault:
            self._fault(episode, fault)

    def _open(self, episode: _Episode) -> None:
        answer = self._answer(episode)
        if answer is not None:
            episode.observation, info = answer
            episode.info = info
            if info["success"]:
                episode.stop = StopReason.SUCCESS

    def _answer(self, episode: _Episode) -> Any:
        """What the environment said; None when it broke."""
        pending, episode.pending = episode.pending, None
        if pending is None:
            return None
        try:
            return pending()
        except EnvironmentFault as fault:
            self._fault(episode, fault)
            return None

    def _complete(self, episodes: Sequence[_Episode]) -> list[Completion]:
        """One completion for each episode; one whose prompt does not fit may get a shorter one."""
        done = self._generate(episodes)
        while self.overflow == "drop_oldest":
            long = [n for n, e in enumerate(episodes) if _unfit(done[n]) and e.hidden < len(e.turns) - 1]
            if not long:
                break
            for n in long:
                # a quarter at a time: few retries, and the cache serves several turns before the next cut
                left = len(episodes[n].turns) - 1 - episodes[n].hidden
                episodes[n].hidden += max(1, left // 4)
            for n, completion in zip(long, self._generate([episodes[n] for n in long]), strict=True):
                done[n] = completion
        return done

    def _generate(self, episodes: Sequence[_Episode]) -> list[Completion]:
        if not episodes:
            return []
        with self.clock.part("generate"):
            completions = self.policy.generate([self._request(e) for e in episodes], self.sampling)
        self.clock.count("tokens", sum(len(c.completion_ids) for c in completions))
        if len(completions) != len(episodes):
            raise PolicyFault(
                f"got {len(completions)} completions, expected one for each of {len(episodes)} requests"
            )
        return completions

    def _request(self, episode: _Episode) -> Request:
        info = _known(episode.info)
        state = (episode.plan.task, episode.shown, episode.observation, info["admissible"])
        return Request(
            messages=self.prompter.messages(*state, episode.skills),
            session=episode.session,
            plain=self.prompter.messages(*state) if episode.skills else None,
            seed=derive_seed("sample", episode.plan.seed, episode.number, len(episode.turns)),
        )

    def _act(self, episode: _Episode, completion: Completion) -> None:
        """Give the completion's action to the environment, which may take its time."""
        if _unfit(completion):
            episode.stop = StopReason.CONTEXT_LIMIT
            return
        before = _known(episode.info)
        said = completion.opened + completion.text
        action, well_formed, span = self.prompter.parse(said)
        if not self.keep_tokens:
            completion = Completion(completion.text, finished=completion.finished, opened=completion.opened)
        episode.turns.append(
            Turn(
                observation=episode.observation,
                admissible=tuple(before["admissible"]),
                action=action,
                text=said,
                valid=well_formed,
                reward=0.0,
                anchor=before["anchor"],
                prompt_ids=completion.prompt_ids,
                plain_prompt_ids=completion.plain_prompt_ids,
                completion_ids=completion.completion_ids,
                logprobs=completion.logprobs,
                action_mask=self._mask(completion, span),
                well_formed=well_formed,
                finished=completion.finished,
            )
        )
        episode.pending = _begin(episode.env, "step", action)

    def _observe(self, episode: _Episode) -> None:
        """Take what the environment said to the last action."""
        answer = self._answer(episode)
        if answer is None:
            return
        observation, reward, terminated, truncated, info = answer
        turn = episode.turns[-1]
        episode.turns[-1] = replace(turn, valid=turn.valid and info["valid"], reward=float(reward))
        episode.observation, episode.info = observation, info
        if terminated:
            episode.stop = StopReason.SUCCESS if info["success"] else StopReason.FAILURE
        elif truncated:
            episode.stop = StopReason.STEP_LIMIT

    def _mask(self, completion: Completion, span: tuple[int, int]) -> tuple[bool, ...]:
        """Which sampled tokens lie in the action's characters; the stop token never does."""
        ids = completion.completion_ids
        if not ids:
            return ()
        words = len(ids) - completion.finished
        decode = getattr(self.policy, "decode", None)
        said = completion.opened + completion.text
        if span == (0, len(said)) or decode is None:
            return tuple(n < words for n in range(len(ids)))
        first, last = tokens_of_span(
            ids[:words], decode, completion.text, shifted(span, -len(completion.opened))
        )
        return tuple(first <= n < last for n in range(len(ids)))

    def _fault(self, episode: _Episode, fault: EnvironmentFault) -> None:
        """A broken environment is not used again."""
        episode.stop, episode.env = StopReason.ENVIRONMENT_FAULT, None
        self.on_fault(fault, episode.plan.task)

    def _finish(self, episode: _Episode, done: list[list[_Episode]]) -> None:
        if episode.env is not None:
            self._idle.append(episode.env)
        end = getattr(self.policy, "end", None)
        if end is not None:
            end(episode.session)
        done[episode.group].append(episode)


def _episodes(plans: Sequence[GroupPlan]) -> Iterator[_Episode]:
    seen: Counter[tuple[int, str]] = Counter()
    for group, plan in enumerate(plans):
        seen[plan.seed, plan.task.id] += 1
        again = seen[plan.seed, plan.task.id]
        # a name that does not depend on which process plays the group
        name = f"{plan.seed}/{plan.task.id}" + (f"/{again}" if again > 1 else "")
        if plan.skilled and not plan.skills:
            raise ConfigError(f"got {plan.skilled} skill rollouts of {plan.task.id!r} without a skill")
        arms: tuple[tuple[Arm, int], ...] = (("plain", plan.plain), ("skill", plan.skilled))
        for arm, count in arms:
            for number in range(count):
                yield _Episode(group, number, arm, plan, f"{name}/{arm}/{number}")


def _begin(env: Any, name: str, *arguments: Any, **named: Any) -> Callable[[], Any]:
    """Start a call into ``env``; one in this process is carried out when it is waited for."""
    begin = getattr(env, "begin", None)
    if begin is None:
        return lambda: call(getattr(env, name), *arguments, **named)
    waiting: Callable[[], Any] = begin(name, *arguments, **named)
    return waiting


def _unfit(completion: Completion) -> bool:
    """Whether the prompt did not fit the context."""
    if completion.too_long is not None:
        return True
    return not completion.finished and not completion.completion_ids and not completion.text


def _known(info: Info | None) -> Info:
    if info is None:
        raise EnvironmentFault("got no info, expected one from reset or step")
    return info


def _group(plan: GroupPlan, episodes: Sequence[_Episode]) -> Group:
    """Episodes whose environment broke are left out: nothing is known of their outcome."""
    kept = [e for e in episodes if e.stop is not StopReason.ENVIRONMENT_FAULT]
    kept.sort(key=lambda e: (e.arm, e.number))
    skills = tuple(skill.id for skill in plan.skills) if plan.skilled else ()
    return Group(plan.task, tuple(_trajectory(e, skills) for e in kept), skills)


def _trajectory(episode: _Episode, skills: tuple[str, ...]) -> Trajectory:
    return Trajectory(
        id=episode.session,
        task=episode.plan.task,
        arm=episode.arm,
        skills=skills if episode.arm == "skill" else (),
        turns=tuple(episode.turns),
        success=episode.stop is StopReason.SUCCESS,
        stop=episode.stop or StopReason.FAILURE,
        final_observation=episode.observation,
        seed=episode.plan.seed,
        score=None if episode.info is None else episode.info.get("score"),
    )
