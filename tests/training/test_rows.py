"""Rows, normalisers and splits, by hand-made groups."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from siri.errors import ConfigError, ShapeError
from siri.training.rows import (
    Totals,
    beneficial,
    build_rows,
    collate,
    compute_advantages,
    micro_batches,
    minibatches,
    turn_arrays,
    utility,
    word_counts,
)
from siri.types import Arm, Group, StopReason, Task, Trajectory, Turn

TASK = Task("t", "put", "put it there", "train")


def make_turn(
    prompt: tuple[int, ...],
    completion: tuple[int, ...] = (7, 8),
    *,
    plain: tuple[int, ...] | None = None,
    reward: float = 0.0,
    anchor: str = "s",
    valid: bool = True,
) -> Turn:
    return Turn(
        observation="",
        admissible=(),
        action="look",
        text="look",
        valid=valid,
        reward=reward,
        anchor=anchor,
        prompt_ids=prompt,
        plain_prompt_ids=prompt if plain is None else plain,
        completion_ids=completion,
        logprobs=tuple(-0.5 - i for i in range(len(completion))),
        action_mask=tuple(i == 0 for i in range(len(completion))),
    )


def make_trajectory(name: str, *turns: Turn, arm: Arm = "plain", success: bool = False) -> Trajectory:
    skills = ("k",) if arm == "skill" else ()
    stop = StopReason.SUCCESS if success else StopReason.STEP_LIMIT
    return Trajectory(name, TASK, arm, skills, turns, success, stop)


def make_group() -> Group:
    """Plain: a transcript of two turns, lost. Skill: two windowed turns (1 5 | 2 5), won."""
    plain = make_trajectory("p", make_turn((1, 2)), make_turn((1, 2, 7, 8, 3), (9,)))
    skill = make_trajectory(
        "s",
        make_turn((1, 5), plain=(1,)),
        make_turn((2, 5), (9,), plain=(2,), reward=10.0, anchor="e"),
        arm="skill",
        success=True,
    )
    return Group(TASK, (plain, skill), ("k",))


def test_prefix_merge_and_internalisation_rows() -> None:
    rows = build_rows([make_group()], advantages=[-1.0, -2.0, 1.0, 3.0], internalize=beneficial({"k"}))
    assert [(row.kind, row.ids) for row in rows] == [
        ("rl", (1, 2, 7, 8, 3, 9)),
        ("rl", (1, 5, 7, 8)),
        ("rl", (2, 5, 9)),
        ("int", (1, 7, 8)),
        ("int", (2, 9)),
    ]
    batch = collate(rows, pad_id=0, int_scale=0.1)
    assert batch.rl_mask.int().tolist()[0] == [0, 0, 1, 1, 0, 1]
    assert batch.advantages.tolist()[0] == [0, 0, -1, -1, 0, -2]
    assert batch.old_logprobs[0].tolist() == [0, 0, -0.5, -1.5, 0, -0.5]
    assert batch.int_mask.int().tolist()[3:] == [[0, 1, 1, 0, 0, 0], [0, 1, 0, 0, 0, 0]]
    assert batch.weights.tolist()[3:] == [[0, 1, 1, 0, 0, 0], [0, 2, 0, 0, 0, 0]]  # 3 is clipped to 2
    assert not (batch.rl_mask & batch.int_mask).any()
    assert (batch.rl_tokens, batch.int_tokens, batch.response_tokens, batch.int_scale) == (6, 3, 6, 0.1)
    assert batch.attention_mask.sum(1).tolist() == [6, 4, 3, 3, 2]


def test_a_gate_of_ones_own_may_pick_plain_rollouts() -> None:
    group = make_group()
    won = make_trajectory("w", make_turn((1, 2)), make_turn((1, 2, 7, 8, 3), (9,)), success=True)
    rows = build_rows(
        [Group(TASK, (*group.trajectories, won), ("k",))],
        advantages=[0.0] * 4 + [1.0, 0.5],
        internalize=lambda _, trajectory: trajectory.success and trajectory.arm == "plain",
    )
    [imitated] = [row for row in rows if row.kind == "int"]
    assert (imitated.ids, imitated.skills, imitated.tokens) == ((1, 2, 7, 8, 3, 9), (), 3)
    assert [span.weight for span in imitated.spans] == [1.0, 0.5]


def test_gated_tokens_of_zero_weight_still_count() -> None:
    rows = build_rows([make_group()], advantages=[0.0, 0.0, -1.0, 1.0], internalize=beneficial({"k"}))
    assert Totals.of(rows) == Totals(6.0, 3.0, 4.0)
    assert rows[3].spans[0].weight == 0.0


def test_action_span_scope() -> None:
    rows = build_rows(
        [make_group()], advantages=[1.0] * 4, internalize=beneficial({"k"}), scope="action_span"
    )
    assert [row.spans[0].mask for row in rows if row.kind == "int"] == [(True, False), (True,)]
    assert Totals.of(rows).int_tokens == 2
    assert collate(rows, pad_id=0).weights.tolist()[3] == [0, 1, 0, 0, 0, 0]


def test_gate_needs_active_skills_benefit_and_a_block_in_the_prompt() -> None:
    group = make_group()
    plain, skill = group.trajectories
    assert utility(group, skill) == 1.0
    assert utility(group, plain) == 0.0
    assert utility(Group(TASK, (skill,)), skill) == 0.0
    lost = Group(TASK, (make_trajectory("w", make_turn((1,)), success=True), skill))
    assert utility(lost, skill) == 0.0
    for groups, gate in (([group], beneficial(set())), ([lost], beneficial({"k"})), ([group], None)):
        count = turn_arrays(groups).rewards.numel()
        assert all(row.kind == "rl" for row in build_rows(groups, advantages=[1.0] * count, internalize=gate))
    bare = make_trajectory("b", make_turn((1, 2)), arm="skill", success=True)
    rows = build_rows([Group(TASK, (plain, bare))], advantages=[1.0] * 3, internalize=beneficial({"k"}))
    assert [row.kind for row in rows] == ["rl", "rl"]


def test_turn_arrays_number_anchors_within_their_group() -> None:
    arrays = turn_arrays([make_group(), make_group()])
    assert arrays.group.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert arrays.episode.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert arrays.anchor.tolist() == [0, 0, 0, 1, 2, 2, 2, 3]
    assert arrays.skill.tolist() == [False, False, True, True] * 2
    assert arrays.rewards.tolist() == [0, 0, 0, 10] * 2
    assert not arrays.invalid.any()
    assert turn_arrays([]).group.shape == (0,)


def test_joint_advantages_teach_where_per_arm_ones_do_not() -> None:
    joint = compute_advantages([make_group()], normalize="mean", omega=0.0)
    assert joint.tolist() == [-5.0, -5.0, 5.0, 5.0]
    assert compute_advantages([make_group()], estimator="per_arm", omega=0.0).tolist() == [0.0] * 4


def test_turns_without_tokens_have_no_row_and_bad_lengths_are_refused() -> None:
    group = Group(TASK, (make_trajectory("p", make_turn((1,)), make_turn((), ())),))
    assert len(build_rows([group], advantages=torch.tensor([1.0, 2.0]))) == 1
    with pytest.raises(ShapeError, match="2 turns"):
        build_rows([group], advantages=[1.0])
    with pytest.raises(ShapeError, match="prompt"):
        build_rows([Group(TASK, (make_trajectory("p", make_turn(())),))], advantages=[1.0])


def test_minibatches_hold_both_kinds_and_depend_on_the_seed_only() -> None:
    groups = [make_group()] * 4
    rows = build_rows(groups, advantages=[1.0] * 16, internalize=beneficial({"k"}))
    parts = minibatches(rows, count=3, seed=1)
    assert parts == minibatches(rows, count=3, seed=1)
    assert sum(map(len, parts)) == len(rows)
    assert all({row.kind for row in part} == {"rl", "int"} for part in parts)
    totals = [Totals.of(part) for part in parts]
    assert sum(t.rl_tokens for t in totals) == 24
    assert sum(t.int_tokens for t in totals) == 12
    assert len(minibatches(rows[:2], count=9, seed=0)) == 2


def test_micro_batches_respect_the_budget() -> None:
    rows = build_rows([make_group()] * 3, advantages=[1.0] * 12, internalize=beneficial({"k"}))
    parts = micro_batches(rows, max_tokens=12)
    assert sum(map(len, parts)) == len(rows)
    assert all(len(part) * max(len(row.ids) for row in part) <= 12 for part in parts)
    assert all(len(a[-1].ids) >= len(b[0].ids) for a, b in pairwise(parts))
    assert all(len(part) == 1 for part in micro_batches(rows, max_tokens=1))


def test_the_plain_arm_as_baseline() -> None:
    lifted = compute_advantages([make_group()], estimator="plain_baseline", normalize="mean", omega=0.0)
    assert lifted.tolist() == [0.0, 0.0, 10.0, 10.0]
    with pytest.raises(ConfigError, match="estimator='both'"):
        compute_advantages([make_group()], estimator="both")  # type: ignore[arg-type]
    assert compute_advantages([]).shape == (0,)


def test_similar_observations_share_an_anchor() -> None:
    first, second = (
        replace(make_turn((1,), anchor=a), observation=o) for a, o in (("x", "You see."), ("y", "you SEE"))
    )
    group = Group(
        TASK,
        (
            make_trajectory("a", replace(first, reward=10.0)),
            make_trajectory("b", second),
        ),
    )
    apart = compute_advantages([group], normalize="mean")
    together = compute_advantages([group], normalize="mean", similarity=0.9)
    assert apart.tolist() == [5.0, -5.0]
    assert together.tolist() == [10.0, -10.0]


def test_word_counts() -> None:
    assert word_counts(["b a, a", "B!"]).tolist() == [[2.0, 1.0], [0.0, 1.0]]
    assert word_counts(["", "?"]).tolist() == [[0.0], [0.0]]


def test_levels_of_benefit() -> None:
    group = make_group()
    plain, skill = group.trajectories
    lost = make_trajectory("l", make_turn((1, 5), plain=(1,)), arm="skill")
    pair = Group(TASK, (plain, skill, lost), ("k",))
    assert [utility(pair, t, level="group") for t in pair.trajectories] == [0.0, 0.5, 0.5]

    def gate(level: str, utilities: dict[str, float] | None = None) -> list[bool]:
        chosen = beneficial({"k"}, level=level, utilities=utilities)  # type: ignore[arg-type]
        return [chosen(pair, t) for t in (skill, lost)]

    assert gate("episode") == [True, False]
    assert gate("group") == [True, True]
    assert gate("skill", {"k": 0.3}) == [True, True]
    assert gate("skill", {"k": -0.3}) == gate("skill", {}) == [False, False]
    with pytest.raises(ConfigError, match="level='skill' and utilities=None"):
        beneficial({"k"}, level="skill")


def test_the_engines_log_probs_outlive_those_of_the_trainer() -> None:
    row = build_rows([make_group()], advantages=[1.0] * 4)[0]
    fresh = replace(row, spans=tuple(replace(s, logprobs=(-9.0,) * len(s.logprobs)) for s in row.spans))
    batch = collate([fresh], pad_id=0)
    assert batch.rollout_logprobs is not None
    assert batch.old_logprobs[0].tolist() == [0, 0, -9.0, -9.0, 0, -9.0]
    assert batch.rollout_logprobs[0].tolist() == [0, 0, -0.5, -1.5, 0, -0.5]
    assert batch.rl_turns == 2
