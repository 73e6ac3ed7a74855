"""Every setting of a run, one model per concern. Frozen; unknown keys and impossible values are refused.

Defaults are the paper's scale (ALFWorld, Qwen2.5-7B); ``siri.config.presets`` has those of a laptop.
Where a default comes from is in docs/explanation/method.md.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

__all__ = [
    "AdvantageConfig",
    "ChatConfig",
    "CheckpointConfig",
    "EnvConfig",
    "EnvSettings",
    "EpisodesConfig",
    "EvaluationConfig",
    "InternalizationConfig",
    "LoRAConfig",
    "MiningConfig",
    "OptimizerConfig",
    "RolloutConfig",
    "RunConfig",
    "ValidationConfig",
    "WarmupConfig",
]


def _number(value: object) -> object:
    """A number, or text that is plainly one: neither a truth value nor ``"010"``."""
    if isinstance(value, bool) or (isinstance(value, str) and not _PLAIN.fullmatch(value)):
        raise ValueError("a number was expected")
    return value


_PLAIN = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_LARGEST = 3.4e38
"""Of what a float32 tensor holds."""

Integer = Annotated[int, BeforeValidator(_number), Field(le=2**63 - 1)]
Real = Annotated[float, BeforeValidator(_number), Field(le=_LARGEST)]
Count = Annotated[Integer, Field(ge=1, le=1_000_000_000)]
Whole = Annotated[Integer, Field(ge=0)]
Share = Annotated[Real, Field(ge=0, le=1)]
Positive = Annotated[Real, Field(gt=0)]
NotNegative = Annotated[Real, Field(ge=0)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class EnvSettings(_Section):
    """Base of the settings that an environment of one's own may have; the text below a field describes it."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class EnvConfig(_Section):
    """The benchmark: games and how they are shown."""

    max_steps: Count = 50
    """Actions until an episode is truncated."""
    style: Literal["transcript", "window", "compact", "calls"] = "window"
    """``transcript`` is the embedded policy's on ALFWorld, ``compact`` on WebShop; ``window`` is the
    papers'; ``calls`` is for tools.
    """
    history: Whole = 2
    """Turns shown by the window style."""
    train_games: Count = 480
    """Games to generate when no data folder is given."""
    valid_games: Count = 200
    """Games to generate for each validation split."""
    scale: Positive = 1.0
    """Room size of generated games; 1 is the size of the real ones."""
    games_seed: Whole = 0
    """Seed of what is generated: games or catalogue."""
    kinds: tuple[str, ...] | None = None
    """Kinds of task; None is all of them."""
    catalog: Literal["tiny", "small", "large"] = "small"
    """WebShop: the bundled catalogue that is taken when no data folder is given; ``games_seed`` is its
    seed.
    """
    products: Count | None = None
    """WebShop: load the first so many records of the data folder; None is all."""
    human: bool = False
    """WebShop: crowd-sourced instructions instead of synthetic ones."""
    splits: Literal["verl-agent", "original"] = "verl-agent"
    """WebShop: which goals validate, see ``siri.envs.webshop.split_goals``."""
    shuffle_seed: Whole = 233
    """WebShop: seed of the goals' order; 233 is upstream's."""
    rewards: Literal["training", "score"] = "training"
    """WebShop: 10 for a perfect purchase and 0 otherwise (verl-agent), or the task score in [0, 1]."""
    valid_goals: Count | None = None
    """WebShop: evaluate on the first so many goals of each validation split; None is all."""
    options: dict[str, JsonValue] = {}
    """The environment's own settings, which ``siri envs NAME`` lists."""


class RolloutConfig(_Section):
    """How experience is gathered."""

    tasks: Count = 16
    """Groups per iteration."""
    group_size: Annotated[Count, Field(ge=2)] = 8
    """Rollouts per group, G."""
    skill_share: Share = 0.5
    """Share of a group that sees the skill where one is eligible, rounded down; at least one rollout does and
    one does not (``validation.retrieval=none``: no skill arm). 1: all do, and nothing is proved."""
    temperature: NotNegative = 1.0
    """Of sampling in training; 1 is the policy itself."""
    top_p: Annotated[Real, Field(gt=0, le=1)] = 1.0
    """Nucleus of sampling; 1 keeps every token."""
    max_tokens: Count = 512
    """Longest completion of a turn, in tokens."""
    slots: Count = 128
    """Episodes played side by side."""
    on_fault: Literal["drop", "stop"] = "drop"
    """An environment that raises or hangs costs its episode (``env/faults``), or stops the run."""
    overflow: Literal["end", "drop_oldest"] = "end"
    """A prompt that does not fit ends its episode as truncated, or loses its oldest turns after the first."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the copy that plays and of the reference model, where ``optimizer.shard`` keeps them apart."""
    processes: bool = False
    """Give each environment a process of its own: for slow ones, and for ones that may hang."""
    timeout: Positive = 120.0
    """Seconds that one reset or step may take; needs ``processes``."""
    sleep: bool = False
    """vLLM gives its GPU memory to the trainer while it learns; the next rollout takes it back."""
    chat_template_kwargs: dict[str, object] = {}
    """Variables of the policy's chat template, such as ``{enable_thinking: false}``: in training, evaluation
    and mining (docs/how-to/own-model.md)."""


class AdvantageConfig(_Section):
    """GiGPO, as ``siri.algos.gigpo_advantages`` takes it."""

    estimator: Literal["joint", "per_arm", "plain_baseline"] = "joint"
    """Whom a rollout is compared with: its whole group, its own arm, or the mean of the plain arm."""
    gamma: Share = 0.95
    """Discount γ of the step returns."""
    omega: NotNegative = 1.0
    """Weight ω of the step advantage; 0 leaves the episode advantage alone (GRPO)."""
    normalize: Literal["mean_std", "mean"] = "mean_std"
    """Divide by the standard deviation of the group, or not (Dr. GRPO)."""
    statistics: Literal["per_turn", "per_trajectory"] = "per_turn"
    """Mean and deviation over the turns of a group (verl-agent) or over its trajectories (the paper's)."""
    invalid_penalty: NotNegative = 0.1
    """c, taken from a turn's own score when its action was refused."""
    failed_groups: Literal["bounded", "verl-agent"] = "bounded"
    """Where every rollout failed, a penalty keeps the size it has next to a success, or fills σ alone."""
    similarity: Share | None = None
    """Least cosine of word counts at which two observations are one anchor; None: the environment's."""


class OptimizerConfig(_Section):
    """Loss coefficients and the optimizer."""

    lr: Positive = 1e-6
    """Constant learning rate of AdamW."""
    weight_decay: NotNegative = 0.01
    """Of AdamW, decoupled."""
    grad_clip: Positive = 1.0
    """Largest global gradient norm."""
    minibatches: Count = 4
    """Optimizer steps per epoch over an iteration's rows."""
    batch_turns: Count | None = None
    """Turns per optimizer step instead, so that what was played says how many there are; None: as above."""
    epochs: Count = 1
    """Passes over an iteration's rows."""
    max_tokens_per_micro_batch: Count = 16384
    """Padded tokens of one forward pass; memory only, the loss stays the same."""
    clip_low: Positive = 0.2
    """The ratio is clipped below 1 − this."""
    clip_high: Positive = 0.2
    """The ratio is clipped above 1 + this."""
    dual_clip: Annotated[Real, Field(gt=1)] | None = 3.0
    """Largest loss of a token with A < 0, as a multiple of |A|; None: no limit."""
    ratio: Literal["token", "sequence"] = "token"
    """Importance ratios of tokens, or of whole completions (GSPO)."""
    aggregation: Literal["token", "sequence"] = "token"
    """Whether every token weighs the same in the surrogate, or every completion."""
    importance_limit: Positive | None = None
    """Largest weight π_trainer / π_engine of a token, against engine mismatch; None: no weights."""
    kl: NotNegative = 0.01
    """β, weight of the k3 divergence from the initial model; 0 needs no reference model."""
    entropy: NotNegative = 0.001
    """c_H, weight of the entropy bonus."""
    shard: bool = False
    """FSDP2: weights, gradients and optimizer state spread over the processes; rollouts keep a whole copy."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: about a third more time, far less memory."""
    recompute: bool = True
    """Recompute the old log-probs with the trainer; False takes those stored at sampling."""


class LoRAConfig(_Section):
    """A LoRA adapter instead of all weights (extra ``lora``); without dropout."""

    rank: Whole = 0
    """Of the two factors; 0 trains every weight. The reference is the model with the adapter off."""
    alpha: Positive = 32.0
    """The adapter's output is scaled by alpha / rank."""
    targets: tuple[str, ...] | None = None
    """Endings of the names of linear layers; None is all of them but the vocabulary head."""


class WarmupConfig(_Section):
    """Phase 0: when it ends."""

    successes: Whole = 256
    """Plain successes so far, N_req."""
    max_iterations: Whole = 60
    """Iterations after which the phase ends all the same."""


class MiningConfig(_Section):
    """Phase 1: when skills are mined and when the phase ends."""

    every: Count = 10
    """Iterations between two minings, I_mine."""
    keep: Count = 32
    """Successful episodes kept for mining, newest first, per kind."""
    max_skills: Count = 3
    """Skills per kind and mining."""
    max_per_request: Count = 4
    """Episodes of one kind shown in a request."""
    samples: Count = 4
    """Summaries asked for per kind; pairs that say the same are votes."""
    temperature: NotNegative = 0.7
    """Of the summaries, whoever writes them."""
    form: Literal["auto", "json", "actions", "compact", "calls"] = "auto"
    """What a writer reads and writes: ``json`` is whole episodes, and a list of skills as JSON;
    ``actions``, ``compact`` and ``calls`` are the languages of the embedded policies, on ALFWorld, in the
    shop and in the world of tools.
    ``auto`` is the own language of an embedded policy, and JSON for every other one."""
    reply_tokens: Count | None = None
    """Longest reply of a writer; None is what the prompt needs. Raise it for models that think first."""
    timeout: Positive | None = 3600.0
    """Seconds that one mining may take; a miner that hangs costs its skills. None waits for ever."""
    capacity: Count | None = None
    """Most live skills of a kind (``SkillBank``: which one makes room); None is no limit."""
    max_failures: Count | None = None
    """Stop the run after this many failed minings in a row; None warns and continues without new skills."""
    min_active: Whole = 8
    """ACTIVE skills that end the phase …"""
    min_iterations: Whole = 20
    """… after at least so many iterations."""
    max_iterations: Whole = 60
    """Iterations after which the phase ends all the same."""


class ChatConfig(_Section):
    """How a hosted model is asked for skills (miner ``openai``)."""

    timeout: Positive = 60.0
    """Seconds for one attempt, the whole reply included."""
    max_retries: Whole = 3
    """Attempts after the first one of a request."""
    concurrency: Count = 4
    """Requests on the way at once."""
    max_requests: Count | None = None
    """Attempts that the run may pay for; afterwards it goes on with the skills it has."""
    max_tokens: Count | None = None
    """Prompt and completion tokens that the run may pay for."""
    reply_tokens: Count | None = None
    """Longest reply of the hosted writer; None is ``mining.reply_tokens``."""


class ValidationConfig(_Section):
    """How a skill is proved, and which skills a group is shown."""

    rule: Literal["threshold", "confidence", "sequential"] = "threshold"
    """threshold is the paper's; the other two hold their error at any time (docs/explanation/skills.md)."""
    confidence: Annotated[Real, Field(gt=0, lt=1)] = 0.95
    """Coverage of the intervals, at every moment at once."""
    min_effect: Annotated[Real, Field(gt=0, lt=1)] = 0.1
    """sequential: a skill that cannot be worth this much is given up."""
    max_groups: Count = 128
    """sequential: groups after which an undecided skill is given up."""
    caught_up: Annotated[Real, Field(gt=0, le=1)] = 0.5
    """Share of the arms' first distance that the plain arm must make up before a skill is INTERNALIZED."""
    retrieval: Literal["lexical", "embedding", "all", "none"] = "lexical"
    """How proven skills are ranked for a task; ``all`` shows every one, ``none`` none."""
    embedding_model: str | None = None
    """Folder of a sentence-transformers model."""
    n_eval: Count = 8
    """N_eval: groups until the utility is judged and becomes a moving mean."""
    ema: Annotated[Real, Field(gt=0, le=1)] = 0.1
    """Rate of that exponential moving mean."""
    activate: Annotated[Real, Field(ge=-1, le=1)] = 0.02
    """τ: a candidate above it becomes ACTIVE (threshold rule)."""
    retire: Annotated[Real, Field(ge=-1, le=1)] = -0.02
    """A skill below it is RETIRED (threshold rule) …"""
    patience: Count = 2
    """… after so many updates in a row."""
    max_age: Count = 40
    """Iterations after which a candidate short of ``n_eval`` groups is given up."""
    shrink: NotNegative = 0.0
    """Weight of the mean of the kind's other skills in a utility, in groups; 0 is none."""
    top_k: Count = 2
    """ACTIVE skills that a task is shown."""
    candidate_share: Share = 0.5
    """Share of groups that try a candidate where a kind has active skills too."""


class InternalizationConfig(_Section):
    """Phase 2: distilling skills into the plain prompt."""

    iterations: Whole = 90
    """Length of the phase."""
    peak: NotNegative = 0.1
    """λ_max."""
    warmup: Count = 20
    """Iterations until λ reaches its peak, K_w."""
    max_weight: Positive = 2.0
    """w_max of w = clip(A, 0, w_max)."""
    floor: Share = 0.02
    """Least share of response tokens that L_int is divided by, so that a few gated ones do not dominate."""
    scope: Literal["response", "action_span"] = "response"
    """Tokens that are distilled: the whole completion, or the action's own."""
    level: Literal["episode", "group", "skill"] = "episode"
    """Whose benefit opens the gate: that of the rollout, of its group, or of the skill so far."""
    replay: Whole = 0
    """Past iterations, phase 1 among them, whose helpful skill rollouts are distilled in each one of phase 2
    if their skills are proven by then, weighted as they were. 0: each win once, while its skill is active."""
    token_clip: NotNegative | None = None
    """ε of an importance ratio in L_int, for an ablation; None: cross-entropy."""


class EvaluationConfig(_Section):
    """How a policy is measured: every task of a split once, plain prompt."""

    temperature: NotNegative = 0.4
    """Of sampling; 0 is greedy."""
    splits: tuple[str, ...] = ("valid_seen", "valid_unseen")
    """Splits to enumerate; those that the data lacks are left out."""


class CheckpointConfig(_Section):
    """When a run is saved, and what stays."""

    every: Count = 1
    """Iterations between two checkpoints; one is written at the end of each phase as well."""
    keep: Count = 2
    """Newest checkpoints that stay."""
    best: bool = True
    """Keep the one with the best plain success too (mean of the last five iterations)."""
    background: bool | None = None
    """Write while the run continues, from a copy in the machine's memory; None: from 1 GB on."""


class EpisodesConfig(_Section):
    """Which episodes a run keeps in rollouts.jsonl (docs/reference/files.md)."""

    groups: Whole = 2
    """Groups of each iteration, chosen at random and kept whole: both arms, failures too; 0 keeps none."""
    evaluation: Whole = 4
    """Episodes of each split and arm of an evaluation; of the others, the outcomes are kept."""
    megabytes: Positive = 16.0
    """Largest size of the groups; each iteration has its share, and what would exceed it is left out."""


class RunConfig(_Section):
    """A whole run."""

    seed: Whole = 0
    """Of everything: tasks, sampling, batches, mining."""
    max_env_steps: Count | None = None
    """End the run after the iteration that reaches this many environment steps."""
    threads: Count | None = None
    """CPU threads of each process; None: ``OMP_NUM_THREADS``, else one for a small model and all cores for a
    larger one. Several threads on a busy machine wait for each other."""
    env: EnvConfig = EnvConfig()
    rollout: RolloutConfig = RolloutConfig()
    advantage: AdvantageConfig = AdvantageConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    lora: LoRAConfig = LoRAConfig()
    warmup: WarmupConfig = WarmupConfig()
    mining: MiningConfig = MiningConfig()
    chat: ChatConfig = ChatConfig()
    validation: ValidationConfig = ValidationConfig()
    internalization: InternalizationConfig = InternalizationConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    episodes: EpisodesConfig = EpisodesConfig()
