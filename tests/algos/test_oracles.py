"""Every public function against its oracle, on 500 random ragged cases each, in float64 and in float32."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor

from siri import algos
from tests.oracles import advantages as rows_oracle
from tests.oracles import losses as oracle
from tests.oracles import schedules as walks

CASES = 500
EXACT = {"atol": 1e-10, "rtol": 1e-10}
SINGLE = {"atol": 2e-4, "rtol": 2e-4}
DTYPES = (torch.float64, torch.float32)


def close(got: Tensor, want: Any, dtype: torch.dtype) -> None:
    bounds = EXACT if dtype is torch.float64 else SINGLE
    torch.testing.assert_close(got.double(), torch.tensor(want, dtype=torch.float64), **bounds)


class Rows:
    """A random rollout: interleaved ragged episodes of ragged groups, and an arm for each."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        count = rng.randint(1, 7)
        owner = [rng.randint(0, 2) for _ in range(count)]
        arm = [rng.random() < 0.5 for _ in range(count)]
        self.episode = [e for e in range(count) for _ in range(rng.randint(1, 5))]
        rng.shuffle(self.episode)
        self.group = [owner[e] for e in self.episode]
        self.skill = [arm[e] for e in self.episode]
        self.anchor = [rng.randint(0, 2) for _ in self.episode]
        # Quarters are exact in float32, so both dtypes see the same numbers.
        self.rewards = [rng.choice([0.0, 0.0, 10.0, rng.randint(-12, 12) / 4]) for _ in self.episode]
        if rng.random() < 0.3:  # a group in which nobody gets anything
            self.rewards = [0.0 if g == 0 else r for g, r in zip(self.group, self.rewards, strict=True)]
        self.invalid = [rng.random() < 0.3 for _ in self.episode]
        self.features = [[float(rng.randint(0, 2)) for _ in range(3)] for _ in self.episode]
        self.normalize = rng.choice(["mean_std", "mean"])
        self.statistics = rng.choice(["per_turn", "per_trajectory"])
        self.gamma = rng.choice([0.0, 0.5, 0.95, 1.0])

    @property
    def labels(self) -> dict[str, Tensor]:
        return {"group": torch.tensor(self.group), "episode": torch.tensor(self.episode)}

    def scores(self, cost: float) -> list[float]:
        return rows_oracle.scores(self.rewards, self.episode, self.invalid, cost)


@pytest.mark.parametrize("part", range(4))
def test_advantages(part: int) -> None:
    for seed in range(part, CASES, 4):
        data = Rows(seed)
        rule: dict[str, Any] = {"normalize": data.normalize, "statistics": data.statistics}
        bad, skill = torch.tensor(data.invalid), torch.tensor(data.skill)
        anchor = torch.tensor(data.anchor)
        group = {"group": data.labels["group"]}
        plain = [not s for s in data.skill]
        whole = data.group, data.episode, data.normalize, data.statistics
        for dtype in DTYPES:
            rewards = torch.tensor(data.rewards, dtype=dtype)
            got = algos.discounted_returns(rewards, episode=data.labels["episode"], gamma=data.gamma)
            returns = rows_oracle.returns(data.rewards, data.episode, data.gamma)
            close(got, returns, dtype)

            scores = data.scores(0.25)
            given = torch.tensor(scores, dtype=dtype)
            want = rows_oracle.episode_part(scores, *whole)
            close(algos.episode_advantages(given, **data.labels, **rule), want, dtype)
            baselined = rows_oracle.episode_part(scores, *whole, baseline=plain)
            got = algos.episode_advantages(given, **data.labels, **rule, baseline=~skill)
            close(got, baselined, dtype)

            steps = rows_oracle.step_part(returns, data.group, data.anchor, data.normalize)
            given = torch.tensor(returns, dtype=dtype)
            got = algos.step_advantages(given, **group, anchor=anchor, normalize=rule["normalize"])
            close(got, steps, dtype)

            common: dict[str, Any] = {**data.labels, "invalid": bad, "invalid_penalty": 0.25}
            close(algos.grpo_advantages(rewards, **common, **rule, failed_groups="verl-agent"), want, dtype)
            lost = rows_oracle.lost(data.scores(0.0), data.group)
            calm = rows_oracle.episode_part(scores, *whole, bounded=lost)
            close(algos.grpo_advantages(rewards, **common, **rule), calm, dtype)
            mean_only = rows_oracle.episode_part(scores, data.group, data.episode, "mean", "per_trajectory")
            close(algos.dr_grpo_advantages(rewards, **common), mean_only, dtype)
            left_out = rows_oracle.leave_one_out(scores, data.group, data.episode)
            close(algos.rloo_advantages(rewards, **common), left_out, dtype)

            fined = [g - 0.25 * b for g, b in zip(returns, data.invalid, strict=True)]
            steps = rows_oracle.step_part(fined, data.group, data.anchor, data.normalize)
            options: dict[str, Any] = {**common, **rule, "anchor": anchor, "gamma": data.gamma, "omega": 0.7}
            both = [a + 0.7 * b for a, b in zip(want, steps, strict=True)]
            close(algos.gigpo_advantages(rewards, **options, failed_groups="verl-agent"), both, dtype)
            steps = rows_oracle.step_part(
                fined, data.group, data.anchor, data.normalize, bounded=lost, free=returns
            )
            both = [a + 0.7 * b for a, b in zip(calm, steps, strict=True)]
            close(algos.gigpo_advantages(rewards, **options), both, dtype)
            baselined = rows_oracle.episode_part(scores, *whole, baseline=plain, bounded=lost)
            both = [a + 0.7 * b for a, b in zip(baselined, steps, strict=True)]
            close(algos.gigpo_advantages(rewards, **options, baseline=~skill), both, dtype)


def test_utilities_and_anchors() -> None:
    for seed in range(CASES):
        data = Rows(seed)
        success = [reward > 0 for reward in data.rewards]
        for level in ("episode", "group"):
            got = algos.treatment_utility(
                torch.tensor(success),
                group=torch.tensor(data.group),
                skill=torch.tensor(data.skill),
                level=level,  # type: ignore[arg-type]
            )
            close(got, rows_oracle.utility(success, data.group, data.skill, level), torch.float32)
        threshold = (0.0, 0.7, 0.9, 1.0)[seed % 4]
        got = algos.similarity_anchors(
            torch.tensor(data.features), group=torch.tensor(data.group), threshold=threshold
        )
        want = rows_oracle.clusters(data.features, data.group, threshold - 1e-9)
        pairs = {(a, b) for a, b in zip(got.tolist(), want, strict=True)}
        assert len(pairs) == len(set(got.tolist())) == len(set(want))


class Tokens:
    """A random ragged batch; every other one has few tokens or none."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        rows, width = rng.randint(1, 4), rng.randint(1, 7)
        share = rng.choice([0.0, 0.3, 0.7, 1.0])

        def fill(draw: Callable[[], Any]) -> list[list[Any]]:
            return [[draw() for _ in range(width)] for _ in range(rows)]

        def eighth(low: float, high: float) -> list[list[float]]:
            return fill(lambda: rng.randint(int(8 * low), int(8 * high)) / 8)

        self.mask = fill(lambda: rng.random() < share)
        self.action = [[m and rng.random() < 0.7 for m in row] for row in self.mask]
        self.used = fill(lambda: rng.random() < 0.7)
        self.logp, self.old, self.other = eighth(-3, 0), eighth(-3, 0), eighth(-8, 0)
        self.advantage, self.utility = eighth(-3, 3), eighth(-1, 1)
        self.z = rng.choice([None, 3.0, 17.0])
        self.low, self.high = rng.choice([(0.2, 0.2), (0.1, 0.4), (0.0, 0.0)])
        self.dual = rng.choice([None, 1.5, 3.0])
        self.floor = rng.choice([0.0, 0.02, 0.9])

    def tensors(self, dtype: torch.dtype) -> Any:
        class Found:
            pass

        found = Found()
        for name, value in vars(self).items():
            if isinstance(value, list):
                tensor = torch.tensor(value)
                setattr(found, name, tensor if tensor.dtype is torch.bool else tensor.to(dtype))
        return found


@pytest.mark.parametrize("part", range(4))
def test_losses(part: int) -> None:
    for seed in range(part, CASES, 4):
        d = Tokens(seed)
        for dtype in DTYPES:
            t = d.tensors(dtype)
            on: dict[str, Any] = {"mask": t.mask, "normalizer": d.z}
            weights = algos.mismatch_weights(t.old, rollout_logprobs=t.other, mask=t.mask, limit=2.5)
            importance = oracle.mismatch(d.old, d.other, d.mask, 2.5, "token", "truncate")
            close(weights, importance, dtype)
            for unit in ("token", "sequence", "geometric"):
                for outside in ("truncate", "mask"):
                    got = algos.mismatch_weights(
                        t.old,
                        rollout_logprobs=t.other,
                        mask=t.mask,
                        limit=2.5,
                        unit=unit,  # type: ignore[arg-type]
                        outside=outside,  # type: ignore[arg-type]
                    )
                    want = oracle.mismatch(d.old, d.other, d.mask, 2.5, unit, outside)
                    close(got, want, dtype)
            for ratio in ("token", "sequence"):
                for aggregation in ("token", "sequence"):
                    for rho, weight in ((None, None),) if seed % 8 < 4 else ((weights, importance),):
                        got, _ = algos.clipped_surrogate(
                            t.logp,
                            old_logprobs=t.old,
                            advantages=t.advantage,
                            clip_low=d.low,
                            clip_high=d.high,
                            dual_clip=d.dual,
                            ratio=ratio,  # type: ignore[arg-type]
                            aggregation=aggregation,  # type: ignore[arg-type]
                            importance=rho,
                            **on,
                        )
                        clips = d.low, d.high, d.dual, ratio, aggregation, weight, d.z
                        close(got, oracle.surrogate(d.logp, d.old, d.advantage, d.mask, *clips), dtype)
            for name in ("k1", "k2", "k3"):
                kind: dict[str, Any] = {"estimator": name}
                got, _ = algos.kl_divergence(t.logp, reference=t.other, **kind, **on)
                close(got, oracle.kl(d.logp, d.other, d.mask, name, d.z), dtype)
                each = algos.kl_estimate(t.logp, reference=t.other, **kind)
                pairs = [zip(*rows, strict=True) for rows in zip(d.logp, d.other, strict=True)]
                close(each, [[oracle.kl_token(a, b, name) for a, b in row] for row in pairs], dtype)
            close(algos.mean_entropy(t.utility, **on), oracle.average(d.utility, d.mask, d.z), dtype)
            close(algos.cross_entropy(t.logp, **on), -oracle.average(d.logp, d.mask, d.z), dtype)
            got, _ = algos.reverse_kl_distillation(t.logp, teacher=t.other, **on)
            close(got, oracle.reverse_kl(d.logp, d.other, d.mask, d.z), dtype)
            got, _ = algos.gated_distillation(t.logp, teacher=t.other, sharpness=1.5, **on)
            close(got, oracle.gated(d.logp, d.other, d.mask, 1.5, d.z), dtype)
            got, _ = algos.gated_distillation(t.logp, teacher=t.other, gate="constant", **on)
            close(got, oracle.gated(d.logp, d.other, d.mask, None, d.z), dtype)
            got, _ = algos.importance_distillation(t.logp, teacher=t.other, old_logprobs=t.old, **on)
            close(got, oracle.importance_k3(d.logp, d.other, d.old, d.mask, d.z), dtype)
            for kappa in (None, 1.5):
                got, _ = algos.view_distillation(
                    t.logp, teacher=t.other, weights=t.advantage.abs(), sharpness=kappa, **on
                )
                weights = [[abs(a) for a in row] for row in d.advantage]
                close(got, oracle.view(d.logp, d.other, weights, d.mask, kappa, d.z), dtype)
            close(algos.token_entropy(t.utility), [oracle.entropy(row) for row in d.utility], dtype)


def test_internalization() -> None:
    for seed in range(CASES):
        d = Tokens(seed)
        gate = oracle.gate(d.used, d.utility, d.action)
        for dtype in DTYPES:
            t = d.tensors(dtype)
            terms: dict[str, Any] = {"used": t.used, "utility": t.utility, "action_mask": t.action}
            assert algos.internalization_gate(**terms).tolist() == gate
            weights = algos.internalization_weights(t.advantage, **terms, max_weight=1.5)
            capped = [
                [g * min(max(a, 0.0), 1.5) for a, g in zip(*r, strict=True)]
                for r in zip(d.advantage, gate, strict=True)
            ]
            close(weights, capped, dtype)
            for clip in (None, 0.0, 0.2):
                got, _ = algos.internalization_loss(
                    t.logp,
                    weights=weights,
                    response_mask=t.mask,
                    floor=d.floor,
                    gate=torch.tensor(gate),
                    token_clip=clip,
                    old_logprobs=t.old,
                )
                want = oracle.internalization(d.logp, d.advantage, gate, d.mask, 1.5, d.floor, clip, d.old)
                close(got, want, dtype)
            close(algos.masked_sum(t.logp, t.mask), oracle.average(d.logp, d.mask, 1.0), dtype)
            close(algos.masked_mean(t.logp, t.mask), oracle.average(d.logp, d.mask), dtype)


def test_schedules() -> None:
    for seed in range(CASES):
        rng = random.Random(seed)
        k, start, length = rng.randint(0, 40), rng.randint(0, 20), rng.randint(1, 20)
        peak, end = Fraction(rng.randint(1, 64), 16), Fraction(rng.randint(0, 64), 16)
        when: dict[str, Any] = {"start": start, "length": length, "peak": float(peak)}
        near = {"abs": 1e-12, "rel": 1e-12}
        assert algos.linear_warmup(k, **when) == pytest.approx(
            float(walks.rise(k, start, length, peak)), **near
        )
        walk = start, length, peak, end
        assert algos.linear_decay(k, **when, end=float(end)) == pytest.approx(
            float(walks.fall(k, *walk)), **near
        )
        assert algos.cosine_decay(k, **when, end=float(end)) == pytest.approx(
            walks.half_cosine(k, *walk), **near
        )


def test_schedules_by_hand() -> None:
    """A rise over 4, a fall over 4 from 2 to 1."""
    rise = [algos.linear_warmup(k, start=3, length=4, peak=0.1) for k in range(9)]
    assert rise == pytest.approx([0, 0, 0, 0.025, 0.05, 0.075, 0.1, 0.1, 0.1])
    fall = [algos.linear_decay(k, start=1, length=4, peak=2.0, end=1.0) for k in range(7)]
    assert fall == pytest.approx([2, 2, 1.75, 1.5, 1.25, 1, 1])
    wave = [algos.cosine_decay(k, start=1, length=4, peak=2.0, end=1.0) for k in range(7)]
    root = 0.5**0.5
    assert wave == pytest.approx([2, 2, 1.5 + root / 2, 1.5, 1.5 - root / 2, 1, 1])
