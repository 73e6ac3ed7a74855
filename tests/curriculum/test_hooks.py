"""Hooks in a run: absent they cost nothing, present they reach the loss."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from siri.algos import ClippedSurrogate, Internalization, ReverseKLDistillation, SiriObjective, rlsd_credit
from siri.config import RunConfig
from siri.curriculum import Curriculum, Iteration
from siri.curriculum.hooks import Hooks
from siri.doors import Tolerance
from siri.errors import ConfigError, MinerFault, PartFault, SplitError
from siri.policies import HFPolicy
from siri.policies.tiny import base_path
from siri.rollout import WonHorizon
from siri.runs import checkpoint
from siri.skills import SkillBank, SkillGuard
from siri.testing import ScriptedPolicy
from siri.training.experience import unchanged
from siri.training.lessons import Lesson
from siri.types import Advice, Written
from tests.smoke import SMOKE, Writer, numbers, record, suite

WORDS = Advice("search the desk first, take it, then use the desklamp.", "given")


def advise(groups, bank):
    return {(t.id, None): [WORDS] for group in groups for t in group.trajectories}


def played(hooks: Hooks | None, objective=None, count: int = 2, config: RunConfig = SMOKE) -> list[Iteration]:
    run = Curriculum(
        suite(),
        HFPolicy.load(base_path(), slots=16),
        miner=None,
        objective=objective or SiriObjective(kl=0.0),
        config=config,
        hooks=hooks,
    )
    return [run.step() for _ in range(count)]


def metrics(iterations: list[Iteration], *but: str) -> list[dict[str, float]]:
    return [
        {k: v for k, v in i.metrics.items() if k.split("/")[0] not in ("teacher", "credit", *but)}
        for i in iterations
    ]


def test_hooks_that_change_nothing_give_the_run_without_them() -> None:
    plain = played(None)
    assert metrics(plain) == metrics(played(Hooks(credit=unchanged)))
    # a teacher that nobody listens to changes nothing either
    asked = played(Hooks(advise=advise))
    assert metrics(asked) == metrics(plain)
    assert all(i.metrics["teacher/known"] == 1.0 for i in asked)
    assert all(i.metrics["teacher/gap"] != 0.0 for i in asked)
    assert asked[0].metrics["teacher/tokens"] > asked[0].metrics["learn/tokens"]


def test_a_teacher_reaches_the_loss_and_the_credit() -> None:
    loss = ClippedSurrogate() + Internalization() + 0.5 * ReverseKLDistillation()
    with_term = played(Hooks(advise=advise), loss)
    assert with_term[0].metrics["distill/gap"] != 0.0
    silent = played(Hooks(advise=lambda groups, bank: {}), loss)
    assert [i.metrics["distill/loss"] for i in silent] == [0.0, 0.0]
    assert silent[0].metrics["teacher/known"] == 0.0
    with pytest.raises(ConfigError, match="teacher_logprobs"):
        played(None, loss)

    def credit(x):
        return rlsd_credit(x.base, gap=x.tokens.gap, turn=x.tokens.turn, known=x.tokens.known)

    wider = SMOKE.model_copy(update={"rollout": SMOKE.rollout.model_copy(update={"group_size": 8})})
    changed = played(Hooks(advise=advise, credit=credit), config=wider)
    assert any(0.0 < i.metrics["credit/change"] <= 0.1 for i in changed)


def test_lessons_of_a_hook_are_taught_in_every_phase() -> None:
    def everything(x):
        return [Lesson(n, n, "plain", 1.0) for n in range(len(x.base))]

    taught = played(Hooks(teach=everything, schedule=lambda k: 0.5))
    assert all(i.metrics["int/scale"] == 0.5 for i in taught)
    assert all(i.metrics["int/nll_plain"] > 0 for i in taught)
    waiting = played(Hooks(teach=everything))  # siri's own λ waits for the third phase
    assert all(i.metrics["int/scale"] == 0.0 for i in waiting)


def test_a_writer_that_fails_costs_the_teacher_and_not_the_run() -> None:
    def broken(groups, bank):
        raise MinerFault("no answer")

    [first, _] = played(Hooks(advise=broken), SiriObjective(kl=0.0) + 0.1 * ReverseKLDistillation())
    assert "no advice: no answer" in first.events
    assert first.metrics["distill/loss"] == 0.0


class Adviser:
    """Advises every trajectory, and keeps what it was given."""

    def __init__(self, fault: str = "") -> None:
        self.fault, self.bound, self.read = fault, [], []

    def bind(self, policy, *, iteration: int) -> None:
        self.bound.append((policy, iteration))

    def write(self, groups):
        self.read.append(list(groups))
        if self.fault:
            raise RuntimeError(self.fault)
        return Written(advise(groups, None), requests=2, tokens_in=10, tokens_out=4)


def test_an_adviser_is_bound_to_a_snapshot_and_reads_all_rollouts() -> None:
    adviser = Adviser()
    found = played(Hooks(advise=adviser))
    by_function = played(Hooks(advise=advise))
    assert metrics(found, "writer") == metrics(by_function)
    assert [i.metrics["teacher/gap"] for i in found] == [i.metrics["teacher/gap"] for i in by_function]
    assert [iteration for _, iteration in adviser.bound] == [0, 1]
    assert adviser.bound[0][0] is not adviser.bound[1][0]
    assert [tuple(groups) for groups in adviser.read] == [i.groups for i in found]
    assert [found[0].metrics[f"writer/{n}"] for n in ("requests", "tokens_in", "tokens_out")] == [2, 10, 4]


def test_an_adviser_that_breaks_costs_the_teacher_and_is_never_asked_about_validation() -> None:
    [first] = played(Hooks(advise=Adviser("pen is empty")), count=1)
    assert "no advice: adviser Adviser: RuntimeError" in first.events[0]
    assert first.metrics["teacher/known"] == 0.0
    group = first.groups[0]
    other = replace(group, task=replace(group.task, split="valid_seen"))
    with pytest.raises(SplitError, match="to write on"):
        Hooks(advise=Adviser()).advised(
            [other],
            SkillBank(),
            SkillGuard(),
            policy=HFPolicy.load(base_path(), slots=1),
            iteration=0,
            tolerance=Tolerance(),
        )
    nothing = Adviser()
    nothing.write = lambda groups: None  # type: ignore[method-assign,assignment]
    [said] = played(Hooks(advise=nothing), count=1)
    assert "expected a siri.types.Written" in said.events[0]


def test_advice_is_made_safe_and_must_name_a_rollout() -> None:
    hooks = Hooks(
        advise=lambda groups, bank: {(groups[0].trajectories[0].id, None): [Advice("\x1b", "given")]}
    )
    assert played(hooks, count=1)[0].metrics["teacher/known"] == 0.0
    with pytest.raises(ConfigError, match="got advice for 'nobody'"):
        played(Hooks(advise=lambda groups, bank: {("nobody", None): [WORDS]}), count=1)


def test_advice_needs_a_policy_that_shows_its_prompts() -> None:
    run = Curriculum(
        suite(),
        ScriptedPolicy(lambda messages: "look"),
        miner=None,
        config=SMOKE,
        learner=None,
        hooks=Hooks(advise=advise),
    )
    with pytest.raises(ConfigError, match="without encode"):
        run.step()


def test_with_recomputed_log_probs_both_are_the_trainers() -> None:
    config = SMOKE.model_copy(update={"optimizer": SMOKE.optimizer.model_copy(update={"recompute": True})})
    seen = []

    def look(x):
        seen.append(x)
        return unchanged(x)

    played(Hooks(advise=advise, credit=look), count=1, config=config)
    sampled = [p for g in seen[0].groups for t in g.trajectories for turn in t.turns for p in turn.logprobs]
    again = seen[0].tokens.student.tolist()
    assert again != sampled
    assert again == pytest.approx(sampled, abs=1e-4)
    assert replace(seen[0].tokens).gap.abs().max() > 0.01


def odd(*_):
    raise LookupError("odd " * 100)


WRONG: dict[str, list[object]] = {
    "advise": [
        odd,
        lambda groups, bank: None,
        lambda groups, bank: "search the desk",
        lambda groups, bank: {"t": WORDS},
        lambda groups, bank: {("t", "first"): [WORDS]},
        lambda groups, bank: {("t", True): [WORDS]},
        lambda groups, bank: {(t.id, None): ["search"] for g in groups for t in g.trajectories},
        lambda groups, bank: {
            (t.id, None): [replace(WORDS, text=None)] for g in groups for t in g.trajectories
        },
    ],
    "credit": [odd, lambda x: None, lambda x: x.base[:0], lambda x: x.tokens.gap * float("nan")],
    "teach": [
        odd,
        lambda x: None,
        lambda x: [None],
        lambda x: [Lesson(len(x.base), 0, "plain", 1.0)],
        lambda x: [Lesson(0, -1, "plain", 1.0)],
        lambda x: [Lesson(True, 0, "plain", 1.0)],
        lambda x: [Lesson(0, 0, "both", 1.0)],
        lambda x: [Lesson(0, 0, "plain", -1.0)],
        lambda x: [Lesson(0, 0, "plain", float("nan"))],
        lambda x: [Lesson(0, 0, "plain", (1.0,) * 99)],
        lambda x: [Lesson(0, 0, "plain", 1.0, (True,) * 99)],
    ],
    "schedule": [odd, lambda k: None, lambda k: -1.0, lambda k: float("inf"), lambda k: "0.5"],
}


@pytest.mark.parametrize(("hook", "wrong"), [(name, call) for name, calls in WRONG.items() for call in calls])
def test_a_hook_that_is_wrong_once_costs_the_iteration_its_part_and_is_named(hook: str, wrong) -> None:
    right = {"advise": advise, "credit": unchanged, "teach": lambda x: [], "schedule": lambda k: 0.5}[hook]
    calls = iter([right, wrong, right])
    found = played(Hooks(**{hook: lambda *given: next(calls)(*given)}), count=3)
    assert [i.metrics.get("part/faults", 0.0) for i in found] == [0.0, 1.0, 0.0]
    [said] = [event for event in found[1].events if event.startswith("wrong answers: 1 of the ")]
    assert len(said) <= 300
    assert ("LookupError" in said) is (wrong is odd)


@pytest.mark.parametrize("hook", list(WRONG))
def test_a_hook_that_never_works_ends_the_run_and_is_named(hook: str) -> None:
    with pytest.raises(PartFault, match=r"LookupError: odd .*test_hooks\.py"):
        played(Hooks(**{hook: odd}), count=4)


@pytest.mark.parametrize("recompute", [False, True])
def test_a_teacher_who_reads_the_prompt_that_sampled_has_no_gap(recompute: bool) -> None:
    """The skill arm, with the words of its own skills: Δ is 0 to the last bit, and costs no pass."""
    seen = []

    def own(groups, bank):
        return {
            (t.id, None): [Advice(bank.get(name).skill.text, "bank") for name in group.skills]
            for group in groups
            for t in group.trajectories
        }

    def look(x):
        seen.append(x)
        return unchanged(x)

    config = SMOKE.model_copy(
        update={
            "optimizer": SMOKE.optimizer.model_copy(update={"recompute": recompute}),
            "warmup": SMOKE.warmup.model_copy(update={"successes": 0, "max_iterations": 0}),
        }
    )
    run = Curriculum(
        suite(),
        HFPolicy.load(base_path(), slots=16),
        miner=Writer(),
        objective=SiriObjective(kl=0.0),
        config=config,
        hooks=Hooks(advise=own, credit=look),
    )
    for _ in range(3):
        iteration = run.step()
        skill = seen[-1].turns.skill[seen[-1].tokens.turn]
        if bool(skill.any()):
            break
    gap, known = seen[-1].tokens.gap, seen[-1].tokens.known
    assert skill.any()
    assert known[skill].all()
    assert not gap[skill].any()
    assert gap[known & ~skill].abs().max() > 0.01
    plain = sum(
        len(t.turns[-1].prompt_ids) for g in iteration.groups for t in g.trajectories if t.arm == "plain"
    )
    assert 0 < iteration.metrics["teacher/tokens"] < 2 * plain


def test_advice_is_never_cut() -> None:
    """More words than a teacher can read are not a teacher, rather than half of the words."""
    short, long = "search the desk first. " * 8, "search the desk first. " * 1500
    counsel = [
        Hooks(advise=lambda groups, bank, text=text: {("t", None): [Advice(text, "given")]}).advised(
            [],
            SkillBank(),
            SkillGuard(),
            policy=HFPolicy.load(base_path(), slots=1),
            iteration=0,
            tolerance=Tolerance(),
        )
        for text in (short, long)
    ]
    for found, text in zip(counsel, (short, long), strict=True):
        assert found.advice is not None
        assert found.advice["t", None][0].text == text.strip()
    too_long = Hooks(
        advise=lambda groups, bank: {
            (t.id, None): [Advice(long, "given")] for group in groups for t in group.trajectories
        }
    )
    assert played(too_long, count=1)[0].metrics["teacher/known"] == 0.0


def test_a_horizon_limits_the_episodes_of_training() -> None:
    class Short(WonHorizon):
        def turns(self, task):
            return 3 if task.kind.startswith("look") else None

    horizon = Short()
    first = played(Hooks(horizon=horizon), count=1)[0]
    lengths = {True: [], False: []}
    for group in first.groups:
        lengths[group.task.kind.startswith("look")] += [len(t.turns) for t in group.trajectories]
    assert max(lengths[True]) == 3
    assert max(lengths[False], default=12) == 12
    assert first.metrics["env/horizon"] == 3.0
    assert sum(map(len, horizon.won.values())) == sum(t.success for g in first.groups for t in g.trajectories)
    assert "env/horizon" not in played(None, count=1)[0].metrics


def test_a_horizon_goes_on_where_a_checkpoint_left_it(tmp_path: Path) -> None:
    class Growing(WonHorizon):
        """Counts every episode as won, as the base wins few."""

        def observe(self, groups):
            won = [replace(t, success=True) for group in groups for t in group.trajectories]
            super().observe([replace(groups[0], trajectories=tuple(won))])

    def made() -> Curriculum:
        return Curriculum(
            suite(),
            HFPolicy.load(base_path(), slots=16),
            miner=None,
            objective=SiriObjective(kl=0.0),
            config=SMOKE,
            hooks=Hooks(horizon=Growing(recent=99)),
        )

    whole = made()
    records = record(whole, 1)
    checkpoint.save(whole, tmp_path)
    records += record(whole, 2)
    assert len(whole.horizon.won) > 0
    resumed = made()
    checkpoint.restore(resumed, tmp_path / "000001")
    assert numbers(record(resumed, 2)) == numbers(records[1:])
    assert resumed.horizon.won == whole.horizon.won
