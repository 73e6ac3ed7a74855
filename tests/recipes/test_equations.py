"""Each recipe is its equation with the published numbers, against oracles in plain Python."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given as over
from hypothesis import settings as laws
from hypothesis import strategies as st
from torch import Tensor

from siri import build
from siri.algos import TokenBatch, TokenScores, TopTokens
from siri.config import RunConfig, load_config
from siri.config.presets import preset
from siri.protocols import Objective
from siri.recipes import METHODS, Parts, from_bank, policy_loss
from siri.recipes.grsd import REFLECTION
from siri.recipes.self_imitation import own_win
from siri.recipes.ucob import lessons
from siri.skills import SkillBank
from siri.training.experience import Experience, experience_of
from siri.types import Advice, Group, Skill, SkillStatus
from tests.oracles import credit as oracle
from tests.oracles import losses
from tests.training.hand import TASK, given, make_trajectory, make_turn

BY_TURNS = {"omega": 0.0, "normalize": "mean_std", "statistics": "per_turn"}
BY_EPISODES = {**BY_TURNS, "statistics": "per_trajectory"}
SILENT = {"internalization": {"peak": 0.0, "replay": 0}}
PUBLISHED: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "siri": {"advantage": {"omega": 1.0}, "rollout": {"skill_share": 0.5}},
    **{
        name: {
            "advantage": {"omega": 1.0},
            "internalization": {"peak": 3.0, "replay": 8},
            "mining": {"every": 1, "capacity": 2},
            "warmup": {"successes": 0, "max_iterations": 0},
        }
        for name in ("siri_both", "siri_adaptive")
    },
    "gigpo": {"advantage": {"omega": 1.0}},
    "grpo": {"advantage": BY_EPISODES},
    "self_imitation": {"mining": {"max_iterations": 3}},
    **{
        name: {"advantage": BY_TURNS, **SILENT}
        for name in ("skill_sd", "sdar", "rlsd", "grsd", "agent_opsd", "opid")
    },
    "ucob": {
        "advantage": {"omega": 1.0, "normalize": "mean", "gamma": 0.95},
        "rollout": {"skill_share": 0.5},
        "internalization": {"peak": 0.1, "replay": 0},
        "warmup": {"successes": 0, "max_iterations": 0},
    },
    "skill0": {
        "advantage": BY_TURNS,
        "rollout": {"skill_share": 1.0},
        "optimizer": {"kl": 0.0},
        "internalization": {"peak": 0.0},
    },
    "d2skill": {
        "advantage": BY_TURNS,
        "rollout": {"skill_share": 0.5},
        "internalization": {"peak": 0.0},
    },
    "skillrl": {
        "advantage": BY_TURNS,
        "rollout": {"skill_share": 1.0},
        "internalization": {"peak": 0.0},
    },
}


def configured(name: str, base: str = "embedded") -> RunConfig:
    return load_config(preset(base), changes=METHODS[name].settings)


def parts_of(name: str) -> Parts:
    return METHODS[name].parts(configured(name), miner=True)


@pytest.mark.parametrize("name", METHODS)
def test_settings_are_those_that_were_published(name: str) -> None:
    found = configured(name).model_dump()
    for section, values in PUBLISHED[name].items():
        assert {key: found[section][key] for key in values} == values
    kept = preset("embedded").model_dump()
    touched = {"advantage", "internalization", "mining", "optimizer", "rollout", "warmup"}
    assert all(found[section] == kept[section] for section in kept if section not in touched)


def batch_of(seed: int = 0) -> tuple[TokenBatch, TokenScores]:
    """Two RL rows, half of whose tokens have a teacher, and a row of a lesson with its two likeliest."""
    g = torch.Generator().manual_seed(seed)
    shape = (3, 6)
    rl, taught, teacher = (torch.zeros(shape, dtype=torch.bool) for _ in range(3))
    rl[0, 2:], rl[1, 1:4], taught[2, 3:5] = True, True, True
    teacher[0, 2:4], teacher[1, 2] = True, True

    def draw() -> Tensor:
        return -2 * torch.rand(shape, generator=g, dtype=torch.float64)

    old, values = draw(), draw().requires_grad_()
    likely = torch.randn(2, 5, generator=g, dtype=torch.float64).log_softmax(-1)[:, :2]
    top = torch.randn(2, 5, generator=g, dtype=torch.float64).log_softmax(-1)[:, :2].requires_grad_()
    batch = TokenBatch(
        input_ids=torch.zeros(shape, dtype=torch.int64),
        attention_mask=torch.ones(shape, dtype=torch.bool),
        rl_mask=rl,
        int_mask=taught,
        old_logprobs=old,
        reference_logprobs=draw(),
        advantages=torch.randn(shape, generator=g, dtype=torch.float64),
        weights=torch.rand(shape, generator=g, dtype=torch.float64) * taught,
        rl_tokens=7.0,
        int_tokens=2.0,
        int_scale=0.1,
        teacher_logprobs=draw(),
        teacher_mask=teacher,
        top=TopTokens(torch.tensor([2, 2]), torch.tensor([3, 4]), torch.tensor([[0, 1], [2, 3]]), likely),
    )
    return batch, TokenScores(values, torch.rand(shape, generator=g, dtype=torch.float64), top)


def added(name: str, batch: TokenBatch, scores: TokenScores) -> float:
    """What a recipe's loss has on top of the policy-gradient loss."""
    found = parts_of(name).objective
    assert found is not None
    whole: Objective = found
    return float((whole(batch, scores).value - policy_loss(configured(name))(batch, scores).value).detach())


def rows(*tensors: Tensor) -> list[list[list[float]]]:
    return [tensor.detach().tolist() for tensor in tensors]


def test_the_policy_loss_is_siris_without_what_is_distilled() -> None:
    batch, scores = batch_of()
    for base in ("embedded", "paper"):
        config = preset(base)
        want = build.objective(config)(replace(batch, int_scale=0.0), scores).value
        torch.testing.assert_close(policy_loss(config)(batch, scores).value, want, atol=1e-12, rtol=0)


@pytest.mark.parametrize("seed", range(3))
def test_terms_of_the_loss(seed: int) -> None:
    batch, scores = batch_of(seed)
    assert batch.teacher_logprobs is not None
    assert batch.teacher_mask is not None
    heard = (batch.rl_mask & batch.teacher_mask).tolist()
    now, teacher, old, weight = rows(
        scores.logprobs, batch.teacher_logprobs, batch.old_logprobs, batch.weights
    )
    sdar = 0.01 * losses.gated(now, teacher, heard, 5.0, z=7.0)
    assert added("sdar", batch, scores) == pytest.approx(sdar, abs=1e-9)
    skill_sd = 0.001 * losses.importance_k3(now, teacher, old, heard, z=7.0)
    assert added("skill_sd", batch, scores) == pytest.approx(skill_sd, abs=1e-9)
    for name in ("rlsd", "grsd", "agent_opsd", "opid", "skill0", "d2skill", "skillrl"):
        assert added(name, batch, scores) == 0.0
    assert batch.top is not None
    assert scores.top is not None
    ucob = 0.0
    places = zip([(2, 3), (2, 4)], *rows(scores.top, batch.top.logprobs), strict=True)
    for (b, t), ours, theirs in places:
        gate = 1 / (1 + math.exp(-5 * (old[b][t] - now[b][t])))
        ucob += weight[b][t] * gate * losses.top_k(ours, theirs)
    assert added("ucob", batch, scores) == pytest.approx(0.1 * ucob / 2, abs=1e-9)


def test_hooks_of_ucob_and_the_weight_of_reflections() -> None:
    hooks = parts_of("ucob").hooks
    assert hooks is not None
    assert hooks.schedule is not None
    assert [hooks.schedule(k) for k in (0, 1, 50)] == [0.1] * 3
    assert hooks.top_k == 32
    other = load_config(configured("ucob"), changes={"internalization.peak": 3.0})
    louder = METHODS["ucob"].parts(other, miner=True).hooks
    assert louder is not None
    assert louder.schedule is not None
    assert louder.schedule(0) == 3.0
    assert REFLECTION == 0.01


def test_the_gate_of_self_imitation() -> None:
    won = [make_trajectory(str(n), make_turn((n,)), success=True) for n in range(2)]
    lost = make_trajectory("l", make_turn((5,)))
    mixed, flat = Group(TASK, (*won, lost)), Group(TASK, tuple(won))
    assert [own_win(mixed, t) for t in mixed.trajectories] == [True, True, False]
    assert [own_win(flat, t) for t in flat.trajectories] == [False, False]


GAPS: list[list[float | None]] = [[0.3, -0.1], [-0.4], [0.6, 0.05], [None], [0.2], [0.5, 0.1]]
VALUES = [1.0, 0.5, -1.0, -2.0, 0.0, 0.75]
EPISODE = [0, 0, 1, 1, 1, 2]
GROUP = [0, 0, 0, 0, 0, 1]
SUCCESS = [True, True, False, False, False, True]
RATE = [0.5] * 5 + [1.0]


def experience(iteration: int = 0) -> Experience:
    """A group that won once and failed once, with a turn that has no teacher; and one that only won."""
    turns = [make_turn((n + 1,), tuple(range(7, 7 + len(own)))) for n, own in enumerate(GAPS)]
    episodes = [
        make_trajectory(str(e), *[t for t, own in zip(turns, EPISODE, strict=True) if own == e], success=won)
        for e, won in ((0, True), (1, False), (2, True))
    ]
    groups = [Group(TASK, tuple(episodes[:2])), Group(TASK, tuple(episodes[2:]))]
    teacher = {
        n: tuple(p + gap for p, gap in zip(turn.logprobs, own, strict=True) if gap is not None)
        for n, (turn, own) in enumerate(zip(turns, GAPS, strict=True))
        if None not in own
    }
    return experience_of(
        groups,
        given(groups, VALUES),
        iteration=iteration,
        phase="warmup",
        seed=0,
        gamma=0.95,
        teacher=teacher,
    )


def credited(name: str, iteration: int = 0) -> list[float]:
    hooks = parts_of(name).hooks
    assert hooks is not None
    assert hooks.credit is not None
    found: list[float] = hooks.credit(experience(iteration)).tolist()
    return found


def spread(values: list[float]) -> list[float]:
    return [a for a, own in zip(values, GAPS, strict=True) for _ in own]


@pytest.mark.parametrize(
    ("iteration", "strength"), [(0, 0.495), (1, 0.49), (49, 0.25), (98, 0.005), (99, 0.0), (500, 0.0)]
)
def test_rlsd_falls_silent_in_a_hundred_updates(iteration: int, strength: float) -> None:
    want = oracle.rlsd(VALUES, GAPS, "token", strength, 0.2)
    assert credited("rlsd", iteration) == pytest.approx([a for own in want for a in own], abs=1e-6)


@pytest.mark.parametrize("iteration", [0, 300])
def test_credit_of_the_others_is_that_of_every_update(iteration: int) -> None:
    grsd = oracle.grsd(VALUES, GAPS, GROUP, SUCCESS, 0.5, 0.2, 1e-3)
    assert grsd != pytest.approx(VALUES)
    assert credited("grsd", iteration) == pytest.approx(spread(grsd), abs=1e-6)
    opsd = oracle.agent_opsd(VALUES, GAPS, EPISODE, RATE, 0.5, 0.2, 1e-3)
    assert opsd != pytest.approx(VALUES)
    assert credited("agent_opsd", iteration) == pytest.approx(spread(opsd), abs=1e-6)
    opid = [a for own in oracle.opid(VALUES, GAPS, 0.001) for a in own]
    assert credited("opid", iteration) == pytest.approx(opid, abs=1e-7)


def test_the_belief_of_agent_opsd_begins_at_the_success_rate_of_the_group() -> None:
    """Not at a half, and not at a clipped return."""
    tokens: list[list[float | None]] = [[0.6, 0.4], [0.3, 0.2], [-0.4, -0.6], [0.0], [0.0], [0.0]]
    turns = [make_turn((n + 1,), tuple(range(7, 7 + len(own)))) for n, own in enumerate(tokens)]
    episodes = [make_trajectory("w", *turns[:3], success=True)]
    episodes += [make_trajectory(str(n), turns[n]) for n in (3, 4, 5)]
    groups = [Group(TASK, tuple(episodes))]
    teacher = {
        n: tuple(p + (gap or 0.0) for p, gap in zip(turn.logprobs, own, strict=True))
        for n, (turn, own) in enumerate(zip(turns, tokens, strict=True))
    }
    x = experience_of(
        groups, given(groups, 1.0), iteration=0, phase="mining", seed=0, gamma=1.0, teacher=teacher
    )
    hooks = parts_of("agent_opsd").hooks
    assert hooks is not None
    assert hooks.credit is not None
    found = hooks.credit(x).tolist()

    def begun(at: float) -> list[float]:
        turns = oracle.agent_opsd([1.0] * 6, tokens, [0, 0, 0, 1, 2, 3], [at] * 6, 0.5, 0.2, 1e-3)
        return [a for a, own in zip(turns, tokens, strict=True) for _ in own]

    assert found == pytest.approx(begun(0.25), abs=1e-6)
    for other in (0.5, 0.9999):
        assert found != pytest.approx(begun(other), abs=1e-3)


@st.composite
def groups_of_states(draw: st.DrawFn) -> list[Group]:
    """Groups of episodes of several turns in three states, with rewards at any turn."""
    found = []
    for _ in range(draw(st.integers(1, 3))):
        episodes = []
        for number in range(draw(st.integers(1, 4))):
            turns = [
                make_turn(
                    (number, 5),
                    plain=(number,),
                    anchor=draw(st.sampled_from("abc")),
                    reward=draw(st.integers(0, 4)) / 4,
                    valid=draw(st.integers(0, 4)) > 0,
                )
                for _ in range(draw(st.integers(1, 4)))
            ]
            arm = draw(st.sampled_from(["plain", "skill"]))
            episodes.append(make_trajectory(str(number), *turns, arm=arm))
        found.append(Group(TASK, tuple(episodes), ("k",)))
    return found


@laws(max_examples=60, deadline=None)
@over(groups_of_states())
def test_ucob_compares_turns_of_one_state_of_one_group(groups: list[Group]) -> None:
    x = experience_of(groups, given(groups), iteration=0, phase="warmup", seed=0, gamma=0.95, max_return=1.0)
    found = list(lessons(x))
    states: dict[tuple[int, int], int] = {}
    for lesson in found:
        pair = lesson.response, lesson.prompt
        ours, theirs = ((int(x.turns.group[n]), int(x.turns.anchor[n])) for n in pair)
        assert ours == theirs
        states[ours] = states.get(ours, 0) + 1
        ahead = float(x.to_go[lesson.response] - x.to_go[lesson.prompt])
        weight = min(ahead / 0.2, 2.0)
        assert lesson.weight == pytest.approx((2 * weight, weight), abs=1e-5)  # the first token is the action
    assert max(states.values(), default=0) <= 2
    valid = [turns for turns in x.at_anchor(valid=True) if len(turns) > 1]
    differ = [t for t in valid if float(x.to_go[list(t)].max() - x.to_go[list(t)].min()) > 0.05]
    assert len(states) == len(differ)


def test_words_of_the_bank_are_those_that_were_proven() -> None:
    bank = SkillBank()
    for n, status in enumerate(SkillStatus):
        bank.add(Skill(status.value, TASK.kind, f"{status.value} is asked for", f"do {n} times", "human", 0))
        if status is SkillStatus.INTERNALIZED:
            bank.set_status(status.value, SkillStatus.ACTIVE, 0)
        if status is not SkillStatus.CANDIDATE:
            bank.set_status(status.value, status, 0)
    trajectory = make_trajectory("t", make_turn((1,)))
    group = Group(TASK, (trajectory,))
    found = from_bank(load_config(preset("embedded"), changes={"validation.top_k": 9}))([group], bank)
    read = found[trajectory.id, None]
    assert all(isinstance(advice, Advice) for advice in read)
    assert {name for advice in read for name in advice.sources} == {"active", "internalized"}
