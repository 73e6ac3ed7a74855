"""What other methods add to an iteration: advice for a teacher, credit of tokens, their own lessons.

By default there are no hooks, and nothing here is called. Hooks are plain functions. They are called in every
phase with all groups of the iteration, and return the same in every process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeAlias, cast

from siri import doors
from siri.config import RunConfig
from siri.errors import ConfigError, MinerFault, SplitError
from siri.processes import Processes
from siri.protocols import Adviser, Prompter, TrainablePolicy
from siri.rollout.horizon import Horizon
from siri.rollout.suite import Suite
from siri.skills import SkillBank
from siri.skills.safety import SkillGuard
from siri.training.credit import Advantages
from siri.training.experience import CreditRule, Teach, credited, drawn, experience_of, unchanged
from siri.training.learner import Learner
from siri.training.lessons import Lesson
from siri.training.no_learner import NoLearner
from siri.training.privileged import Advised, of_trajectory, reprompt, teacher_rows
from siri.training.rows import Row, Span, TopK, build_rows, merged
from siri.types import Advice, Group, Skill, WriterSample, Written

__all__ = ["Advise", "Counsel", "Hooked", "Hooks"]

Advise: TypeAlias = Callable[[Sequence[Group], SkillBank], Advised]
"""Writes advice for the teacher of each rollout, or of single turns. It may read the bank. Only the teacher
sees the advice. An outage of the writer is a ``MinerFault``; the iteration then has no teacher."""


@dataclass(frozen=True, slots=True)
class Counsel:
    """The advice for the teachers of an iteration, the same in every process."""

    advice: Advised | None = None
    """Safe advice; None: no adviser was asked."""
    samples: tuple[WriterSample, ...] = ()
    """What the policy wrote as the adviser, to train it as a writer."""
    figures: Mapping[str, float] = field(default_factory=dict)
    events: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hooked:
    """What the hooks returned for an iteration."""

    advantages: Advantages
    lessons: list[Lesson] | None = None
    """None: no hook draws lessons, so those of siri's gate count."""
    teacher: Mapping[int, tuple[float, ...]] | None = None
    """Log-probs under the teacher's prompts, by the number of the turn; None: there is no teacher."""
    figures: Mapping[str, float] | None = None
    prompts: Mapping[int, tuple[int, ...]] | None = None
    """Skill prompts of plain turns, where lessons need them."""
    tops: Mapping[int, TopK] | None = None
    """The likeliest tokens of the turns that lessons teach, by number."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """The hooks of a run.

    Args:
        advise: a function or an ``Adviser`` that writes advice for a teacher. The teacher's log-probs reach
            ``batch.teacher_logprobs`` and ``credit``.
        credit: a rule that gives advantages of tokens, which replace those of turns.
        teach: a function that draws lessons, which replace those of siri's gate; taught in every phase.
        schedule: λ of iteration k; None means siri's warm-up, from the third phase on.
        horizon: limits the episodes of training; see ``siri.rollout.Horizon``.
        top_k: number of likeliest tokens under its own prompt that each taught token brings along, for
            ``siri.algos.ViewDivergence``. It takes one forward pass over the taught turns. 0: none.
    """

    advise: Advise | Adviser | None = None
    credit: CreditRule | None = None
    teach: Teach | None = None
    schedule: Callable[[int], float] | None = None
    horizon: Horizon | None = None
    top_k: int = 0

    def advised(
        self,
        groups: Sequence[Group],
        bank: SkillBank,
        guard: SkillGuard,
        *,
        policy: TrainablePolicy,
        iteration: int,
        tolerance: doors.Tolerance,
    ) -> Counsel:
        """Get safe advice for these groups, and the remarks on it.

        An ``Adviser`` reads a snapshot of ``policy``. Each process asks it for its share of the groups.

        Raises:
            SplitError: a group belongs to a task outside the train split.
        """
        if self.advise is None:
            return Counsel()
        writer = doors.adviser(self.advise)
        try:
            if writer is not None:
                written = _shared(writer, groups, policy, iteration)
            else:
                call = partial(doors.advised, cast(Advise, self.advise), groups, bank)
                written = Written(tolerance.of("advice", call, {}))
        except MinerFault as fault:
            return Counsel({}, events=(f"no advice: {fault}",))
        safe = {key: texts for key, given in written.advice.items() if (texts := _guarded(given, guard))}
        if writer is None:
            return Counsel(safe)
        rewards = [sample.reward for sample in written.samples if sample.reward is not None]
        figures = {
            "writer/requests": float(written.requests),
            "writer/tokens_in": float(written.tokens_in),
            "writer/tokens_out": float(written.tokens_out),
            "writer/rewarded": float(len(rewards)),
        }
        if rewards:
            figures["writer/reward"] = sum(rewards) / len(rewards)
        return Counsel(safe, written.samples, figures)

    def apply(
        self,
        groups: Sequence[Group],
        advantages: Advantages,
        advised: Advised | None,
        *,
        learner: Learner | NoLearner,
        policy: object,
        suite: Suite,
        shown: Callable[[Sequence[str]], Sequence[Skill]],
        config: RunConfig,
        iteration: int,
        phase: str,
        seed: int,
        tolerance: doors.Tolerance,
    ) -> Hooked:
        """Ask the teacher, then change the advantages and draw the lessons.

        ``shown`` returns the skills of a group as its prompts show them.

        Raises:
            ConfigError: ``policy`` is not a ``PromptEncoder``, or advice names an unknown rollout.
            PartFault: the hooks break their contract too often.
        """
        if not (self.advise or self.credit or self.teach) or not advantages.values.numel():
            return Hooked(advantages, teacher=None if advised is None else {})
        figures: dict[str, float] = {}
        teacher: dict[int, tuple[float, ...]] | None = None
        student: dict[int, tuple[float, ...]] = {}
        if advised is not None:
            teacher, own, tokens = _teacher(groups, advantages, advised, learner, policy, suite.prompter)
            figures["teacher/tokens"] = float(tokens)
            if (teacher or own) and config.recomputes:
                student = _student(groups, advantages, learner)
            # where the teacher's prompt is the prompt that sampled, Δ is exactly 0, not nearly 0
            teacher |= {n: student.get(n, sampled) for n, sampled in own.items()}
        experience = experience_of(
            groups,
            advantages,
            iteration=iteration,
            phase=phase,
            seed=seed,
            gamma=config.advantage.gamma,
            max_return=suite.max_return,
            teacher=teacher,
            student=student,
        )
        tokens_of = experience.tokens
        if advised is not None and tokens_of.known.numel():
            known = tokens_of.known
            figures["teacher/known"] = float(known.double().mean())
            figures["teacher/gap"] = float(tokens_of.gap[known].mean()) if bool(known.any()) else 0.0
        if self.credit is not None:
            call = partial(credited, self.credit, experience)
            changed = tolerance.of("credit rule", call, unchanged(experience))
            base = experience.base[tokens_of.turn]
            figures["credit/change"] = float((changed - base).abs().sum() / base.abs().sum().clamp(min=1e-9))
            advantages = replace(advantages, tokens=changed)
        if self.teach is None:
            return Hooked(advantages, None, teacher, figures)
        nothing = list[Lesson]()
        lessons = tolerance.of("teach", partial(drawn, self.teach, experience), nothing)
        prompts = _skill_prompts(groups, advantages, lessons, shown, policy, suite.prompter)
        kept = [x for x in lessons if x.prompt not in prompts or prompts[x.prompt] is not None]
        known_prompts = {n: ids for n, ids in prompts.items() if ids is not None}
        tops = _tops(groups, advantages, kept, learner, self.top_k) if self.top_k else None
        return Hooked(advantages, kept, teacher, figures, known_prompts, tops)


def _shared(writer: Adviser, groups: Sequence[Group], policy: TrainablePolicy, iteration: int) -> Written:
    """Join what the adviser wrote in all processes; a fault in one process is a fault in all."""
    for group in groups:
        if group.task.split != "train":
            raise SplitError(f"got {group.task.id!r} of {group.task.split!r} to write on, expected 'train'")
    processes = Processes.current()
    found: Written | str
    try:
        frozen = doors.told(policy, policy.snapshot)
        found = doors.written(writer, processes.share(groups), frozen, iteration=iteration)
    except MinerFault as fault:
        found = str(fault)
    parts = processes.gather([found])
    if faults := [part for part in parts if isinstance(part, str)]:
        raise MinerFault(faults[0])
    whole = [part for part in parts if isinstance(part, Written)]
    return Written(
        {key: texts for part in whole for key, texts in part.advice.items()},
        tuple(sample for part in whole for sample in part.samples),
        *(
            sum(counts)
            for counts in zip(*((w.requests, w.tokens_in, w.tokens_out) for w in whole), strict=True)
        ),
    )


def _guarded(texts: Sequence[Advice], guard: SkillGuard) -> tuple[Advice, ...]:
    safe = ((advice, guard.words(advice.text)) for advice in texts)
    return tuple(replace(advice, text=words) for advice, words in safe if words is not None)


def _teacher(
    groups: Sequence[Group],
    advantages: Advantages,
    advised: Advised,
    learner: Learner | NoLearner,
    policy: object,
    prompter: Prompter,
) -> tuple[dict[int, tuple[float, ...]], dict[int, tuple[float, ...]], int]:
    """Return three things: the teacher's log-probs by the number of the turn; the log-probs at sampling, for
    turns whose teacher has the prompt that sampled; and how many tokens the teacher read."""
    encoder = doors.encoder(policy, "advice")
    places = list(advantages.turns.walk(groups))
    known = {trajectory.id for _, trajectory, _ in places}
    if stray := sorted({name for name, _ in advised} - known):
        raise ConfigError(
            f"got advice for {stray[0]!r}, expected the ids of this iteration's rollouts; fix: Trajectory.id"
        )
    trajectories = [trajectory for _, trajectory, _ in places]
    prompts = [
        reprompt(trajectory, of_trajectory(advised, trajectory), prompter=prompter, encoder=encoder)
        for trajectory in trajectories
    ]
    own: dict[int, tuple[float, ...]] = {}
    for (_, trajectory, start), asked in zip(places, prompts, strict=True):
        pairs = enumerate(zip(trajectory.turns, asked, strict=True), start)
        own |= {n: turn.logprobs for n, (turn, ids) in pairs if ids is not None and ids == turn.prompt_ids}
    others = [
        tuple(None if start + k in own else ids for k, ids in enumerate(asked))
        for (_, _, start), asked in zip(places, prompts, strict=True)
    ]
    rows = teacher_rows(trajectories, others)
    scores = learner.score([row for row, _ in rows])
    found = {
        places[number][2] + turn: values
        for (_, turns), spans in zip(rows, scores, strict=True)
        for (number, turn), values in zip(turns, spans, strict=True)
    }
    return found, own, sum(len(row.ids) for row, _ in rows)


def _skill_prompts(
    groups: Sequence[Group],
    advantages: Advantages,
    lessons: Sequence[Lesson],
    shown: Callable[[Sequence[str]], Sequence[Skill]],
    policy: object,
    prompter: Prompter,
) -> dict[int, tuple[int, ...] | None]:
    """Prompts with their group's skills, for the plain turns that lessons name; None where it has none."""
    wanted = {lesson.prompt for lesson in lessons if lesson.side == "skill"}
    found: dict[int, tuple[int, ...] | None] = {}
    for group, trajectory, start in advantages.turns.walk(groups):
        turns = wanted.intersection(range(start, start + len(trajectory.turns)))
        if turns and trajectory.arm == "plain":
            encoder = doors.encoder(policy, "a lesson under the skill prompt of a plain turn")
            prompts = reprompt(trajectory, {None: shown(group.skills)}, prompter=prompter, encoder=encoder)
            found |= {n: prompts[n - start] for n in turns}
    return found


def _tops(
    groups: Sequence[Group],
    advantages: Advantages,
    lessons: Sequence[Lesson],
    learner: Learner | NoLearner,
    k: int,
) -> dict[int, TopK]:
    """The k likeliest tokens of every taught turn, under the prompt that sampled it."""
    wanted, numbers, rows = {lesson.response for lesson in lessons}, list[int](), list[Row]()
    for _, trajectory, start in advantages.turns.walk(groups):
        own = [(n, t) for n, t in enumerate(trajectory.turns, start) if n in wanted and t.completion_ids]
        numbers += [n for n, _ in own]
        spans = [(t.prompt_ids, t, Span(len(t.prompt_ids), t.logprobs, 0.0)) for _, t in own]
        rows += merged("rl", spans)
    found = (top for spans in learner.likeliest(rows, k) for top in spans)
    return dict(zip(numbers, found, strict=False))  # without a learner there are no log-probs


def _student(
    groups: Sequence[Group], advantages: Advantages, learner: Learner | NoLearner
) -> dict[int, tuple[float, ...]]:
    """The log-probs of the sampled tokens, computed by the trainer itself."""
    rows = build_rows(groups, advantages)
    numbers = (
        n
        for _, trajectory, start in advantages.turns.walk(groups)
        for n, turn in enumerate(trajectory.turns, start)
        if turn.completion_ids
    )
    values = (span for spans in learner.score(rows) for span in spans)
    return dict(zip(numbers, values, strict=True))
