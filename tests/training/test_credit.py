"""Groups to advantages, and the order that they carry."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given as over
from hypothesis import settings
from hypothesis import strategies as st

from siri.algos import gigpo_advantages
from siri.config import AdvantageConfig
from siri.errors import ShapeError
from siri.training.credit import Advantages, advantages, turn_arrays, word_counts
from siri.types import Group
from tests.training.hand import TASK, make_group, make_trajectory, make_turn


def credit(*groups: Group, max_return: float = 10.0, **settings) -> Advantages:
    return advantages(groups, AdvantageConfig(**settings), max_return=max_return)


def group_of(*returns: float, invalid: int | None = None) -> Group:
    """One plain episode of one turn for each return."""
    turns = [make_turn((1,), reward=reward, valid=n != invalid) for n, reward in enumerate(returns)]
    return Group(TASK, tuple(make_trajectory(str(n), turn) for n, turn in enumerate(turns)))


def test_turn_arrays_number_anchors_within_their_group() -> None:
    arrays = turn_arrays([make_group(), make_group()])
    assert arrays.group.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert arrays.episode.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert arrays.anchor.tolist() == [0, 0, 0, 1, 2, 2, 2, 3]
    assert arrays.skill.tolist() == [False, False, True, True] * 2
    assert arrays.rewards.tolist() == [0, 0, 0, 10] * 2
    assert arrays.sizes == (2, 2, 2, 2)
    assert not arrays.invalid.any()
    assert turn_arrays([]).group.shape == (0,)


def test_turns_are_found_by_their_numbers_and_in_their_own_groups_only() -> None:
    groups = [make_group(), group_of(1.0)]
    arrays = turn_arrays(groups)
    assert [(t.id, start) for _, t, start in arrays.walk(groups)] == [("p", 0), ("s", 2), ("0", 4)]
    turns = arrays.list(groups)
    assert [turn.reward for _, turn in turns] == arrays.rewards.tolist()
    assert [turn.anchor for _, turn in turns] == ["s", "s", "s", "e", "s"]
    with pytest.raises(ShapeError, match="pass the same groups"):
        arrays.list(groups[:1])
    with pytest.raises(ShapeError, match="of shape"):
        Advantages(torch.zeros(3), arrays)


def test_joint_advantages_teach_where_per_arm_ones_do_not() -> None:
    joint = credit(make_group(), normalize="mean", omega=0.0).values
    assert joint.tolist() == [-5.0, -5.0, 5.0, 5.0]
    assert credit(make_group(), estimator="per_arm", omega=0.0).values.tolist() == [0.0] * 4


def test_the_plain_arm_as_baseline() -> None:
    lifted = credit(make_group(), estimator="plain_baseline", normalize="mean", omega=0.0).values
    assert lifted.tolist() == [0.0, 0.0, 10.0, 10.0]
    assert credit().values.shape == (0,)


def test_similar_observations_share_an_anchor() -> None:
    first, second = (
        replace(make_turn((1,), anchor=a), observation=o) for a, o in (("x", "You see."), ("y", "you SEE"))
    )
    won = make_trajectory("a", replace(first, reward=10.0))
    group = Group(TASK, (won, make_trajectory("b", second)))
    assert credit(group, normalize="mean").values.tolist() == [5.0, -5.0]
    assert credit(group, normalize="mean", similarity=0.9).values.tolist() == [10.0, -10.0]


def test_word_counts() -> None:
    assert word_counts(["b a, a", "B!"]).tolist() == [[2.0, 1.0], [0.0, 1.0]]
    assert word_counts(["", "?"]).tolist() == [[0.0], [0.0]]


def test_training_calls_the_function_that_is_tested() -> None:
    groups = [make_group(), group_of(0.0, 10.0, 0.0, invalid=2)]
    turns = turn_arrays(groups)
    want = gigpo_advantages(
        turns.rewards,
        group=turns.group,
        episode=turns.episode,
        anchor=turns.anchor,
        invalid=turns.invalid,
        gamma=0.5,
        invalid_penalty=0.3,
    )
    assert torch.equal(credit(*groups, gamma=0.5, invalid_penalty=0.3).values, want)


@settings(max_examples=30, deadline=None)
@over(st.lists(st.sampled_from([0.0, 5.0, 10.0]), min_size=2, max_size=6), st.sampled_from([0.001, 0.1, 8.0]))
def test_small_rewards_learn_as_large_ones_once_the_largest_is_said(returns, unit) -> None:
    want = credit(group_of(*returns)).values
    got = credit(group_of(*(unit * r for r in returns)), max_return=10 * unit).values
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_rewards_that_drown_in_the_noise_are_said() -> None:
    drowned = credit(group_of(0.0, 0.01))
    assert not drowned.values.any()
    assert drowned.warning is not None
    assert "every advantage is 0" in drowned.warning
    assert "Suite(max_return" in drowned.warning
    assert len(drowned.warning) <= 300
    assert credit(group_of(0.0, 0.01), max_return=0.01).warning is None
    # equal returns, rounding and a penalty in one group are nothing to warn of
    assert credit(group_of(0.0, 0.0)).warning is None
    assert credit(group_of(3 * 0.1, 0.3)).warning is None
    assert credit(group_of(0.0, 0.0), group_of(0.0, 10.0)).warning is None


def test_a_failed_group_learns_little_from_a_penalty_unless_asked_to() -> None:
    lost = group_of(*[0.0] * 8, invalid=3)
    assert credit(lost, omega=0.0).values[3] == pytest.approx(-0.0875 / 5, rel=1e-4)
    loud = credit(lost, omega=0.0, failed_groups="verl-agent").values[3]
    assert loud == pytest.approx(-2.4748, rel=1e-3)
