"""Playing groups of episodes. A free slot gets the next episode at once; both arms share their seeds."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from siri import doors
from siri.errors import ConfigError, EnvironmentFault, PolicyFault
from siri.processes import Processes
from siri.progress import Silent, during
from siri.protocols import Environment, FaultPolicy, Policy, Progress, Prompter, Seat
from siri.rollout.clock import Clock
from siri.rollout.episodes import Episode, GroupPlan, Played, assembled, episodes, finished
from siri.rollout.faults import FailFast
from siri.rollout.spans import shifted, tokens_of_span
from siri.seeds import derive_seed
from siri.skills.safety import SkillGuard
from siri.types import Completion, Group, Info, Request, Sampling, StopReason, Task, Turn, Usage

__all__ = ["GroupPlan", "Rollout"]

_GLANCE = 0.001
"""Seconds between two checks of working environments."""


class Rollout:
    """Plays plans with one policy.

    Deterministic: the seeds of an episode derive from its plan's seed and its number alone, so neither the
    number of slots nor the order in which episodes end changes a trajectory.

    Args:
        make_env: makes an environment. Environments are kept and reused, one for each slot.
        prompter: makes prompts and reads actions.
        policy: samples completions.
        sampling: how to sample.
        slots: number of episodes played at the same time.
        on_fault: called for every environment that raised. It raises, or returns to drop the episode. A
            function of (fault, task) will do.
        overflow: what to do when a prompt does not fit the policy's context: ``end`` the episode
            (``StopReason.CONTEXT_LIMIT``), or ``drop_oldest`` turns after the first until it fits.
        guard: makes skills safe to show; every skill of every prompt passes it. By default one for the
            policy's tokenizer.
        keep_tokens: pass False when only outcomes matter: stored prompts grow quadratically with episode
            length.
        tolerance: how often prompter and policy may give an invalid answer, which costs the episode. By
            default never.
        max_steps: turns after which an episode ends (``StopReason.STEP_LIMIT``), whatever its environment
            says; None leaves that to the environment.
        progress: shows how many episodes are done.
    """

    def __init__(
        self,
        make_env: Callable[[], Environment],
        prompter: Prompter,
        policy: Policy,
        *,
        sampling: Sampling,
        slots: int = 128,
        on_fault: FaultPolicy | Callable[[EnvironmentFault, Task], None] | None = None,
        overflow: Literal["end", "drop_oldest"] = "end",
        guard: SkillGuard | None = None,
        tolerance: doors.Tolerance | None = None,
        keep_tokens: bool = True,
        max_steps: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        for name, value in (("slots", slots), ("max_steps", max_steps)):
            if value is not None and value < 1:
                raise ConfigError(f"got {name}={value}, expected at least 1; fix: raise it")
        self.make_env = make_env
        self.prompter = prompter
        self.tools = doors.tools_of(prompter)
        self.policy = doors.policy(policy)
        self.sampling = sampling
        self.slots = slots
        self.on_fault = doors.faults(on_fault or FailFast())
        self.overflow = overflow
        self.guard = guard or SkillGuard(self.policy.tokenizer)
        self.tolerance = tolerance or doors.Tolerance(strict=True)
        self.keep_tokens = keep_tokens
        self.max_steps = max_steps
        self.progress = progress or Silent()
        self.clock = Clock()
        """The time that rollouts spent; read it with ``take``."""
        self.too_long: tuple[int, int] | None = None
        """(tokens of the longest prompt that did not fit, most tokens that the policy takes)."""
        self.rounded = 0
        """Number of log-probs that rounding put above 0; they count as 0."""
        self._idle: list[Seat] = []
        self._broken = 0

    def play(self, plans: Sequence[GroupPlan], *, part: str = "rollout") -> list[Group]:
        """Play every plan to its end; return one group for each, in order. ``part`` names the progress."""
        plans = [self._guarded(plan) for plan in plans]
        return assembled(plans, self._played(deque(episodes(plans)), len(plans), part))

    def play_together(self, plans: Sequence[GroupPlan], processes: Processes) -> list[Group]:
        """Play every plan with all processes of the job; each plays its share of the episodes.

        A collective: every process returns all groups.

        Args:
            plans: the plans, the same in every process.
            processes: the processes of the job.
        """
        plans = [self._guarded(plan) for plan in plans]
        own = self._played(deque(processes.share(list(episodes(plans)))), len(plans), "rollout")
        with self.clock.part("sync"):
            return assembled(plans, processes.gather(own))

    def _played(self, waiting: deque[Episode], groups: int, part: str) -> list[Played]:
        self._broken = 0
        done: list[list[Episode]] = [[] for _ in range(groups)]
        with during(self.progress, part, len(waiting)):
            self._play(waiting, done, part)
        self.tolerance.settle()  # figures of a rollout in which nothing worked would mean nothing
        self.on_fault.played(sum(map(len, done)), self._broken)
        return finished(episode for group in done for episode in group)

    def _play(self, waiting: deque[Episode], done: list[list[Episode]], part: str) -> None:
        stream = doors.stream(self.policy, self.sampling)
        try:
            self._play_through(stream, waiting, done, part)
        except BaseException:
            stream.cancel()
            raise
        finally:
            self.rounded += stream.rounded

    def _play_through(
        self, stream: doors.Stream, waiting: deque[Episode], done: list[list[Episode]], part: str
    ) -> None:
        """Send requests for every episode that is ready. If the policy streams, no episode waits for the
        completion or the environment of another."""
        active: list[Episode] = []
        asked: dict[int, Episode] = {}
        planned: Counter[str] = Counter(episode.arm for episode in waiting)
        while waiting or active:
            fresh = [waiting.popleft() for _ in range(min(len(waiting), self.slots - len(active)))]
            with self.clock.part("env"):
                for episode in fresh:
                    self._start(episode)
            active += fresh
            # an environment that has answered already leaves an episode that can be asked for
            self._settle(stream, active, idle=not asked and all(e.pending is not None for e in active))
            on_way = {id(episode) for episode in asked.values()}
            free = [e for e in active if e.stop is None and e.pending is None and id(e) not in on_way]
            self._ask(stream, free, asked)
            answered = self._answers(stream, asked, active)
            for episode, completion in answered:
                self._act(episode, completion)
            self._settle(stream, active, idle=False)
            self.clock.count("env_steps", len(answered))
            over = [e for e in active if e.stop is not None]
            for episode in over:
                self._finish(episode)
                done[episode.group].append(episode)
            if over:
                self.progress.advance(part, len(over), **_won(done, planned))
            active = [e for e in active if e.stop is None]

    def _guarded(self, plan: GroupPlan) -> GroupPlan:
        """The plan with safe skills; all rollouts are plain when no skill is left to show."""
        safe = self.guard(plan.skills)
        if plan.skilled and plan.skills and not safe:
            return replace(plan, plain=plan.plain + plan.skilled, skilled=0, skills=())
        return replace(plan, skills=safe)

    def _start(self, episode: Episode) -> None:
        seed = derive_seed("env", episode.plan.seed, episode.number) % 2**31
        try:
            episode.seat = self._idle.pop() if self._idle else doors.seat_of(self.make_env)
            episode.pending = episode.seat.begin("reset", seed=seed, options={"task": episode.plan.task})
        except EnvironmentFault as fault:
            self._fault(episode, fault)

    def _settle(self, stream: doors.Stream, active: Sequence[Episode], *, idle: bool) -> None:
        """Fetch the results of the environments: all of them in lock-step, else those that are ready.

        ``idle``: there is nothing else to wait for.
        """
        acting = [episode for episode in active if episode.pending is not None]
        with self.clock.part("env"):
            for episode in acting if stream.lockstep else _ready(acting, idle=idle):
                if episode.turns:
                    self._observe(episode)
                else:
                    self._open(episode)

    def _open(self, episode: Episode) -> None:
        answer = self._answer(episode)
        if answer is not None:
            episode.observation, info = answer
            episode.info = info
            if info["success"]:
                episode.stop = StopReason.SUCCESS

    def _answer(self, episode: Episode) -> Any:
        """Fetch the environment's result; None when it broke."""
        pending, episode.pending = episode.pending, None
        if pending is None:
            return None
        try:
            return pending()
        except EnvironmentFault as fault:
            self._fault(episode, fault)
            return None

    def _ask(self, stream: doors.Stream, episodes: Sequence[Episode], asked: dict[int, Episode]) -> None:
        """Send the next request of each episode; an episode whose prompter breaks its contract is lost."""
        with self.clock.part("generate"):
            given: list[tuple[Episode, Request]] = []
            for episode in episodes:
                request = self.tolerance.of("prompter", partial(self._request, episode), None)
                if request is None:
                    episode.stop = StopReason.PART_FAULT
                else:
                    given.append((episode, request))
            sent = [episode for episode, _ in given]
            try:
                tickets = stream.submit([request for _, request in given])
            except PolicyFault as fault:
                self._lose(stream, fault, [*sent, *asked.values()])
                asked.clear()
                return
        asked |= dict(zip(tickets, sent, strict=True))

    def _answers(
        self, stream: doors.Stream, asked: dict[int, Episode], active: Sequence[Episode]
    ) -> list[tuple[Episode, Completion]]:
        """Return the completions that are there, in the order of ``active``; shorten prompts that do not fit.

        An episode for which the policy gave an invalid answer is lost.
        """
        found: dict[int, Completion] = {}
        again = True
        while again and asked:
            try:
                with self.clock.part("generate"):
                    done = stream.poll()
            except PolicyFault as fault:
                self._lose(stream, fault, list(asked.values()))
                asked.clear()
                break
            long = []
            for ticket, answer in done:
                episode = asked.pop(ticket)
                if isinstance(answer, PolicyFault):
                    self.tolerance.failed("policy", answer)
                    episode.stop = StopReason.PART_FAULT
                    continue
                self.tolerance.worked("policy")
                self.clock.count("tokens", len(answer.completion_ids))
                left = len(episode.turns) - 1 - episode.hidden
                if self.overflow == "drop_oldest" and left > 0 and _unfit(answer):
                    # a quarter at a time: retries are few, and the cache lasts several turns before the next
                    episode.hidden += max(1, left // 4)
                    long.append(episode)
                else:
                    found[id(episode)] = answer
            self._ask(stream, long, asked)
            again = bool(long)
        return [(episode, found[id(episode)]) for episode in active if id(episode) in found]

    def _lose(self, stream: doors.Stream, fault: PolicyFault, episodes: Sequence[Episode]) -> None:
        """The policy failed: the episodes with pending requests are lost."""
        stream.cancel()
        self.tolerance.failed("policy", fault)
        for episode in episodes:
            episode.stop = StopReason.PART_FAULT

    def _request(self, episode: Episode) -> Request:
        info = _known(episode.info)
        state = (episode.plan.task, episode.shown, episode.observation, info["admissible"])
        return Request(
            messages=doors.prompted(self.prompter, *state, episode.skills),
            session=episode.session,
            plain=doors.prompted(self.prompter, *state) if episode.skills else None,
            seed=derive_seed("sample", episode.plan.seed, episode.number, len(episode.turns)),
            tools=self.tools,
        )

    def _act(self, episode: Episode, completion: Completion) -> None:
        """Give the completion's action to the environment; its result comes later."""
        if _unfit(completion):
            episode.stop = StopReason.CONTEXT_LIMIT
            self.too_long = max(self.too_long or (0, 0), completion.too_long or (0, 0))
            return
        before = _known(episode.info)
        said = completion.opened + completion.text
        read = self.tolerance.of("prompter", partial(doors.parsed, self.prompter, said), None)
        if read is None:
            episode.stop = StopReason.PART_FAULT
            return
        action, well_formed, span = read
        usage = completion.usage
        if usage is None and completion.completion_ids:
            usage = Usage(len(completion.prompt_ids), len(completion.completion_ids))
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
                hidden=episode.hidden,
                usage=usage,
            )
        )
        if episode.seat is not None:
            episode.pending = episode.seat.begin("step", action)

    def _observe(self, episode: Episode) -> None:
        """Fetch the environment's answer to the last action."""
        answer = self._answer(episode)
        if answer is None:
            return
        observation, reward, terminated, truncated, info = answer
        turn = episode.turns[-1]
        episode.turns[-1] = replace(turn, valid=turn.valid and info["valid"], reward=reward)
        episode.observation, episode.info = observation, info
        if terminated:
            episode.stop = StopReason.SUCCESS if info["success"] else StopReason.FAILURE
        elif truncated or len(episode.turns) in (self.max_steps, episode.plan.turns):
            episode.stop = StopReason.STEP_LIMIT

    def _mask(self, completion: Completion, span: tuple[int, int]) -> tuple[bool, ...]:
        """Which sampled tokens belong to the action's characters; the stop token never does."""
        ids = completion.completion_ids
        if not ids:
            return ()
        words = len(ids) - completion.finished
        said = completion.opened + completion.text
        if span == (0, len(said)) or doors.told(self.policy, self.policy.decode, ids) is None:
            return tuple(n < words for n in range(len(ids)))

        def decode(some: Sequence[int]) -> str:
            return doors.told(self.policy, self.policy.decode, some) or ""

        within = shifted(span, -len(completion.opened))
        first, last = tokens_of_span(ids[:words], decode, completion.text, within)
        return tuple(first <= n < last for n in range(len(ids)))

    def _fault(self, episode: Episode, fault: EnvironmentFault) -> None:
        """Drop a broken environment: it is not used again."""
        episode.stop, episode.seat = StopReason.ENVIRONMENT_FAULT, None
        self._broken += 1
        self.on_fault.failed(fault, episode.plan.task)

    def _finish(self, episode: Episode) -> None:
        if episode.seat is not None:
            self._idle.append(episode.seat)
        doors.told(self.policy, self.policy.end, episode.session)


def _ready(acting: Sequence[Episode], *, idle: bool) -> list[Episode]:
    """The episodes whose environments have answered; at least one where there is nothing else to wait for."""
    while True:
        found = [e for e in acting if e.seat is None or e.seat.ready()]
        if found or not acting or not idle:
            return found
        time.sleep(_GLANCE)


def _won(done: Sequence[Sequence[Episode]], planned: Mapping[str, int]) -> dict[str, float]:
    """Wins so far as a share of all planned episodes of each arm. The rate among finished episodes would be
    too high, because a win ends sooner than a failure."""
    won: Counter[str] = Counter(e.arm for group in done for e in group if e.stop is StopReason.SUCCESS)
    return {arm: won[arm] / planned[arm] for arm in ("plain", "skill") if planned.get(arm)}


def _unfit(completion: Completion) -> bool:
    """Whether the prompt did not fit the context."""
    if completion.too_long is not None:
        return True
    said = completion.completion_ids or completion.text or completion.usage is not None
    return not completion.finished and not said


def _known(info: Info | None) -> Info:
    if info is None:
        raise EnvironmentFault("got no info, expected one from reset or step")
    return info
