"""Rows by hand-made groups."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given as over
from hypothesis import settings
from hypothesis import strategies as st

from siri.errors import ConfigError, ShapeError
from siri.training.batches import Totals, collate
from siri.training.credit import Advantages
from siri.training.lessons import Gate, Lesson, Standing
from siri.training.rows import build_rows, lesson_rows
from siri.types import Group
from tests.training.hand import TASK, given, lessons_of, make_group, make_trajectory, make_turn, rows_of


def test_prefix_merge_and_internalisation_rows() -> None:
    rows = rows_of([make_group()], [-1.0, -2.0, 1.0, 3.0])
    assert [(row.kind, row.ids) for row in rows] == [
        ("rl", (1, 2, 7, 8, 3, 9)),
        ("rl", (1, 5, 7, 8)),
        ("rl", (2, 5, 9)),
        ("int", (1, 7, 8)),
        ("int", (2, 9)),
    ]
    assert rows[3].skills == ("k",)
    batch = collate(rows, pad_id=0, int_scale=0.1)
    assert batch.rl_mask.int().tolist()[0] == [0, 0, 1, 1, 0, 1]
    assert batch.advantages.tolist()[0] == [0, 0, -1, -1, 0, -2]
    assert batch.old_logprobs[0].tolist() == [0, 0, -0.5, -1.5, 0, -0.5]
    assert batch.int_mask.int().tolist()[3:] == [[0, 1, 1, 0, 0, 0], [0, 1, 0, 0, 0, 0]]
    assert batch.weights.tolist()[3:] == [[0, 1, 1, 0, 0, 0], [0, 2, 0, 0, 0, 0]]  # 3 is clipped to 2
    assert not (batch.rl_mask & batch.int_mask).any()
    assert (batch.rl_tokens, batch.int_tokens, batch.int_scale) == (6, 3, 0.1)
    assert batch.attention_mask.sum(1).tolist() == [6, 4, 3, 3, 2]


def test_a_gate_of_ones_own_may_pick_plain_rollouts() -> None:
    group = make_group()
    won = make_trajectory("w", make_turn((1, 2)), make_turn((1, 2, 7, 8, 3), (9,)), success=True)
    groups = [Group(TASK, (*group.trajectories, won), ("k",))]
    credit = given(groups, [0.0] * 4 + [1.0, 0.5])
    gate = Gate(chosen=lambda _, trajectory: trajectory.success and trajectory.arm == "plain")
    rows = build_rows(groups, credit, gate.lessons(groups, credit, Standing({})))
    [imitated] = [row for row in rows if row.kind == "int"]
    assert (imitated.ids, imitated.skills, imitated.tokens) == ((1, 2, 7, 8, 3, 9), (), 3)
    assert [span.weight for span in imitated.spans] == [1.0, 0.5]


def test_gated_tokens_of_zero_weight_still_count() -> None:
    rows = rows_of([make_group()], [0.0, 0.0, -1.0, 1.0])
    assert Totals.of(rows) == Totals(6.0, 3.0, 4.0)
    assert rows[3].spans[0].weight == 0.0


def test_action_span_scope() -> None:
    groups = [make_group()]
    rows = build_rows(groups, given(groups), lessons_of(groups, scope="action_span"))
    assert [row.spans[0].mask for row in rows if row.kind == "int"] == [(True, False), (True,)]
    assert Totals.of(rows).int_tokens == 2
    assert collate(rows, pad_id=0).weights.tolist()[3] == [0, 1, 0, 0, 0, 0]


def test_turns_without_tokens_have_no_row_and_bad_lengths_are_refused() -> None:
    groups = [Group(TASK, (make_trajectory("p", make_turn((1,)), make_turn((), ())),))]
    assert len(build_rows(groups, given(groups, [1.0, 2.0]))) == 1
    assert build_rows(groups, given(groups), [Lesson(1, 0, "plain", 1.0)])[1:] == []
    with pytest.raises(ShapeError, match="2 turns"):
        Advantages(torch.tensor([1.0]), given(groups).turns)
    with pytest.raises(ShapeError, match="expected the 1 of 2 that the arrays were made of"):
        build_rows([make_group()], given(groups))
    promptless = [Group(TASK, (make_trajectory("p", make_turn(())),))]
    with pytest.raises(ShapeError, match="prompt"):
        build_rows(promptless, given(promptless))


def test_a_lesson_may_cross_prompts_and_weigh_each_token() -> None:
    groups = [make_group()]
    credit = given(groups, [0.25, 0.5, 1.0, 3.0])
    # what the skill arm said in turn 2, under the plain prompt of the losing turn 0 and the skill prompt of 3
    crossing = [Lesson(2, 3, "skill", 0.5), Lesson(2, 0, "plain", (2.0, 4.0), (True, False))]
    rows = lesson_rows(groups, credit, crossing)
    assert [(row.ids, row.skills) for row in rows] == [((1, 2, 7, 8), ("k",)), ((2, 5, 7, 8), ("k",))]
    [plain, skill] = (row.spans[0] for row in rows)
    assert (plain.weight, plain.mask, plain.start, plain.advantage) == ((2.0, 4.0), (True, False), 2, 1.0)
    assert skill.weight == 0.5
    assert plain.logprobs == groups[0].trajectories[1].turns[0].logprobs
    batch = collate(rows, pad_id=0)
    assert batch.weights.tolist() == [[0, 0, 2, 0], [0, 0, 0.5, 0.5]]
    assert batch.int_mask.int().tolist() == [[0, 0, 1, 0], [0, 0, 1, 1]]


def test_the_skill_side_of_a_skill_turn_has_the_ids_of_its_rl_row() -> None:
    groups = [make_group()]
    [first, second] = lesson_rows(groups, given(groups), [Lesson(n, n, "skill", 1.0) for n in (2, 3)])
    assert [first.ids, second.ids] == [row.ids for row in build_rows(groups, given(groups))[1:]]


@pytest.mark.parametrize(
    ("lesson", "error", "words"),
    [
        (Lesson(4, 0, "plain", 1.0), ShapeError, "numbers below 4"),
        (Lesson(0, -1, "plain", 1.0), ShapeError, "numbers below 4"),
        (Lesson(0, 0, "skill", 1.0), ConfigError, "without a skill"),
        (Lesson(0, 0, "plain", (1.0,)), ShapeError, "1 weights .* its 2 tokens"),
        (Lesson(0, 0, "plain", 1.0, (True,)), ShapeError, "1 mask .* its 2 tokens"),
    ],
)
def test_a_lesson_that_cannot_be_given_is_refused(lesson: Lesson, error: type, words: str) -> None:
    groups = [make_group()]
    with pytest.raises(error, match=words):
        lesson_rows(groups, given(groups), [lesson])


@settings(max_examples=30, deadline=None)
@over(st.randoms(use_true_random=False), st.integers(1, 3))
def test_the_order_of_lessons_changes_nothing(rng, count: int) -> None:
    groups = [make_group() for _ in range(count)]
    credit = given(groups)
    size = len(credit.values)
    lessons = [Lesson(r, p, "plain", 1.0) for r in range(size) for p in range(size) if rng.random() < 0.5]
    shuffled = rng.sample(lessons, len(lessons))
    assert lesson_rows(groups, credit, shuffled) == lesson_rows(groups, credit, lessons)


def test_the_engines_log_probs_outlive_those_of_the_trainer() -> None:
    row = rows_of([make_group()])[0]
    fresh = replace(row, spans=tuple(replace(s, logprobs=(-9.0,) * len(s.logprobs)) for s in row.spans))
    batch = collate([fresh], pad_id=0)
    assert batch.rollout_logprobs is not None
    assert batch.old_logprobs[0].tolist() == [0, 0, -9.0, -9.0, 0, -9.0]
    assert batch.rollout_logprobs[0].tolist() == [0, 0, -0.5, -1.5, 0, -0.5]
    assert batch.rl_turns == 2
