"""Optimizer steps on rows of tokens."""

from __future__ import annotations

import contextlib
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from torch import Tensor, nn

from siri import doors
from siri.algos.composition import needs_advantage
from siri.algos.objectives import Loss, TokenBatch, TokenScores
from siri.errors import ConfigError, PartFault, PartTimeout
from siri.models.adapters import has_adapter
from siri.models.dropout import remove_dropout
from siri.models.weights import Rows, whole
from siri.progress import Silent, during
from siri.protocols import Objective, Progress
from siri.training.batches import Totals, collate, micro_batches, minibatches
from siri.training.forward import Forward
from siri.training.job import on_cpu, start_processes
from siri.training.passes import Reference, Scorer, mode
from siri.training.rows import KINDS, Row, TopK
from siri.training.sharding import shard as spread
from siri.training.shards import Piece, Shards
from siri.training.silence import as_sampled, loud_and_silent
from siri.training.state import optimizer_settings, pieces, restore, trained
from siri.training.trial import try_objective

__all__ = ["Learner"]


class Learner:
    """Takes AdamW steps on a model with an objective.

    Every loss is normalised over the global mini-batch, so neither the micro-batch size nor the number of
    processes changes a step. ``model`` is updated in place and keeps its train/eval mode; its dropout is set
    to 0.

    Args:
        model: a transformers causal language model.
        objective: the loss.
        lr: constant learning rate.
        betas: β of AdamW.
        weight_decay: weight decay of matrices only, never of norms and biases.
        grad_clip: largest gradient norm.
        max_tokens_per_micro_batch: most padded tokens of one forward pass.
        minibatches: optimizer steps per epoch.
        batch_turns: turns of RL rows per optimizer step, instead of ``minibatches``; the last step takes the
            rest.
        epochs: passes over the rows of one update.
        reference: the frozen initial model, for an objective that needs it; with None a batch has no
            log-probs of it. A model with an adapter is evaluated without the adapter, and may be the one that
            is trained.
        pad_id: any token id of the model.
        recompute: take the old log-probs from the model before the first step, rather than those that the
            sampling engine reported. False saves a forward pass.
        accelerator: default ``Accelerator()``; give your own for its mixed precision.
        half: compute passes in bfloat16 (autocast); weights, gradients and AdamW stay float32.
        shard: shard weights, gradients and optimizer state over the processes (FSDP2), also those of the
            reference. Then no process has the whole ``model``; if the same model plays, give a copy.
        weights: reads the weights of ``model`` and ``reference`` where these have no memory (torch's meta
            device). Each process reads its own rows, and none ever has a whole model.
        taught: rows may have teachers. A batch without a teacher then has an empty ``teacher_mask``, rather
            than no field.
        top_k: number of a teacher's likeliest tokens that lessons may bring; batches then always have
            ``top``.
        skips_faults: skip a step whose objective raises or returns no loss, like one whose loss is not
            finite. Without it the fault is raised.
        progress: shows the optimizer steps of every update, as ``"learning"``.

    Raises:
        ConfigError: the objective needs a reference that is not given, or returns no loss.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        *,
        lr: float = 1e-6,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.01,
        grad_clip: float = 1.0,
        max_tokens_per_micro_batch: int = 16384,
        minibatches: int = 1,
        batch_turns: int | None = None,
        epochs: int = 1,
        reference: nn.Module | None = None,
        pad_id: int = 0,
        recompute: bool = True,
        accelerator: Accelerator | None = None,
        half: bool = False,
        shard: bool = False,
        weights: Rows | None = None,
        taught: bool = False,
        top_k: int = 0,
        skips_faults: bool = False,
        progress: Progress | None = None,
    ) -> None:
        for name, count in (
            ("max_tokens_per_micro_batch", max_tokens_per_micro_batch),
            ("minibatches", minibatches),
            ("batch_turns", 1 if batch_turns is None else batch_turns),
            ("epochs", epochs),
        ):
            if count < 1:
                raise ConfigError(f"got {name}={count}, expected at least 1; fix: use a positive number")
        self.objective = doors.objective(objective)
        if self.objective.needs_reference and reference is None:
            raise ConfigError(
                f"got an objective with a KL term ({objective}) and no reference, expected the frozen "
                f"initial model; fix: pass reference=..., or an objective without the term (kl=0)"
            )
        self._skips = needs_advantage(objective)
        try_objective(self.objective, reference=reference is not None, taught=taught, top_k=top_k)
        self.taught, self.top_k, self.skips_faults = taught, top_k, skips_faults
        self.progress = progress or Silent()
        self.grad_clip = grad_clip
        self.max_tokens = max_tokens_per_micro_batch
        self.minibatches = minibatches
        self.batch_turns = batch_turns
        self.epochs = epochs
        self.pad_id = pad_id
        self.recompute = recompute
        if accelerator is None:
            start_processes()
        self._accelerator = accelerator or Accelerator(cpu=on_cpu())
        self.model = model
        self.sharded = shard and self._accelerator.num_processes > 1
        remove_dropout(model)
        self._scorer: Any = Scorer(model, half=half)
        self._optimizer: Any
        compute = torch.bfloat16 if half or self._accelerator.mixed_precision == "bf16" else None
        if self.sharded:
            spread(self._scorer, compute, weights=weights, device=self._accelerator.device)
        else:
            self._scorer = self._accelerator.prepare(self._scorer)
        optimizer = torch.optim.AdamW(_parameter_groups(model, weight_decay), lr=lr, betas=betas)
        self._optimizer = self._accelerator.prepare(optimizer)
        self._forward = Forward(
            self._scorer, self._accelerator, max_tokens=max_tokens_per_micro_batch, pad_id=pad_id
        )
        self.trouble = ""
        """Why steps of the last update were skipped; empty when none were."""
        self._reference: Reference | None = None
        if reference is not None:
            self._reference = Reference(
                reference,
                # a model that is its own reference is already sharded
                scorer=self._scorer if self.sharded and reference is model else None,
                shard=self.sharded and not has_adapter(reference),
                compute=compute,
                half=half,
                weights=weights,
                device=self._accelerator.device,
            )

    @property
    def _spread(self) -> bool:
        """Whether the reference is sharded over the processes, so that each of its passes is a collective."""
        return self._reference is not None and self._reference.spread

    def update(self, rows: Sequence[Row], *, int_scale: float = 1.0, seed: int = 0) -> dict[str, float]:
        """Train on ``rows``; return the objective's metrics, averaged over the steps, and ``learn/…``.

        With several processes, each gets all rows and computes its share of them. The mini-batches, the loss
        and the gradient are the same as with one process.

        Args:
            rows: the rows, the same in every process.
            int_scale: λ(k); at 0 the rows of L_int are dropped and cost nothing.
            seed: fixes how the rows are shuffled into mini-batches.
        """
        rows = [row for row in rows if row.kind != "int" or int_scale != 0]
        steps = min(self._steps(rows), max(_count(rows, kind) for kind in KINDS))
        sums: defaultdict[str, float] = defaultdict(float)
        odd: defaultdict[str, int] = defaultdict(int)
        taken, self.trouble = 0, ""
        with mode(self._scorer, training=False):
            if self.recompute and steps:
                rows, gap = self._forward.recomputed(rows, skip=self._skips and self._alone)
                sums["learn/logprob_gap"] = gap
        epochs = self.epochs if steps else 0
        with mode(self._scorer, training=True), during(self.progress, "learning", epochs * steps):
            for epoch in range(epochs):
                for part in minibatches(rows, count=steps, seed=seed + epoch):
                    metrics = self._step(part, int_scale, measure_gap=not taken and not self.recompute)
                    taken += 1
                    for name, value in metrics.items():
                        # a skipped step may have metrics that are not finite; they must not spoil the others
                        if math.isfinite(value):
                            sums[name] += value
                        else:
                            odd[name] += 1
                    loss = metrics["learn/loss"]
                    self.progress.advance("learning", loss=loss if math.isfinite(loss) else 0.0)
        once = ("learn/logprob_gap", "learn/skipped")
        averaged = {
            name: value if name in once else value / (taken - odd[name]) for name, value in sums.items()
        }
        return averaged | {
            "learn/steps": float(taken),
            "learn/rows": float(len(rows)),
            "learn/tokens": float(sum(row.tokens for row in rows)),
        }

    def _steps(self, rows: Sequence[Row]) -> int:
        """Number of optimizer steps in an epoch over ``rows``."""
        turns = Totals.of(rows).rl_turns
        if self.batch_turns is None or not turns:
            return self.minibatches
        return math.ceil(turns / self.batch_turns)

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        device: torch.device = self._accelerator.device
        return device

    def gap(self, rows: Sequence[Row]) -> float:
        """Mean of log π(old) − log π(now) over the internalised tokens of ``rows``, under the plain prompts.

        For fresh rows before an update, this is the gap that distillation has to close. The gap that the
        objective reports includes replayed rows, and comes from the middle of its steps. A collective; 0
        without such tokens.
        """
        return self._forward.gap(rows)

    def score(self, rows: Sequence[Row]) -> list[tuple[tuple[float, ...], ...]]:
        """Log-probs of the sampled tokens of every row, by span, under the current weights.

        A collective: every process gets all rows, computes its share, and returns all numbers. It changes
        neither the weights nor a generator nor the mode of the model.
        """
        return self._forward.score(rows)

    def likeliest(self, rows: Sequence[Row], k: int) -> list[tuple[TopK, ...]]:
        """The k likeliest tokens at every sampled token of RL rows, by span; a collective like ``score``."""
        return self._forward.likeliest(rows, k)

    def named_weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield parameters and persistent buffers by name, tied ones once; with an adapter, only its own.

        They come unsharded and one after the other, so no process ever holds a second model. A collective:
        every process iterates to the end.
        """
        for name, value in trained(self.model).items():
            yield name, whole(value)

    def weights(self) -> dict[str, Tensor]:
        """The tensors that ``named_weights`` yields, on the CPU."""
        return {name: value.cpu().contiguous() for name, value in self.named_weights()}

    def pieces(self) -> Iterator[Piece]:
        """This process's part of the weights and of the optimizer's state, for a checkpoint."""
        return pieces(self.model, self._optimizer)

    def set_lr(self, lr: float) -> None:
        """Set the learning rate of the next steps."""
        for group in self._optimizer.param_groups:
            group["lr"] = lr

    def settings(self) -> dict[str, Any]:
        """The optimizer's state other than tensors, as JSON values."""
        return optimizer_settings(self._optimizer)

    def restore(self, saved: Shards, settings: Mapping[str, Any]) -> None:
        """Restore what ``pieces`` and ``settings`` returned, whatever the number of processes that wrote it.

        Raises:
            CheckpointError: they belong to another model, or cannot be read.
        """
        restore(self.model, self._optimizer, saved, settings)

    def _step(self, rows: Sequence[Row], int_scale: float, *, measure_gap: bool) -> dict[str, float]:
        totals = Totals.of(rows)
        totals = replace(totals, teaches=totals.teaches or self.taught, top_k=max(totals.top_k, self.top_k))
        metrics: defaultdict[str, float] = defaultdict(float)
        # kinds are kept apart, as rows of L_int need no pass of the reference model
        own = self._forward.share(rows)
        kinds = [[row for row in own if row.kind == kind] for kind in KINDS]
        parts = [part for some in kinds for part in micro_batches(some, max_tokens=self.max_tokens)]
        filler = parts[:1] or micro_batches(rows[:1], max_tokens=self.max_tokens)
        # Every process must run equally many passes: those with fewer parts repeat one that does not count.
        idle = self._forward.most(len(parts)) - len(parts)
        # the same holds for a sharded reference, which only RL rows need
        referred = sum(part[0].kind == "rl" for part in parts)
        referred = self._forward.most(referred) if self._spread else 0
        live = [True] * len(parts) + [False] * idle
        fault = ""
        ahead, passed = len(live), False
        for number, (part, counts) in enumerate(zip(parts + filler * idle, live, strict=True)):
            ahead -= 1
            loud, silent = loud_and_silent(part) if self._alone and self._skips else (part, [])
            if silent:
                batch = self._batch(silent, totals, int_scale, counts, joins=False)
                for name, value in doors.valued(self.objective, batch, as_sampled(batch)).metrics.items():
                    metrics[name] += value
            if not loud:
                continue
            passed = True
            batch = self._batch(loud, totals, int_scale, counts, joins=number < referred)
            with self._synced(not ahead):
                scores = TokenScores(*self._scorer(batch))
                try:
                    loss = doors.valued(self.objective, batch, scores)
                except PartFault as error:
                    if not self.skips_faults or isinstance(error, PartTimeout):
                        raise
                    # every process must finish the pass; the step is then skipped in all of them
                    loss, fault = Loss(scores.logprobs.sum() * math.nan, {}), str(error)
                # Gradients are averaged over processes, and the loss is a sum over them.
                self._accelerator.backward(loss.value * self._accelerator.num_processes)
            metrics["learn/loss"] += float(loss.value.detach())
            for name, value in loss.metrics.items():
                metrics[name] += value
            if measure_gap:
                gap = (scores.logprobs.detach() - batch.old_logprobs).abs()[batch.rl_mask].sum()
                metrics["learn/logprob_gap"] += float(gap) / max(totals.rl_tokens, 1.0)
        metrics["learn/loss"] += 0.0
        if measure_gap:
            metrics["learn/logprob_gap"] += 0.0
        if not passed:
            self._rest()
        reduced = {name: self._forward.total(value) for name, value in metrics.items()}
        norm = float(whole(self._accelerator.clip_grad_norm_(self._scorer.parameters(), self.grad_clip)))
        usable = math.isfinite(norm) and math.isfinite(reduced.get("learn/loss", 0.0))
        if usable:
            self._optimizer.step()
        elif fault:
            self.trouble = fault
        elif math.isfinite(norm) or not math.isfinite(reduced["learn/loss"]):
            self.trouble = f"the loss was {reduced['learn/loss']}"
        else:
            self.trouble = f"the gradient norm was {norm}"
        self._optimizer.zero_grad()
        return reduced | {"learn/grad_norm": norm if usable else 0.0, "learn/skipped": float(not usable)}

    @property
    def _alone(self) -> bool:
        """Whether this is the only process, so that no other one waits for its passes."""
        return bool(self._accelerator.num_processes == 1)

    def _rest(self) -> None:
        """Set gradients to 0, as passes without a signal would: AdamW still moves by its momentum."""
        for group in self._optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)

    @contextlib.contextmanager
    def _synced(self, last: bool) -> Iterator[None]:
        """Exchange gradients between processes only in the last pass of a step."""
        if self.sharded:
            self._scorer.set_requires_gradient_sync(last)
            yield
        else:
            with contextlib.nullcontext() if last else self._accelerator.no_sync(self._scorer):
                yield

    def _batch(
        self, rows: Sequence[Row], totals: Totals, int_scale: float, counts: bool, joins: bool
    ) -> TokenBatch:
        """Make a batch. ``counts``: its tokens count; ``joins``: a sharded reference needs a pass now."""
        batch = collate(rows, pad_id=self.pad_id, totals=totals, int_scale=int_scale)
        batch = batch.to(self._accelerator.device)
        needed = counts and rows[0].kind == "rl"
        if self._reference is not None:
            found = torch.zeros_like(batch.old_logprobs)
            if needed or joins:
                with self._accelerator.autocast():
                    given = self._reference.logprobs(batch)
                found = given if needed else found
            batch = replace(batch, reference_logprobs=found)
        if not counts:
            nothing = torch.zeros_like(batch.rl_mask)
            return replace(batch, rl_mask=nothing, int_mask=nothing, writer_mask=nothing)
        return batch


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]


def _count(rows: Sequence[Row], kind: str) -> int:
    return sum(row.kind == kind for row in rows)
