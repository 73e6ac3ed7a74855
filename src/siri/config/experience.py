"""Settings of playing, evaluating, and keeping episodes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, JsonValue

from siri.config.values import Count, NotNegative, Positive, Real, Section, Share, Whole

__all__ = ["EnvConfig", "EpisodesConfig", "EvaluationConfig", "RolloutConfig"]


class EnvConfig(Section):
    """The benchmark: its tasks, and how prompts show them."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    max_steps: Count = 50
    """Number of actions after which an episode is truncated."""
    style: Literal["transcript", "window", "compact", "calls"] = "window"
    """How a prompt shows past turns. ``transcript`` is the embedded policy's style on ALFWorld, ``compact``
    its style on WebShop, ``window`` the style of the papers; ``calls`` is for tools.
    """
    history: Whole = 2
    """Number of past turns that the window style shows."""
    train_games: Count = 480
    """Number of train games to generate if there is no data folder."""
    valid_games: Count = 200
    """Number of games to generate for each validation split."""
    scale: Positive = 1.0
    """Room size of generated games; 1 is the size of ALFWorld's own games."""
    games_seed: Whole = 0
    """Seed of the generated games or catalogue."""
    kinds: tuple[str, ...] | None = None
    """Kinds of task to play; None means all."""
    catalog: Literal["tiny", "small", "large"] = "small"
    """WebShop: the bundled catalogue to use if there is no data folder; ``games_seed`` is its seed."""
    products: Count | None = None
    """WebShop: load only the first N records of the data folder; None loads all."""
    human: bool = False
    """WebShop: use crowd-sourced instructions instead of synthetic ones."""
    splits: Literal["verl-agent", "original"] = "verl-agent"
    """WebShop: which goals are for validation; see ``siri.envs.webshop.split_goals``."""
    shuffle_seed: Whole = 233
    """WebShop: seed of the goals' order; 233 is upstream's."""
    rewards: Literal["training", "score"] = "training"
    """WebShop: ``training`` gives 10 for a perfect purchase and 0 otherwise, as in verl-agent; ``score``
    gives the task score in [0, 1]."""
    valid_goals: Count | None = None
    """WebShop: evaluate on the first N goals of each validation split; None evaluates on all."""
    options: dict[str, JsonValue] = Field(default={})
    """The environment's own settings; ``siri envs NAME`` lists them."""


class RolloutConfig(Section):
    """How experience is gathered."""

    tasks: Count = 16
    """Number of groups per iteration."""
    group_size: Annotated[Count, Field(ge=2)] = 8
    """G, the number of rollouts per group."""
    skill_share: Share = 0.5
    """Share of a group's rollouts that see the skill where there is one, rounded down. At least one rollout
    sees it and one does not. At 1 all rollouts see it, and nothing is proved. With
    ``validation.retrieval=none`` there is no skill arm."""
    temperature: NotNegative = 1.0
    """Temperature of sampling in training; 1 samples from the policy itself."""
    top_p: Annotated[Real, Field(gt=0, le=1)] = 1.0
    """Nucleus of sampling in training: the probability mass to keep; 1 keeps every token."""
    max_tokens: Count = 512
    """Most tokens of a turn's completion."""
    slots: Count = 128
    """Number of episodes that a process plays at the same time."""
    on_fault: Literal["drop", "stop"] = "drop"
    """What happens when an environment raises or hangs: ``drop`` loses its episode (``env/faults``), ``stop``
    ends the run."""
    overflow: Literal["end", "drop_oldest"] = "end"
    """What happens when a prompt does not fit the context: ``end`` truncates the episode, ``drop_oldest``
    leaves out the oldest turns after the first."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of the model that plays, in training and evaluation: a copy that follows the trained model, or
    vLLM's engine. With bfloat16, old log-probs are recomputed and importance weights are limited. With
    ``optimizer.shard``, the reference has this dtype too."""
    max_context: Count | None = None
    """Most tokens of prompt plus completion; None means the model's own limit."""
    engine_memory: Positive | None = None
    """GiB of vLLM's KV cache. None means as much as the ``slots`` episodes of a process need at
    ``max_context``."""
    processes: bool = False
    """Run each environment in its own process; for slow environments, and for those that may hang."""
    timeout: Positive = 120.0
    """Seconds that one reset or step of an environment may take; needs ``processes``."""
    part_timeout: Positive | None = 1800.0
    """Seconds that a user's part (environment, prompter, retriever, validator, gate, objective, hook) may
    take for one answer. After that the run ends and names the part. None waits for ever. Miners have
    ``mining.timeout``."""
    transfer: Literal["auto", "tensors", "checkpoint"] = "auto"
    """How new weights reach vLLM servers: as tensors, as a checkpoint that they reload, or as tensors where
    all servers take them (``auto``)."""
    sleep: bool = False
    """Give vLLM's GPU memory to the trainer while it learns; the next rollout takes it back."""
    chat_template_kwargs: dict[str, object] = Field(default={})
    """Variables of the policy's chat template, such as ``{enable_thinking: false}``, in training, evaluation
    and mining (docs/how-to/own-model.md)."""


class EvaluationConfig(Section):
    """How a policy is evaluated: it plays every task of a split once, under the plain prompt."""

    temperature: NotNegative = 0.4
    """Temperature of sampling in evaluation; 0 is greedy."""
    splits: tuple[str, ...] = ("valid_seen", "valid_unseen")
    """Splits to evaluate; splits that the data lacks are left out."""


class EpisodesConfig(Section):
    """Which episodes a run keeps in rollouts.jsonl (docs/reference/files.md)."""

    groups: Whole = 2
    """Number of groups of each iteration to keep whole, chosen at random: both arms, successes and failures.
    0 keeps none."""
    evaluation: Whole = 4
    """Number of episodes to keep for each split and arm of an evaluation; of all others only the outcome is
    kept."""
    megabytes: Positive = 16.0
    """Largest size of all kept groups together, in MB, spread evenly over the iterations. Groups that exceed
    the share so far are left out."""
