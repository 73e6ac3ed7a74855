from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from siri.algos import (
    discounted_returns,
    episode_advantages,
    gigpo_advantages,
    grpo_advantages,
    labels,
    rloo_advantages,
    similarity_anchors,
    step_advantages,
)
from siri.errors import ConfigError, ShapeError, SiriError
from tests.oracles import advantages as oracle

fast = settings(max_examples=50, deadline=None)
rules = {
    "normalize": st.sampled_from(["mean_std", "mean"]),
    "statistics": st.sampled_from(["per_turn", "per_trajectory"]),
}


class Rows:
    """A random rollout: interleaved episodes, each with one group."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        count = rng.randint(1, 7)
        owner = [rng.randint(0, 2) for _ in range(count)]
        self.episode = [e for e in range(count) for _ in range(rng.randint(1, 5))]
        rng.shuffle(self.episode)
        self.group = [owner[e] for e in self.episode]
        self.anchor = [rng.randint(0, 2) for _ in self.episode]
        self.rewards = [rng.choice([0.0, 0.0, 10.0, rng.uniform(-3, 3)]) for _ in self.episode]
        if rng.random() < 0.3:  # a group in which nobody gets anything
            self.rewards = [0.0 if g == 0 else r for g, r in zip(self.group, self.rewards, strict=True)]
        self.invalid = [rng.random() < 0.3 for _ in self.episode]

    def ids(self) -> dict[str, Tensor]:
        return {"group": torch.tensor(self.group), "episode": torch.tensor(self.episode)}

    @property
    def anchors(self) -> Tensor:
        return torch.tensor(self.anchor)

    @property
    def values(self) -> Tensor:
        return torch.tensor(self.rewards, dtype=torch.float64)

    @property
    def lost(self) -> list[bool]:
        totals = oracle.scores(self.rewards, self.episode, self.invalid, 0.0)
        return oracle.lost(totals, self.group)


rows = st.integers(0, 10**6).map(Rows)


def close(left: Tensor, right: Tensor | list[float], tolerance: float = 1e-8) -> None:
    expected = torch.as_tensor(right, dtype=left.dtype)
    torch.testing.assert_close(left, expected, atol=tolerance, rtol=1e-6)


@fast
@given(rows, st.floats(0, 1))
def test_returns_follow_the_recursion(data: Rows, gamma: float) -> None:
    got = discounted_returns(data.values, episode=torch.tensor(data.episode), gamma=gamma)
    close(got, oracle.returns(data.rewards, data.episode, gamma))


def test_returns_by_hand() -> None:
    got = discounted_returns(
        torch.tensor([0.0, 1.0, 0.0, 4.0, 8.0]), episode=torch.tensor([3, 9, 3, 9, 3]), gamma=0.5
    )
    assert got.tolist() == [2.0, 3.0, 4.0, 4.0, 8.0]


@fast
@given(data=rows, failed=st.sampled_from(["bounded", "verl-agent"]), **rules)
def test_gigpo_is_the_equation(data: Rows, failed: str, normalize: str, statistics: str) -> None:
    got = gigpo_advantages(
        data.values,
        **data.ids(),
        anchor=data.anchors,
        gamma=0.9,
        omega=0.7,
        normalize=normalize,  # type: ignore[arg-type]
        statistics=statistics,  # type: ignore[arg-type]
        invalid=torch.tensor(data.invalid),
        invalid_penalty=0.25,
        failed_groups=failed,  # type: ignore[arg-type]
    )
    scores = oracle.scores(data.rewards, data.episode, data.invalid, 0.25)
    free = oracle.returns(data.rewards, data.episode, 0.9)
    returns = [g - 0.25 * bad for g, bad in zip(free, data.invalid, strict=True)]
    lost = data.lost if failed == "bounded" else None
    whole = oracle.episode_part(scores, data.group, data.episode, normalize, statistics, bounded=lost)
    step = oracle.step_part(returns, data.group, data.anchor, normalize, bounded=lost, free=free)
    close(got, [a + 0.7 * b for a, b in zip(whole, step, strict=True)])


@fast
@given(data=rows, **rules)
def test_grpo_and_rloo_are_their_equations(data: Rows, normalize: str, statistics: str) -> None:
    bad = torch.tensor(data.invalid)
    scores = oracle.scores(data.rewards, data.episode, data.invalid, 0.1)
    grpo = grpo_advantages(
        data.values,
        **data.ids(),
        invalid=bad,
        normalize=normalize,  # type: ignore[arg-type]
        statistics=statistics,  # type: ignore[arg-type]
    )
    whole = oracle.episode_part(scores, data.group, data.episode, normalize, statistics, bounded=data.lost)
    close(grpo, whole)
    rloo = rloo_advantages(data.values, **data.ids(), invalid=bad)
    close(rloo, oracle.leave_one_out(scores, data.group, data.episode))


def test_gigpo_by_hand() -> None:
    # One group, two episodes of two turns; S = 10, 10, 0, 0: μ = 5, σ = √(100/3).
    # Anchor 1 holds both first turns (G = 9.5 and 0): ±4.75 / √45.125 = ±1/√2; the rest are singletons.
    got = gigpo_advantages(
        torch.tensor([0.0, 10.0, 0.0, 0.0], dtype=torch.float64),
        group=torch.zeros(4, dtype=torch.int64),
        episode=torch.tensor([0, 0, 1, 1]),
        anchor=torch.tensor([1, 2, 1, 3]),
    )
    whole, step = 5 / (100 / 3) ** 0.5, 0.5**0.5
    close(got, [whole + step, whole, -whole - step, -whole], 1e-5)


def test_the_penalty_touches_its_own_turn_only() -> None:
    common = {
        "group": torch.zeros(4, dtype=torch.int64),
        "episode": torch.tensor([0, 0, 1, 1]),
        "anchor": torch.arange(4),
        "normalize": "mean",
        "statistics": "per_trajectory",
    }
    rewards = torch.tensor([0.0, 10.0, 0.0, 0.0])
    free = gigpo_advantages(rewards, **common)  # type: ignore[arg-type]
    bad = torch.tensor([False, True, False, False])
    fined = gigpo_advantages(rewards, **common, invalid=bad)  # type: ignore[arg-type]
    # The mean falls by 0.1 · ½ (turns) · ½ (episodes); relative to it only row 1 loses 0.1.
    close(fined - free, [0.025, -0.075, 0.025, 0.025], 1e-5)


@fast
@given(data=rows, rng=st.randoms(), **rules)
def test_permutation_and_relabelling_change_nothing(
    data: Rows, rng: random.Random, normalize: str, statistics: str
) -> None:
    order = list(range(len(data.group)))
    rng.shuffle(order)
    rename = torch.randperm(50)
    kwargs = {"normalize": normalize, "statistics": statistics}
    scores = torch.tensor(oracle.scores(data.rewards, data.episode, data.invalid, 0.1), dtype=torch.float64)
    base = episode_advantages(scores, **data.ids(), **kwargs)  # type: ignore[arg-type]
    moved = episode_advantages(
        scores[order],
        group=rename[data.ids()["group"][order]] + 7,
        episode=rename[data.ids()["episode"][order]],
        **kwargs,  # type: ignore[arg-type]
    )
    close(moved, base[order])
    step = step_advantages(scores, group=data.ids()["group"], anchor=data.anchors)
    shuffled = step_advantages(
        scores[order], group=rename[data.ids()["group"][order]], anchor=rename[data.anchors[order]]
    )
    close(shuffled, step[order])


@fast
@given(rows, st.floats(-50, 50), st.floats(0.1, 20))
def test_means_are_zero_and_shift_and_scale_do_not_matter(data: Rows, shift: float, scale: float) -> None:
    ids = data.ids()
    scores = torch.tensor(oracle.scores(data.rewards, data.episode, data.invalid, 0.1), dtype=torch.float64)
    base = episode_advantages(scores, **ids)
    step = step_advantages(scores, group=ids["group"], anchor=data.anchors)
    for g in set(data.group):
        inside = ids["group"] == g
        assert abs(float(base[inside].mean())) < 1e-8
        for a in set(data.anchor):
            cluster = inside & (data.anchors == a)
            assert not cluster.any() or abs(float(step[cluster].mean())) < 1e-8
    shifted = scores + shift * ids["group"]
    close(episode_advantages(shifted, **ids), base, 1e-6)
    close(episode_advantages(scores * scale, **ids, max_return=10 * scale), base, 1e-3)


@fast
@given(data=rows, value=st.floats(-100, 100), **rules)
def test_equal_returns_give_exactly_zero(data: Rows, value: float, normalize: str, statistics: str) -> None:
    ids, scores = data.ids(), torch.full((len(data.group),), value)
    whole = episode_advantages(scores, **ids, normalize=normalize, statistics=statistics)  # type: ignore[arg-type]
    step = step_advantages(scores, group=ids["group"], anchor=data.anchors, normalize=normalize)  # type: ignore[arg-type]
    assert not whole.any()
    assert not step.any()


def test_singletons_and_noise_count_as_no_spread() -> None:
    group, episode = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 1, 2])
    # Group 0 is one episode whose turns differ by a penalty; group 1 differs by rounding only.
    scores = torch.tensor([10.0, 9.9, 0.3, 0.3000001])
    assert not episode_advantages(scores, group=group, episode=episode).any()
    assert not rloo_advantages(scores[:2], group=group[:2], episode=episode[:2]).any()
    assert not step_advantages(scores, group=group, anchor=torch.tensor([0, 1, 2, 2])).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtypes_and_empty_input(dtype: torch.dtype) -> None:
    ids = torch.tensor([0, 0, 1])
    rewards = torch.tensor([10.0, 0.0, 0.0], dtype=dtype)
    common = {"group": torch.zeros_like(ids), "episode": ids}
    got = gigpo_advantages(rewards, **common, anchor=torch.zeros_like(ids))
    assert got.dtype is dtype
    assert got.isfinite().all()
    nothing = {name: key[:0] for name, key in common.items()}
    with pytest.raises(ShapeError, match="got no rewards, expected at least one row"):
        gigpo_advantages(rewards[:0], **nothing, anchor=ids[:0])
    with pytest.raises(ShapeError, match="got no rewards"):
        rloo_advantages(rewards[:0], **nothing)


@pytest.mark.parametrize(
    ("rewards", "episode", "error", "words"),
    [
        (torch.zeros(3), torch.zeros(2, dtype=torch.int64), ShapeError, "episode of shape"),
        (torch.zeros(3), torch.zeros(3), ShapeError, "episode of dtype"),
        (torch.zeros(3, dtype=torch.int64), torch.zeros(3, dtype=torch.int64), ShapeError, "expected float"),
        (torch.zeros(3, 1), torch.zeros(3, 1, dtype=torch.int64), ShapeError, "expected rank 1"),
    ],
)
def test_wrong_input_is_named(rewards: Tensor, episode: Tensor, error: type[SiriError], words: str) -> None:
    with pytest.raises(error, match=words):
        discounted_returns(rewards, episode=episode, gamma=1.0)
    with pytest.raises(error):
        gigpo_advantages(rewards, group=episode, episode=episode, anchor=episode)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_rewards_that_are_no_numbers_are_refused(value: float) -> None:
    rewards, ids = torch.tensor([0.0, value]), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ShapeError, match=rf"got rewards\[1\] = {value}, expected finite"):
        gigpo_advantages(rewards, group=ids, episode=ids, anchor=ids)


def test_negative_labels_are_refused() -> None:
    ids = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ShapeError, match="got episode = -1, expected labels of 0 or more"):
        gigpo_advantages(torch.zeros(2), group=ids, episode=ids - 1, anchor=ids)


def test_gamma_outside_its_range_is_refused() -> None:
    ids = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ConfigError, match=r"gamma=1\.5"):
        discounted_returns(torch.zeros(2), episode=ids, gamma=1.5)


def test_far_flung_labels_are_only_labels() -> None:
    rewards = torch.tensor([10.0, 0.0, 0.0, 10.0])
    small = {"group": torch.tensor([0, 0, 1, 1]), "episode": torch.tensor([0, 1, 2, 3])}
    wide = {name: label * 10**15 + 3 for name, label in small.items()}
    close(rloo_advantages(rewards, **wide), rloo_advantages(rewards, **small))


def test_a_baseline_of_the_plain_arm_by_hand() -> None:
    # Plain lost twice, skill won once and lost once: μ_plain = 0, σ of all = 5.
    got = episode_advantages(
        torch.tensor([0.0, 0.0, 10.0, 0.0], dtype=torch.float64),
        group=torch.zeros(4, dtype=torch.int64),
        episode=torch.arange(4),
        baseline=torch.tensor([True, True, False, False]),
    )
    close(got, [0, 0, 2, 0], 1e-5)


def test_similar_states_are_one_anchor() -> None:
    counts = torch.tensor([[9.0, 0.0], [9.0, 1.0], [0.0, 9.0], [9.0, 0.0]])
    groups = torch.tensor([0, 0, 0, 1])
    anchors = similarity_anchors(counts, group=groups, threshold=0.9).tolist()
    assert anchors[0] == anchors[1] != anchors[2]
    assert anchors[3] not in anchors[:3]
    strict = similarity_anchors(counts, group=groups, threshold=1.0)
    assert len(set(strict.tolist())) == 4
    with pytest.raises(ConfigError, match="threshold=2"):
        similarity_anchors(counts, group=groups, threshold=2)
    with pytest.raises(ShapeError, match="4 rows of features and 3 of group"):
        similarity_anchors(counts, group=groups[:3])


def test_an_unknown_rule_is_refused() -> None:
    ids = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ConfigError, match="normalize='std'"):
        episode_advantages(torch.zeros(2), group=ids, episode=ids, normalize="std")  # type: ignore[arg-type]


@fast
@given(data=rows, **rules)
def test_episodes_may_be_numbered_within_their_group(data: Rows, normalize: str, statistics: str) -> None:
    first = {g: min(e for e, h in zip(data.episode, data.group, strict=True) if h == g) for g in data.group}
    local = torch.tensor([e - first[g] for e, g in zip(data.episode, data.group, strict=True)])
    rule = {"normalize": normalize, "statistics": statistics}
    for function, options in (
        (gigpo_advantages, {"anchor": data.anchors, **rule}),
        (grpo_advantages, rule),
        (rloo_advantages, {}),
    ):
        want = function(data.values, **data.ids(), **options)  # type: ignore[operator]
        got = function(data.values, group=data.ids()["group"], episode=local, **options)  # type: ignore[operator]
        close(got, want)


class Lost:
    """One group in which every rollout failed, some of its actions invalid."""

    def __init__(self, seed: int, share: float) -> None:
        rng = random.Random(seed)
        sizes = [rng.randint(1, 6) for _ in range(rng.randint(2, 8))]
        self.episode = torch.tensor([e for e, size in enumerate(sizes) for _ in range(size)])
        self.group = torch.zeros_like(self.episode)
        self.anchor = torch.tensor([rng.randint(0, 3) for _ in self.episode])
        self.invalid = torch.tensor([rng.random() < share for _ in self.episode])
        self.rewards = torch.zeros(len(self.episode), dtype=torch.float64)

    def labels(self) -> dict[str, Tensor]:
        return {"group": self.group, "episode": self.episode, "anchor": self.anchor}


@fast
@given(
    data=st.builds(Lost, st.integers(0, 10**6), st.floats(0.05, 0.95)),
    cost=st.floats(0.0, 2.0),
    omega=st.floats(0.0, 2.0),
    ceiling=st.sampled_from([0.01, 1.0, 10.0]),
    **rules,
)
def test_a_penalty_alone_gives_no_advantage_of_full_size(
    data: Lost, cost: float, omega: float, ceiling: float, normalize: str, statistics: str
) -> None:
    """Where every rollout failed, |A_E| and |A_S| are at most 2c/R_max, and an invalid turn never gains."""
    cost *= ceiling / 10
    rule = {"statistics": statistics, "normalize": normalize}
    got = gigpo_advantages(
        data.rewards,
        **data.labels(),
        omega=omega,
        invalid=data.invalid,
        invalid_penalty=cost,
        max_return=ceiling,
        **rule,  # type: ignore[arg-type]
    )
    largest = cost / (ceiling / 2) if normalize == "mean_std" else cost
    assert float(got.abs().max()) <= (1 + omega) * largest + 1e-12
    assert not (got[data.invalid] > 1e-12).any()
    if statistics == "per_turn":
        assert not (got[~data.invalid] < -1e-12).any()


@fast
@given(data=rows, omega=st.floats(0.0, 2.0), **rules)
def test_other_groups_are_those_of_verl_agent_to_the_bit(
    data: Rows, omega: float, normalize: str, statistics: str
) -> None:
    kwargs = {"invalid": torch.tensor(data.invalid), "omega": omega, "anchor": data.anchors}
    kwargs |= {"normalize": normalize, "statistics": statistics}
    bounded = gigpo_advantages(data.values, **data.ids(), **kwargs)  # type: ignore[arg-type]
    old = gigpo_advantages(data.values, **data.ids(), **kwargs, failed_groups="verl-agent")  # type: ignore[arg-type]
    other = ~torch.tensor(data.lost)
    assert torch.equal(bounded[other], old[other])


def test_eight_failures_and_one_invalid_action_by_hand() -> None:
    # c = .1 in one of 8 turns: σ = .1/√8 = .0354, so verl-agent gives −.0875/.0354 = −2.47.
    ids = {"group": torch.zeros(8, dtype=torch.int64), "episode": torch.arange(8)}
    bad = torch.arange(8) == 3
    loud = grpo_advantages(torch.zeros(8), **ids, invalid=bad, failed_groups="verl-agent")
    calm = grpo_advantages(torch.zeros(8), **ids, invalid=bad)
    close(loud[3], -2.4748, 1e-3)
    close(calm, [-0.0175 if n == 3 else 0.0025 for n in range(8)], 1e-6)
    # a group that won everywhere keeps it: there the penalty is what is left to learn
    won = torch.full((8,), 10.0)
    assert torch.equal(
        grpo_advantages(won, **ids, invalid=bad),
        grpo_advantages(won, **ids, invalid=bad, failed_groups="verl-agent"),
    )


@fast
@given(data=rows, unit=st.sampled_from([0.001, 0.1, 64.0]), statistics=rules["statistics"])
def test_the_unit_of_rewards_changes_nothing(data: Rows, unit: float, statistics: str) -> None:
    """Rewards × .001 with max_return .01 learn as before."""
    rewards = torch.tensor(data.rewards, dtype=torch.float64).round()  # far from where σ begins to count
    common = {"anchor": data.anchors, "invalid": torch.tensor(data.invalid), "statistics": statistics}
    want = gigpo_advantages(rewards, **data.ids(), **common)  # type: ignore[arg-type]
    got = gigpo_advantages(
        unit * rewards,
        **data.ids(),
        **common,  # type: ignore[arg-type]
        invalid_penalty=0.1 * unit,
        max_return=10.0 * unit,
    )
    close(got, want, 1e-6)


def test_a_largest_return_of_nothing_is_refused() -> None:
    ids = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ConfigError, match=r"max_return=0\.0"):
        grpo_advantages(torch.zeros(2), group=ids, episode=ids, max_return=0.0)


@given(st.lists(st.one_of(st.text(), st.integers(), st.tuples(st.text(), st.integers())), max_size=20))
def test_labels_are_equal_where_names_are(names: list[Any]) -> None:
    got = labels(names)
    assert got.dtype is torch.int64
    assert got.shape == (len(names),)
    for i, a in enumerate(names):
        for j, b in enumerate(names):
            assert bool(got[i] == got[j]) == (a == b)
    assert sorted(set(got.tolist())) == list(range(len(set(names))))


def test_labels_of_arrays_tensors_and_what_cannot_be_hashed() -> None:
    assert labels(np.array(["b", "a", "b"], dtype=object)).tolist() == [0, 1, 0]
    assert labels(torch.tensor([7, 7, 3])).tolist() == [0, 0, 1]
    with pytest.raises(ShapeError, match="labels"):
        labels([["a"], ["b"]])  # type: ignore[list-item]
    with pytest.raises(ShapeError, match="int64"):
        labels(torch.zeros(3))
