"""The parts of a run that the configuration names, assembled for the loop."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from siri import doors
from siri.config import RunConfig, ValidationConfig
from siri.errors import ConfigError
from siri.models.weights import cast, frozen, hollow, rows_of
from siri.protocols import Judge, Objective, Progress, TrainablePolicy
from siri.rollout.episodes import GroupPlan
from siri.rollout.faults import DropEpisode, FailFast
from siri.rollout.play import Rollout
from siri.rollout.suite import Suite
from siri.seeds import derive_seed
from siri.skills import (
    EmbeddingRanking,
    EverythingRanking,
    LexicalRanking,
    NoSkills,
    PairedValidator,
    Ranking,
    Retriever,
    SequentialValidator,
    SkillRetriever,
)
from siri.training.job import start_processes
from siri.training.learner import Learner
from siri.types import Sampling, Skill, Task

__all__ = [
    "group_plan",
    "make_learner",
    "make_ranking",
    "make_retriever",
    "make_rollout",
    "make_validator",
    "tasks_of",
]


def make_learner(
    policy: TrainablePolicy,
    objective: Objective | None,
    config: RunConfig,
    *,
    taught: bool = False,
    top_k: int = 0,
    progress: Progress,
) -> Learner:
    """Make the learner of ``policy``'s weights, with the adapter and the reference model that it needs.

    ``taught``: batches have a teacher's log-probs. ``top_k``: number of a teacher's likeliest tokens that
    lessons bring.

    Raises:
        ConfigError: the policy has no weights, or cannot do what ``config`` asks for.
    """
    r, o = config.rollout, config.optimizer
    if policy.model is None:
        raise ConfigError(
            f"got {doors.name_of(policy)} to train, expected a policy with weights (it lacks "
            f"{', '.join(doors.lacks(policy))}); fix: HFPolicy, or learner=None to play without learning"
        )
    if objective is None:
        raise ConfigError(
            "got no objective, expected the loss to train with; fix: objective=SiriObjective(), or "
            "learner=None to play without learning"
        )
    if r.sleep and not policy.elsewhere:
        raise ConfigError(
            f"got rollout.sleep with {doors.name_of(policy)}, expected an engine that sleeps; fix: "
            "VLLMPolicy, or rollout.sleep=false"
        )
    spread = o.shard and start_processes().size > 1
    _require_made(policy, config, apart=spread)
    term = doors.objective(objective)
    adapted = policy.adapt(config.lora, seed=config.seed)
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[r.dtype]
    weights = rows_of(policy.model) if spread else None
    # a model that is sharded over processes cannot play: without an engine, the policy keeps a whole one
    trained: Any = hollow(policy.model) if spread and not policy.elsewhere else policy.model
    reference: nn.Module | None = None
    if term.needs_reference and adapted:
        # the learner uses the model without its adapter as the reference
        reference = trained if policy.elsewhere else policy.model
    elif term.needs_reference:
        reference = hollow(policy.model, dtype) if spread else frozen(policy.model)
    if o.gradient_checkpointing:
        trained.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    learner = Learner(
        trained,
        term,
        lr=o.lr,
        weight_decay=o.weight_decay,
        grad_clip=o.grad_clip,
        minibatches=o.minibatches,
        batch_turns=o.batch_turns,
        epochs=o.epochs,
        max_tokens_per_micro_batch=o.max_tokens_per_micro_batch,
        reference=reference,
        recompute=config.recomputes,
        half=o.precision == "bfloat16",
        shard=o.shard,
        weights=weights,
        taught=taught,
        top_k=top_k,
        skips_faults=r.on_fault == "drop",
        progress=progress,
    )
    if trained is not policy.model:
        cast(policy.model, dtype)
    policy.model.to(learner.device)
    if policy.elsewhere:
        policy.sync(learner)
    return learner


def _require_made(policy: TrainablePolicy, config: RunConfig, *, apart: bool) -> None:
    """Refuse settings that differ from those that the policy was made with.

    With ``apart``, the model that plays is cast to the configured dtype, so that one may differ.
    """
    made, r = doors.made_with(policy), config.rollout
    if not apart and made.get("dtype", r.dtype) != r.dtype:
        raise ConfigError(
            f"got rollout.dtype={r.dtype!r} and a policy that plays in {made['dtype']}, expected the same; "
            f"fix: HFPolicy(..., plays={r.dtype!r}), or rollout.dtype={made['dtype']!r}"
        )
    asked = dict(r.chat_template_kwargs)
    if asked and made.get("chat_template_kwargs", asked) != asked:
        raise ConfigError(
            f"got rollout.chat_template_kwargs={asked!s:.60} and a policy made with "
            f"{made['chat_template_kwargs']!s:.60}, expected the same; fix: HFPolicy(..., "
            "chat_template_kwargs=...)"
        )


def make_rollout(suite: Suite, policy: TrainablePolicy, config: RunConfig, *, progress: Progress) -> Rollout:
    """Make the ``Rollout`` that plays ``suite`` in training."""
    r = config.rollout
    return Rollout(
        suite.make_env,
        suite.prompter,
        policy,
        sampling=Sampling(temperature=r.temperature, top_p=r.top_p, max_tokens=r.max_tokens),
        slots=r.slots,
        on_fault=DropEpisode() if r.on_fault == "drop" else FailFast(),
        tolerance=doors.Tolerance(strict=r.on_fault == "stop"),
        overflow=r.overflow,
        max_steps=suite.max_steps,
        progress=progress,
    )


def tasks_of(train: Sequence[Task], k: int, *, size: int, seed: int) -> list[Task]:
    """The ``size`` tasks of iteration ``k``: epochs over the train split, each in a new order."""
    chosen = []
    for position in range(k * size, (k + 1) * size):
        epoch, place = divmod(position, len(train))
        chosen.append(train[_order(seed, epoch, len(train))[place]])
    return chosen


@lru_cache(maxsize=8)
def _order(seed: int, epoch: int, size: int) -> tuple[int, ...]:
    """The order of tasks in an epoch, cached so that it is drawn once and not for every task."""
    order = list(range(size))
    random.Random(derive_seed("tasks", seed, epoch)).shuffle(order)
    return tuple(order)


def group_plan(
    task: Task, skills: tuple[Skill, ...], seed: int, config: RunConfig, turns: int | None = None
) -> GroupPlan:
    """Plan the group of one task, whose episodes end after ``turns`` at the latest.

    With skills, at least one rollout sees them; unless the share is 1, at least one does not.
    """
    size, share = config.rollout.group_size, config.rollout.skill_share
    skilled = min(max(int(size * share), 1), size if share == 1 else size - 1) if skills else 0
    return GroupPlan(task, size - skilled, skilled, skills, seed, turns)


def make_validator(config: ValidationConfig) -> PairedValidator:
    """Make the validator that ``config.rule`` names."""
    names = (
        "n_eval",
        "ema",
        "activate",
        "retire",
        "patience",
        "max_age",
        "shrink",
        "confidence",
        "caught_up",
    )
    options = config.model_dump(include=set(names))
    if config.rule == "sequential":
        return SequentialValidator(min_effect=config.min_effect, max_groups=config.max_groups, **options)
    return PairedValidator(rule=config.rule, **options)


def make_ranking(config: ValidationConfig) -> Ranking:
    """Make the ranking of proven skills that ``config.retrieval`` names ("none" ranks like "lexical")."""
    if config.retrieval == "embedding":
        if config.embedding_model is None:
            raise ConfigError(
                "got retrieval 'embedding' without a model; fix: validation.embedding_model=FOLDER"
            )
        return EmbeddingRanking(config.embedding_model)
    return EverythingRanking() if config.retrieval == "all" else LexicalRanking()


def make_retriever(config: ValidationConfig, judge: Judge | None = None) -> SkillRetriever:
    """Make the retriever that ``config.retrieval`` names; a judge with a ``priority`` assigns the groups."""
    if config.retrieval == "none":
        return NoSkills()
    return Retriever(
        None if config.retrieval == "all" else config.top_k,
        ranking=make_ranking(config),
        candidate_share=config.candidate_share,
        n_eval=config.n_eval,
        priority=None if judge is None else judge.priority,
    )
