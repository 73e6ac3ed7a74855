"""Estimating the memory and batches of a run from its configuration and the shape of the model alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from siri.config import RunConfig
from siri.errors import ConfigError
from siri.models.memory import KEYS_AND_VALUES
from siri.models.scoring import CHUNK
from siri.runs.checkpoint import BACKGROUND

__all__ = ["SHAPES", "Plan", "Shape", "plan", "shape_of"]

_FLOAT = 4
"""Bytes of a weight: training keeps float32, whatever the forward pass computes in."""
_PROMPT = {"alfworld": 2304, "webshop": 4288}
"""Tokens of the longest prompts, with skill block (docs/explanation/method.md)."""
_TURN = 40
"""Tokens that an observation adds to a transcript; the text before the first one has 8 times as many."""
_GIB = 2**30


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a Qwen2-like transformer."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    vocabulary: int
    tied: bool

    @property
    def kv(self) -> int:
        """Width of the keys, and of the values."""
        return self.hidden // self.heads * self.kv_heads

    @property
    def block(self) -> int:
        """Number of weights of one block."""
        attention = 2 * self.hidden * (self.hidden + self.kv) + self.hidden + 2 * self.kv
        return attention + 3 * self.hidden * self.intermediate + 2 * self.hidden

    @property
    def ends(self) -> int:
        """Number of weights outside the blocks: embedding, head (once if they are tied) and last norm."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2) + self.hidden

    @property
    def parameters(self) -> int:
        """Number of weights, tied ones counted once."""
        return self.layers * self.block + self.ends

    def adapter(self, rank: int, targets: Sequence[str] | None = None) -> int:
        """Number of weights of a LoRA adapter; targets None means all linear layers of the blocks."""
        h, kv, inner = self.hidden, self.kv, self.intermediate
        sums = {"q_proj": 2 * h, "k_proj": h + kv, "v_proj": h + kv, "o_proj": 2 * h}
        sums |= dict.fromkeys(("gate_proj", "up_proj", "down_proj"), h + inner)
        ends = sums if targets is None else [name.rpartition(".")[2] for name in targets]
        return self.layers * rank * sum(sums.get(name, 0) for name in ends)

    @property
    def activations(self) -> int:
        """How many numbers one block keeps for the backward pass of each token."""
        return 8 * self.hidden + 2 * self.kv + 4 * self.intermediate


SHAPES: Mapping[str, Shape] = {
    "Qwen2.5-0.5B": Shape(24, 896, 4864, 14, 2, 151_936, True),
    "Qwen2.5-1.5B": Shape(28, 1536, 8960, 12, 2, 151_936, True),
    "Qwen2.5-7B": Shape(28, 3584, 18_944, 28, 4, 152_064, False),
}
"""Known shapes, by name."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The memory and work of each process."""

    processes: int
    parameters: int
    memory: Mapping[str, float]
    """GiB by purpose, each at its largest."""
    moments: Mapping[str, float]
    """GiB on the device at each part of an iteration: start, playing, learning, pushing, saving."""
    host: float
    """GiB of the machine's memory for all its processes together, while a checkpoint is written."""
    shared: float
    """GiB of shared memory for the newest weights, where servers of this machine take them as tensors."""
    batches: Mapping[str, float]
    checkpoints: Mapping[str, float]
    """GB: of one checkpoint, of all kept ones with the one being written, of a process's copy of its part."""

    @property
    def total(self) -> float:
        """GiB in sum; the parts need not all be at their largest at the same time."""
        return sum(self.memory.values())


def shape_of(policy: str) -> Shape:
    """The shape of a model folder, or of a known name.

    Raises:
        ConfigError: ``policy`` is neither.
    """
    from siri.models.loading import as_config_errors
    from siri.policies.checkpoints import base_of, located
    from siri.policies.hub import refuse_word

    policy = str(base_of(located(policy)))
    if (Path(policy) / "config.json").is_file():
        from transformers import AutoConfig

        with as_config_errors(policy):
            c: Any = AutoConfig.from_pretrained(policy).get_text_config()
            # configurations like GPT-2's state neither the inner width nor the number of key heads
            inner = getattr(c, "intermediate_size", None) or 4 * c.hidden_size
            heads = c.num_attention_heads
            kv_heads = getattr(c, "num_key_value_heads", None) or heads
            sizes = (c.num_hidden_layers, c.hidden_size, inner, heads, kv_heads, c.vocab_size)
            if not all(isinstance(size, int) and 0 < size < 2**40 for size in sizes):
                raise ValueError(f"layers, widths, heads and words {sizes!r:.60}")
            return Shape(*sizes, bool(c.tie_word_embeddings))
    for name, shape in SHAPES.items():
        if Path(policy).name.removesuffix("-Instruct") == name:
            return shape
    refuse_word(policy)
    raise ConfigError(
        f"got policy {policy!r} of unknown shape, expected a model folder or one of {sorted(SHAPES)}; "
        "fix: policy=FOLDER"
    )


def plan(
    config: RunConfig,
    shape: Shape,
    *,
    processes: int = 1,
    env: str = "alfworld",
    engine: str = "hf",
    machine: int = 8,
    memory_of_device: int | None = None,
) -> Plan:
    """Estimate what each process needs; docs/how-to/scaling.md has the arithmetic.

    Args:
        config: configuration of the run.
        shape: shape of the model.
        processes: number of processes of the job.
        env: the benchmark, whose longest prompts are known.
        engine: the engine that samples, as ``siri.build.policy`` takes it. A server has its own memory.
        machine: number of processes on one machine.
        memory_of_device: memory of the device in bytes, which limits that of keys and values.
    """
    r, o, size = config.rollout, config.optimizer, shape.parameters
    rank = config.lora.rank
    trained = shape.adapter(rank, config.lora.targets) if rank else size
    spread = processes if o.shard else 1
    sharded = o.shard and processes > 1
    half = r.dtype == "bfloat16"
    apart = sharded or half or engine != "hf"
    width = 2 if half else _FLOAT
    reference = size * (width if sharded else _FLOAT) / spread
    context = _PROMPT.get(env, 4096) + r.max_tokens
    if config.env.style == "transcript":
        context = min(context, (8 + config.env.max_steps) * _TURN + config.env.max_steps * r.max_tokens)
    context = min(context, r.max_context or context)
    episodes = math.ceil(r.tasks * r.group_size / processes)
    slots = min(r.slots, episodes)
    tokens = max(context, min(o.max_tokens_per_micro_batch, _rows(config, episodes) * context))
    kept = shape.layers * shape.activations
    if o.gradient_checkpointing:
        kept = shape.layers * shape.hidden + shape.activations
    memory = {
        "weights in training": size * _FLOAT / spread,
        "adapter": trained * _FLOAT / spread if rank else 0,
        "gradients": trained * _FLOAT / spread,
        "optimizer": 2 * trained * _FLOAT / spread,
        # a block and the weights outside the blocks, whole during a pass, and their gradients before sharding
        "gathered for a pass": 2 * (shape.block + shape.ends) * _FLOAT if sharded else 0,
        "weights that play": size * width if apart and engine in ("hf", "vllm") else 0,
        "reference": reference if o.kl and not rank else 0,
        "activations": tokens * kept * (2 if o.precision == "bfloat16" else _FLOAT),
        "logits": 5 * min(CHUNK, tokens * shape.vocabulary) * 4,
        "KV cache": _cache(config, shape, slots * context, engine, memory_of_device),
    }
    moments = _moments(config, shape, memory, sharded=sharded, engine=engine, trained=trained / spread)
    batches = {
        "episodes an iteration": r.tasks * r.group_size,
        "episodes a process": episodes,
        "episodes side by side": slots,
        "most turns an iteration": r.tasks * r.group_size * config.env.max_steps,
        "optimizer steps an iteration": _steps(config) * o.epochs,
        "most tokens a pass": tokens,
    }
    # weights and AdamW's two moments: each process writes an equal part, from its own copy
    whole = 3 * trained * _FLOAT / 1e9
    best = whole if config.checkpoint.best else 0.0
    if config.checkpoint.best == "weights":  # as the policy saves itself
        best = trained * (width if sharded and engine == "hf" and not rank else _FLOAT) / 1e9
    saved = {
        "a checkpoint, GB": whole,
        "all checkpoints on the disk, GB": whole * (config.checkpoint.keep + 1) + best,
        "copy on the host while one is written, GB": whole / processes,
    }
    background = whole * 1e9 >= BACKGROUND if config.checkpoint.background is None else True
    host = whole * 1e9 / processes * min(processes, machine) if background else 0.0
    shared = size * width if engine not in ("hf", "vllm") and r.transfer != "checkpoint" else 0
    return Plan(
        processes,
        size,
        {name: value / _GIB for name, value in memory.items() if value},
        {name: value / _GIB for name, value in moments.items()},
        host / _GIB,
        shared / _GIB,
        batches,
        saved,
    )


def _cache(config: RunConfig, shape: Shape, tokens: int, engine: str, memory_of_device: int | None) -> float:
    """Bytes of keys and values in this process: those of ``tokens``, or as many as fit."""
    if engine not in ("hf", "vllm"):
        return 0.0
    if engine == "vllm" and config.rollout.engine_memory is not None:
        return config.rollout.engine_memory * _GIB
    width = 2 if config.rollout.dtype == "bfloat16" else _FLOAT
    wanted = float(tokens * shape.layers * 2 * shape.kv * width)
    if engine == "hf" and memory_of_device is not None:
        return min(wanted, KEYS_AND_VALUES * memory_of_device)
    return wanted


def _moments(
    config: RunConfig,
    shape: Shape,
    memory: Mapping[str, float],
    *,
    sharded: bool,
    engine: str,
    trained: float,
) -> dict[str, float]:
    """Bytes on the device at each part of an iteration."""
    names = ("weights in training", "adapter", "optimizer", "reference")
    held = sum(memory[name] for name in names)
    plays = memory["weights that play"] + memory["KV cache"]
    width = 2 if config.rollout.dtype == "bfloat16" else _FLOAT
    largest = shape.vocabulary * shape.hidden
    unit = max(shape.block, largest) * width if sharded or engine != "hf" else 0
    # HFPolicy drops its cache before learning, and an engine that sleeps frees all its memory
    awake = memory["weights that play"] if engine == "hf" else 0 if config.rollout.sleep else plays
    backward = memory["gradients"] + memory["gathered for a pass"] + memory["activations"] + memory["logits"]
    step = memory["gradients"] + trained * _FLOAT  # AdamW's own intermediate
    return {
        "start": held - memory["optimizer"] + plays + (largest * _FLOAT if sharded else 0),
        "playing": held + plays,
        "learning": held + awake + max(backward, step),
        "pushing": held + plays + unit,
        "saving": held + plays,
    }


def _steps(config: RunConfig) -> int:
    """Most optimizer steps of an epoch, if every episode takes as many turns as possible."""
    o, r = config.optimizer, config.rollout
    if o.batch_turns is None:
        return o.minibatches
    return math.ceil(r.tasks * r.group_size * config.env.max_steps / o.batch_turns)


def _rows(config: RunConfig, episodes: int) -> int:
    """Rows of an optimizer step in a process: one per episode for transcripts, else one per turn."""
    o = config.optimizer
    rows = episodes * (1 if config.env.style == "transcript" else config.env.max_steps)
    steps = o.minibatches if o.batch_turns is None else _steps(config)
    return math.ceil(rows / steps)
