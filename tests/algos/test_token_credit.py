"""Credit of single tokens: oracles, worked numbers and laws."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from siri.algos import agent_opsd_credit, grsd_credit, opid_credit, rlsd_credit, spread
from siri.errors import ShapeError
from tests.oracles import credit as oracle

few = settings(max_examples=60, deadline=None)


@dataclass
class Teacher:
    """Turns of ragged episodes and groups, and what a teacher thinks of their tokens."""

    advantages: list[float]
    gaps: list[list[float | None]]
    group: list[int]
    episode: list[int]
    success: list[bool]
    prior: list[float]

    @property
    def turn(self) -> Tensor:
        return torch.tensor([i for i, own in enumerate(self.gaps) for _ in own], dtype=torch.int64)

    @property
    def gap(self) -> Tensor:
        return torch.tensor([x or 0.0 for own in self.gaps for x in own], dtype=torch.float64)

    @property
    def known(self) -> Tensor:
        return torch.tensor([x is not None for own in self.gaps for x in own], dtype=torch.bool)

    def tensors(self, *names: str, dtype: torch.dtype = torch.float64) -> dict[str, Any]:
        values = {
            "gap": self.gap.to(dtype),
            "turn": self.turn,
            "known": self.known,
            "group": torch.tensor(self.group),
            "episode": torch.tensor(self.episode),
            "success": torch.tensor(self.success),
            "prior": torch.tensor(self.prior, dtype=dtype),
        }
        return {name: values[name] for name in names}

    def base(self, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.tensor(self.advantages, dtype=dtype)

    def spread(self, values: list[float]) -> list[float]:
        return [a for a, own in zip(values, self.gaps, strict=True) for _ in own]


NAMES: dict[Callable[..., Tensor], tuple[str, ...]] = {
    rlsd_credit: ("gap", "turn", "known"),
    grsd_credit: ("gap", "turn", "known", "group", "success"),
    agent_opsd_credit: ("gap", "turn", "known", "group", "episode", "prior"),
    opid_credit: ("gap", "turn"),
}


def credit(function: Callable[..., Tensor], data: Teacher, **options: Any) -> Tensor:
    return function(data.base(), **data.tensors(*NAMES[function]), **options)


@st.composite
def teachers(draw: st.DrawFn, scale: float = 1.0) -> Teacher:
    """Episodes in order or interleaved; every number a multiple of 1/16."""
    rng = random.Random(draw(st.integers(0, 2**20)))
    count = rng.randint(1, 6)
    owner = [rng.randint(0, 2) for _ in range(count)]
    won = [rng.random() < 0.5 for _ in range(count)]
    episode = [e for e in range(count) for _ in range(rng.randint(1, 4))]
    rng.shuffle(episode)
    gaps: list[list[float | None]] = [
        [None if rng.random() < 0.2 else scale * rng.randint(-32, 32) / 16 for _ in range(rng.randint(0, 4))]
        for _ in episode
    ]
    rates = {g: sum(w for w, o in zip(won, owner, strict=True) if o == g) / owner.count(g) for g in owner}
    return Teacher(
        [rng.choice([0.0, rng.randint(-32, 32) / 16]) for _ in episode],
        gaps,
        [owner[e] for e in episode],
        episode,
        [won[e] for e in episode],
        [rates[owner[e]] for e in episode],
    )


def close(got: Tensor, want: list[float], tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(
        got.double(), torch.tensor(want, dtype=torch.float64), atol=tolerance, rtol=0.0, msg=lambda m: m
    )


@few
@given(teachers(), st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.2, 0.9]))
def test_they_are_their_equations(data: Teacher, lam: float, band: float) -> None:
    for level in ("token", "turn"):
        want = oracle.rlsd(data.advantages, data.gaps, level, lam, band)
        got = credit(rlsd_credit, data, strength=lam, band=band, level=level)
        close(got, [a for own in want for a in own])
    turns = oracle.grsd(data.advantages, data.gaps, data.group, data.success, lam, band, 1e-3)
    close(credit(grsd_credit, data, strength=lam, cap=band), data.spread(turns))
    turns = oracle.agent_opsd(data.advantages, data.gaps, data.episode, data.prior, lam, band, 1e-3)
    close(credit(agent_opsd_credit, data, strength=lam, band=band), data.spread(turns))
    want = oracle.opid(data.advantages, data.gaps, band)
    close(credit(opid_credit, data, weight=band), [a for own in want for a in own])


GRSD = Teacher(
    advantages=[1.0, 1.0, -1.0, -1.0, 0.5],
    gaps=[
        [-0.4 + 0.5, -0.7 + 1.0],
        [-2.3 + 2.0, -0.5 + 0.5, -0.2 + 0.2],
        [-0.98 + 1.0],
        [-0.8 + 0.3, -0.4 + 0.3],
        [-0.1 + 0.7],
    ],
    group=[0, 0, 0, 0, 1],
    episode=[0, 1, 2, 3, 4],
    success=[True, True, False, False, True],
    prior=[0.5] * 4 + [1.0],
)
"""Five turns in numbers that were checked against the authors' public function."""


def test_grsd_in_numbers() -> None:
    got = credit(grsd_credit, GRSD)
    turns = [1.1, 0.9, -0.942289, -1.1, 0.5]
    close(got, GRSD.spread(turns), 1e-6)


def test_rlsd_in_numbers() -> None:
    tokens = [1.052585, 1.1, 0.9, 1.0, 1.0, -0.990099, -1.1, -1.052585, 0.55]
    close(credit(rlsd_credit, GRSD), tokens, 1e-6)
    turns = [1.1, 0.952419, -0.990099, -1.1, 0.55]
    close(credit(rlsd_credit, GRSD, level="turn"), GRSD.spread(turns), 1e-6)


@pytest.mark.parametrize(
    ("prior", "turns"),
    [
        (0.5, [0.828834, 0.72, 0.88, -0.879999, -0.720001]),
        # what its public code does with returns of 10: V₀ saturates
        (5.0, [0.836904, 0.72, 0.869761, -0.877552, -0.722448]),
    ],
)
def test_agent_opsd_in_numbers(prior: float, turns: list[float]) -> None:
    data = Teacher(
        advantages=[0.8] * 3 + [-0.8] * 2,
        gaps=[[0.2, 0.1], [-0.3, 0.1], [0.5], [-0.4], [0.05, 0.05]],
        group=[0] * 5,
        episode=[0, 0, 0, 1, 1],
        success=[True] * 3 + [False] * 2,
        prior=[prior] * 5,
    )
    close(credit(agent_opsd_credit, data), data.spread(turns), 1e-6)


def test_opid_in_numbers() -> None:
    data = Teacher([0.9], [[0.2, -0.5, 0.0]], [0], [0], [True], [1.0])
    close(credit(opid_credit, data), [0.9002, 0.8995, 0.9], 1e-12)


@few
@given(teachers(), st.booleans())
def test_without_a_difference_or_a_teacher_nothing_changes(data: Teacher, unknown: bool) -> None:
    silent = [[None if unknown else 0.0 for _ in own] for own in data.gaps]
    same = Teacher(data.advantages, silent, data.group, data.episode, data.success, data.prior)
    for function in NAMES:
        assert torch.equal(credit(function, same), spread(same.base(), same.turn))


@few
@given(teachers(scale=500.0))
def test_results_are_finite_and_carry_no_gradient(data: Teacher) -> None:
    for function, names in NAMES.items():
        base = data.base().requires_grad_()
        tensors = data.tensors(*names)
        tensors["gap"].requires_grad_()
        got = function(base, **tensors)
        assert got.isfinite().all()
        assert not got.requires_grad


@few
@given(teachers(), st.floats(0, 1), st.floats(0, 1))
def test_modulators_keep_the_sign_and_stay_in_their_band(data: Teacher, lam: float, band: float) -> None:
    base = spread(data.base(), data.turn)
    for function, options in (
        (rlsd_credit, {"band": band}),
        (rlsd_credit, {"band": band, "level": "turn"}),
        (grsd_credit, {"cap": band}),
        (agent_opsd_credit, {"band": band}),
    ):
        got = credit(function, data, strength=lam, **options)
        assert not got[base == 0].any()
        assert ((got - base).abs() <= lam * band * base.abs() + 1e-9).all()


@few
@given(teachers(), st.randoms(use_true_random=False))
def test_the_order_of_episodes_and_their_names_change_nothing(data: Teacher, rng: random.Random) -> None:
    places = rng.sample(range(99), 99)
    # turns of an episode stay in time order
    order = sorted(range(len(data.episode)), key=lambda i: (places[data.episode[i]], i))
    moved = Teacher(*([values[i] for i in order] for values in vars(data).values()))
    moved.group = [7 * g + 3 for g in moved.group]
    moved.episode = [5 * e + 2 for e in moved.episode]
    for function in NAMES:
        want = credit(function, data).split([len(own) for own in data.gaps])
        got = credit(function, moved).split([len(own) for own in moved.gaps])
        for i, values in zip(order, got, strict=True):
            torch.testing.assert_close(values, want[i], atol=1e-12, rtol=0)


@few
@given(teachers(), teachers())
def test_other_groups_are_of_no_account(data: Teacher, other: Teacher) -> None:
    both = Teacher(
        data.advantages + other.advantages,
        data.gaps + other.gaps,
        data.group + [g + 3 for g in other.group],
        data.episode + [e + 9 for e in other.episode],
        data.success + other.success,
        data.prior + other.prior,
    )
    for function in NAMES:
        alone = credit(function, data)
        torch.testing.assert_close(credit(function, both)[: len(alone)], alone, atol=1e-12, rtol=0)


@few
@given(teachers(scale=1e-4))
def test_noise_is_not_blown_up(data: Teacher) -> None:
    """|Δ| ≤ 2e-4 everywhere: below a thousandth of a nat what is normalised stays as it was."""
    for function in (grsd_credit, agent_opsd_credit):
        assert torch.equal(credit(function, data), spread(data.base(), data.turn))


def test_without_the_floor_noise_is_as_loud_as_a_difference() -> None:
    noise = Teacher(
        [1.0, 1.0, -1.0], [[1e-5], [0.0], [2e-5]], [0] * 3, [0, 0, 1], [True, True, False], [0.5] * 3
    )
    for function in (grsd_credit, agent_opsd_credit):
        assert credit(function, noise).tolist() == [1.0, 1.0, -1.0]
    assert credit(grsd_credit, noise, floor=0.0)[0] == pytest.approx(1.1, abs=1e-3)
    assert credit(agent_opsd_credit, noise, floor=0.0)[0] == pytest.approx(1.1, abs=0.05)


@few
@given(teachers())
def test_halves_agree_up_to_rounding(data: Teacher) -> None:
    for function, names in NAMES.items():
        want = credit(function, data)
        for dtype, bound in ((torch.float32, 1e-5), (torch.bfloat16, 3e-2)):
            got = function(data.base(dtype), **data.tensors(*names, dtype=torch.float32))
            assert got.dtype is dtype
            torch.testing.assert_close(got.double(), want, atol=bound, rtol=bound)


def test_spread_gives_each_token_the_value_of_its_turn() -> None:
    got = spread(torch.tensor([1.0, -2.0]), torch.tensor([1, 0, 1]))
    assert got.tolist() == [-2.0, 1.0, -2.0]
    with pytest.raises(ShapeError, match="got turn = 2, expected numbers below 2"):
        spread(torch.tensor([1.0, -2.0]), torch.tensor([2]))
