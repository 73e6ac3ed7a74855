"""From trajectories to padded token batches.

A turn whose prompt continues the previous turn's prompt and completion shares its row (prefix merge): a
transcript becomes one row per episode, a windowed prompt one row per turn, through the same code.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from siri.algos.advantages import Normalize, Statistics, gigpo_advantages
from siri.algos.anchors import similarity_anchors
from siri.algos.objectives import TokenBatch
from siri.errors import ConfigError, ShapeError
from siri.types import Group, Trajectory, Turn

__all__ = [
    "Internalize",
    "Row",
    "Span",
    "Totals",
    "TurnArrays",
    "beneficial",
    "build_rows",
    "collate",
    "compute_advantages",
    "micro_batches",
    "minibatches",
    "turn_arrays",
    "utility",
    "word_counts",
]

Kind = Literal["rl", "int"]
Baseline = Literal["joint", "per_arm", "plain_baseline"]
GateLevel = Literal["episode", "group", "skill"]
"""Whose benefit opens the gate: that of the rollout (U_i), of its group (Δ), or of the skill (u)."""
Scope = Literal["response", "action_span"]
Internalize: TypeAlias = Callable[[Group, Trajectory], bool]
"""Whether a rollout of a group is to be distilled."""


@dataclass(frozen=True, slots=True)
class Span:
    """The completion of one turn within a row."""

    start: int
    """Position of the first completion token."""
    logprobs: tuple[float, ...]
    """At sampling time, one per token: under the skill prompt for a skill turn, whatever the row."""
    advantage: float
    weight: float = 0.0
    """Internalisation weight w; 0 in RL rows."""
    mask: tuple[bool, ...] | None = None
    """Tokens that count; None means all."""
    rollout: tuple[float, ...] | None = None
    """As the engine reported them, where ``logprobs`` were recomputed by the trainer; None: the same."""

    @property
    def tokens(self) -> int:
        """Tokens that count."""
        return len(self.logprobs) if self.mask is None else sum(self.mask)


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence for the model: ``rl`` under the prompts of the rollout, ``int`` under the plain ones."""

    kind: Kind
    ids: tuple[int, ...]
    spans: tuple[Span, ...]
    skills: tuple[str, ...] = ()
    """Ids of the skills that the rollout saw; of ``int`` rows only."""

    @property
    def tokens(self) -> int:
        """Tokens that count in the loss."""
        return sum(span.tokens for span in self.spans)


@dataclass(frozen=True, slots=True)
class Totals:
    """Normalisers of a mini-batch; those of its parts add up."""

    rl_tokens: float
    int_tokens: float
    rl_turns: float = 0.0
    """Completions in RL rows."""

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Totals:
        """Count the tokens of both kinds, and the completions."""
        rl = sum(row.tokens for row in rows if row.kind == "rl")
        turns = sum(span.tokens > 0 for row in rows if row.kind == "rl" for span in row.spans)
        return cls(float(rl), float(sum(row.tokens for row in rows) - rl), float(turns))


@dataclass(frozen=True, slots=True, eq=False)
class TurnArrays:
    """Every turn of a list of groups, flat, in the order groups → trajectories → turns; all [N]."""

    rewards: Tensor
    group: Tensor
    episode: Tensor
    anchor: Tensor
    """int64; equal for turns of one group that were taken in the same state."""
    skill: Tensor
    """bool; the turn belongs to the skill arm."""
    invalid: Tensor


def turn_arrays(groups: Sequence[Group]) -> TurnArrays:
    """Flatten ``groups`` into the tensors that ``siri.algos.advantages`` takes."""
    rewards: list[float] = []
    labels: list[tuple[int, int, int]] = []
    flags: list[tuple[bool, bool]] = []
    anchors: dict[tuple[int, Hashable], int] = {}
    episode = -1
    for number, group in enumerate(groups):
        for trajectory in group.trajectories:
            episode += 1
            for turn in trajectory.turns:
                rewards.append(float(turn.reward))
                anchor = anchors.setdefault((number, turn.anchor), len(anchors))
                labels.append((number, episode, anchor))
                flags.append((trajectory.arm == "skill", not turn.valid))
    numbers = torch.tensor(labels, dtype=torch.int64).reshape(-1, 3).unbind(1)
    switches = torch.tensor(flags, dtype=torch.bool).reshape(-1, 2).unbind(1)
    return TurnArrays(torch.tensor(rewards, dtype=torch.float32), *numbers, *switches)


def compute_advantages(
    groups: Sequence[Group],
    *,
    estimator: Baseline = "joint",
    gamma: float = 0.95,
    omega: float = 1.0,
    normalize: Normalize = "mean_std",
    statistics: Statistics = "per_turn",
    invalid_penalty: float = 0.1,
    max_return: float = 10.0,
    similarity: float | None = None,
) -> Tensor:
    """GiGPO advantages of every turn, [N] in the order of ``turn_arrays``; empty without a turn.

    ``joint`` compares all rollouts of a task with each other; ``per_arm`` only those of the same arm, which
    gives 0 exactly where every skill rollout wins; ``plain_baseline`` all with the mean of the plain arm, so
    that a skill rollout's A_E is its treatment effect in units of the joint σ. ``similarity`` is the cosine
    of word counts from which on two observations are one anchor; None takes the environment's anchors.
    """
    if estimator not in get_args(Baseline):
        raise ConfigError(
            f"got estimator={estimator!r}, expected one of {get_args(Baseline)}; fix: use 'joint'"
        )
    turns = turn_arrays(groups)
    if not turns.rewards.numel():
        return turns.rewards
    group = 2 * turns.group + turns.skill.long() if estimator == "per_arm" else turns.group
    anchor = turns.anchor
    if similarity is not None:
        seen = [turn.observation for g in groups for t in g.trajectories for turn in t.turns]
        anchor = similarity_anchors(word_counts(seen), group=group, threshold=similarity)
    return gigpo_advantages(
        turns.rewards,
        group=group,
        episode=turns.episode,
        anchor=anchor,
        gamma=gamma,
        omega=omega,
        normalize=normalize,
        statistics=statistics,
        invalid=turns.invalid,
        invalid_penalty=invalid_penalty,
        baseline=~turns.skill if estimator == "plain_baseline" else None,
        max_return=max_return,
    )


def word_counts(texts: Sequence[str]) -> Tensor:
    """How often each word of ``texts`` occurs in each of them: float32 [N, D], lower case, words in order."""
    words = [re.findall(r"\w+", text.lower()) for text in texts]
    column = {word: n for n, word in enumerate(sorted({word for some in words for word in some}))}
    counts = torch.zeros(len(texts), max(len(column), 1))
    places = [(row, column[word]) for row, some in enumerate(words) for word in some]
    where = torch.tensor(places, dtype=torch.int64).reshape(-1, 2).unbind(1)
    return counts.index_put(where, torch.ones(len(places)), accumulate=True)


def utility(group: Group, trajectory: Trajectory, *, level: Literal["episode", "group"] = "episode") -> float:
    """U_i = s_i − mean_plain(s), or Δ = mean_skill(s) − mean_plain(s) at the level of the group.

    0 for a plain trajectory or a group without a plain arm.
    """
    plain = group.arm("plain")
    if trajectory.arm != "skill" or not plain:
        return 0.0
    treated = (trajectory,) if level == "episode" else group.arm("skill")
    return _success(treated) - _success(plain)


def beneficial(
    active: Collection[str],
    *,
    level: GateLevel = "episode",
    utilities: Mapping[str, float] | None = None,
) -> Internalize:
    """The gate on trajectories: the skill helped, and every skill shown is in ``active``.

    Args:
        active: ids of the active skills.
        level: helped this rollout (U_i > 0), its group (Δ > 0), or so far (u > 0 of every skill shown).
        utilities: u by skill, for the last of these; a skill that is missing has u = 0.
    """
    if level not in get_args(GateLevel) or (level == "skill" and utilities is None):
        raise ConfigError(
            f"got level={level!r} and utilities={utilities!r}, expected one of {get_args(GateLevel)}, and "
            f"utilities with 'skill'; fix: use 'episode'"
        )

    def internalize(group: Group, trajectory: Trajectory) -> bool:
        if not trajectory.skills or not all(skill in active for skill in trajectory.skills):
            return False
        if level == "skill" and utilities is not None:
            return all(utilities.get(skill, 0.0) > 0 for skill in trajectory.skills)
        return utility(group, trajectory, level="group" if level == "group" else "episode") > 0

    return internalize


def _success(trajectories: Sequence[Trajectory]) -> float:
    return sum(trajectory.success for trajectory in trajectories) / len(trajectories)


def build_rows(
    groups: Sequence[Group],
    *,
    advantages: Sequence[float] | Tensor,
    internalize: Internalize | None = None,
    scope: Scope = "response",
    max_weight: float = 2.0,
) -> list[Row]:
    """RL rows of every trajectory, and rows of L_int for those that ``internalize`` picks.

    Args:
        groups: rollouts.
        advantages: one per turn, in the order of ``turn_arrays``.
        internalize: gate on trajectories, e.g. ``beneficial(active)``, which picks skill trajectories only;
            None builds no rows of L_int.
        scope: internalise every completion token, or only those of ``Turn.action_mask``.
        max_weight: w_max of w = clip(A, 0, w_max). A gated token with w = 0 still counts in Z.

    Returns:
        Rows in rollout order; none for turns without token ids.
    """
    if scope not in ("response", "action_span"):
        raise ConfigError(f"got scope={scope!r}, expected 'response' or 'action_span'; fix: use 'response'")
    values: list[float] = advantages.tolist() if isinstance(advantages, Tensor) else list(advantages)
    expected = sum(len(trajectory.turns) for group in groups for trajectory in group.trajectories)
    if len(values) != expected:
        raise ShapeError(f"got {len(values)} advantages, expected one for each of {expected} turns")
    rows, left = list[Row](), iter(values)
    for group in groups:
        for trajectory in group.trajectories:
            turns = [(turn, a) for turn in trajectory.turns for a in [next(left)] if turn.completion_ids]
            rows += _merge("rl", [(t.prompt_ids, t, _span(t, a)) for t, a in turns])
            if internalize is not None and internalize(group, trajectory):
                skilled = trajectory.arm == "skill"
                gated = [
                    (t.plain_prompt_ids, t, _plain_span(t, a, scope, max_weight, skilled)) for t, a in turns
                ]
                merged = _merge("int", gated, trajectory.skills)
                rows += [row for row in merged if row.tokens]
    return rows


def minibatches(rows: Sequence[Row], *, count: int, seed: int) -> list[list[Row]]:
    """Shuffle and deal into at most ``count`` non-empty parts, each with its share of both kinds of rows."""
    if count < 1:
        raise ConfigError(f"got count={count}, expected at least 1; fix: use 1 for a single step")
    shuffler = random.Random(seed)
    kinds = [[row for row in rows if row.kind == kind] for kind in ("rl", "int")]
    for part in kinds:
        shuffler.shuffle(part)
    count = min(count, max(len(part) for part in kinds))
    return [[row for part in kinds for row in part[start::count]] for start in range(count)]


def micro_batches(rows: Sequence[Row], *, max_tokens: int) -> list[list[Row]]:
    """Rows of similar length together, at most ``max_tokens`` padded tokens each (one row at the least)."""
    parts: list[list[Row]] = []
    width = 0
    for row in sorted(rows, key=lambda row: len(row.ids), reverse=True):
        if not parts or (len(parts[-1]) + 1) * width > max_tokens:
            parts.append([])
            width = len(row.ids)
        parts[-1].append(row)
    return parts


def collate(
    rows: Sequence[Row], *, pad_id: int, totals: Totals | None = None, int_scale: float = 1.0
) -> TokenBatch:
    """Pad rows to the right into a batch; ``totals`` are those of the mini-batch that the rows belong to."""
    totals = totals or Totals.of(rows)
    shape = (len(rows), max((len(row.ids) for row in rows), default=0))
    ids = torch.full(shape, pad_id, dtype=torch.int64)
    masks = {name: torch.zeros(shape, dtype=torch.bool) for name in ("attention_mask", "rl_mask", "int_mask")}
    names = ("old_logprobs", "rollout_logprobs", "advantages", "weights")
    floats = {name: torch.zeros(shape) for name in names}
    for number, row in enumerate(rows):
        ids[number, : len(row.ids)] = torch.tensor(row.ids, dtype=torch.int64)
        masks["attention_mask"][number, : len(row.ids)] = True
        for span in row.spans:
            where = (number, slice(span.start, span.start + len(span.logprobs)))
            mask = torch.tensor(True if span.mask is None else span.mask)
            masks[f"{row.kind}_mask"][where] = mask
            floats["old_logprobs"][where] = torch.tensor(span.logprobs)
            floats["rollout_logprobs"][where] = torch.tensor(span.rollout or span.logprobs)
            floats["advantages"][where] = span.advantage
            floats["weights"][where] = span.weight * mask
    return TokenBatch(
        input_ids=ids,
        reference_logprobs=torch.zeros(shape),
        rl_tokens=totals.rl_tokens,
        int_tokens=totals.int_tokens,
        response_tokens=totals.rl_tokens,
        rl_turns=totals.rl_turns,
        int_scale=int_scale,
        attention_mask=masks["attention_mask"],
        rl_mask=masks["rl_mask"],
        int_mask=masks["int_mask"],
        old_logprobs=floats["old_logprobs"],
        rollout_logprobs=floats["rollout_logprobs"],
        advantages=floats["advantages"],
        weights=floats["weights"],
    )


def _span(turn: Turn, advantage: float) -> Span:
    size = len(turn.completion_ids)
    if len(turn.logprobs) != size:
        raise ShapeError(f"got {len(turn.logprobs)} log-probs, expected one for each of {size} tokens")
    return Span(len(turn.prompt_ids), turn.logprobs, advantage, rollout=turn.logprobs)


def _plain_span(turn: Turn, advantage: float, scope: Scope, max_weight: float, skilled: bool) -> Span:
    size = len(turn.completion_ids)
    # a turn of the skill arm whose prompt had no room for the block owes nothing to the skill
    used = not skilled or turn.prompt_ids != turn.plain_prompt_ids
    mask = turn.action_mask if scope == "action_span" else (True,) * size
    if len(mask) != size:
        raise ShapeError(f"got an action_mask of {len(mask)}, expected one flag for each of {size} tokens")
    weight = min(max(advantage, 0.0), max_weight)
    gate = mask if used else (False,) * size
    return Span(len(turn.plain_prompt_ids), turn.logprobs, advantage, weight, gate)


def _merge(
    kind: Kind, turns: Sequence[tuple[tuple[int, ...], Turn, Span]], skills: tuple[str, ...] = ()
) -> Iterator[Row]:
    ids: tuple[int, ...] = ()
    spans: list[Span] = []
    for prompt, turn, span in turns:
        if not prompt:
            raise ShapeError("got sampled tokens without a prompt, expected at least one prompt token")
        if spans and prompt[: len(ids)] != ids:
            yield Row(kind, ids, tuple(spans), skills)
            spans = []
        spans.append(span)
        ids = prompt + turn.completion_ids
    if spans:
        yield Row(kind, ids, tuple(spans), skills)
