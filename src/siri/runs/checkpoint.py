"""Everything of a run, saved at once and restored to the same continuation.

A checkpoint is a sealed folder (``siri.storage``) of safetensors and JSON; nothing in it is code.
docs/checkpoints.md lists what it holds.
"""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from siri.config import RunConfig, parse_config
from siri.curriculum import Curriculum, Phase, State
from siri.errors import CheckpointError, ConfigError
from siri.protocols import TrainablePolicy
from siri.skills import SkillBank
from siri.storage import is_sealed, sealed_folder, verify
from siri.types import StopReason, Task, Trajectory, Turn

__all__ = ["latest", "load_policy", "progress_of", "restore", "save", "saved", "weights_of"]

SCHEMA = 2


def save(
    run: Curriculum,
    folder: Path,
    *,
    extra: Mapping[str, Any] | None = None,
    keep: int = 2,
    score: float | None = None,
) -> Path:
    """Save ``run`` as ``folder/<iteration>``; of the older ones the last ``keep`` and the best stay.

    Args:
        run: between two iterations; every process of the job calls this, the first writes.
        folder: holds the checkpoints of one run.
        extra: plain data to store beside it; ``restore`` returns it.
        keep: newest checkpoints that stay, at least 1.
        score: what "best" means, larger is better; None takes no part.

    Raises:
        CheckpointError: it could not be written; the older ones are intact.
    """
    target = folder / f"{run.state.index:06d}"
    # these two may need every process
    weights, learner = run.learner.weights(), run.learner.state_dict()
    if not run.processes.first:
        return target
    tensors, groups = flattened(learner["optimizer"])
    body = {
        "schema": SCHEMA,
        "score": score,
        "state": asdict(run.state) | {"phase": run.state.phase.value},
        "parts": {name: part.state_dict() for name, part in run.stateful.items()},
        "pool": {kind: [_to_json(t) for t in kept] for kind, kept in run.pool.items()},
        "optimizer": groups,
        "random": _random_state(),
        "config": run.config.model_dump(mode="json"),
        "extra": extra or {},
    }
    try:
        with sealed_folder(target) as fresh:
            save_file(weights, fresh / "weights.safetensors")
            save_file(tensors, fresh / "optimizer.safetensors")
            run.bank.save(fresh / "skills.json")
            (fresh / "state.json").write_text(json.dumps(body), encoding="utf-8")
    except SafetensorError as error:
        raise CheckpointError(
            f"got {error} while writing {target}, expected room on the disk; what was saved before is "
            "intact; fix: free the disk, then continue with resume=True"
        ) from error
    _prune(folder, keep)
    return target


def latest(folder: Path, *, damaged: Callable[[str], None] = lambda _: None) -> Path:
    """The newest checkpoint of ``folder`` that is whole.

    Args:
        folder: holds the checkpoints of one run.
        damaged: told of every newer one that was passed over, and why.

    Raises:
        CheckpointError: there is none; the message names every damaged one.
    """
    refused = []
    for path in reversed(saved(folder)):
        try:
            verify(path)
        except CheckpointError as error:
            refused.append(str(error))
            continue
        for message in refused:
            damaged(message)
        return path
    raise CheckpointError(
        f"got no whole checkpoint in {folder}, expected at least one; fix: start anew. {'; '.join(refused)}"
    )


def restore(run: Curriculum, path: Path) -> dict[str, Any]:
    """Bring ``run``, freshly composed from the same base and config, to the state saved at ``path``.

    Returns:
        What was given to ``save`` as ``extra``.

    Raises:
        CheckpointError: the checkpoint is damaged, of another schema, of another model or another config.
    """
    verify(path)
    body = _body(path)
    try:
        tensors = load_file(path / "optimizer.safetensors")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"got checkpoint {path} that cannot be read ({error})") from error
    try:
        # settings that an older version did not know have their defaults
        before = parse_config(body["config"])
    except ConfigError as error:
        raise CheckpointError(f"got checkpoint {path} of another version: {error}") from error
    _compare(before.model_dump(mode="json"), run.config.model_dump(mode="json"), path)
    weights = weights_of(path)
    run.learner.load_weights(weights)
    run.policy.sync(run.learner)
    run.learner.load_state_dict({"optimizer": unflattened(tensors, body["optimizer"])})
    run.bank.adopt(SkillBank.load(path / "skills.json"))
    for name, state in body["parts"].items():
        if name not in run.stateful:
            raise CheckpointError(
                f"got checkpoint {path} with the state of a {name}, expected a run whose {name} takes it; "
                f"fix: the {name} that the run began with"
            )
        run.stateful[name].load_state_dict(state)
    run.state = State(**{**body["state"], "phase": Phase(body["state"]["phase"])})
    run.pool = {kind: [_from_json(t) for t in kept] for kind, kept in body["pool"].items()}
    _set_random_state(body["random"])
    extra: dict[str, Any] = body["extra"]
    return extra


def _body(path: Path) -> dict[str, Any]:
    """state.json of the checkpoint at ``path``."""
    try:
        body: dict[str, Any] = json.loads((path / "state.json").read_text(encoding="utf-8"))
        if body["schema"] != SCHEMA:
            raise CheckpointError(
                f"got checkpoint {path} of schema {body['schema']}, expected {SCHEMA}; "
                "fix: the version of siri that wrote it"
            )
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"got checkpoint {path} that cannot be read ({error})") from error
    return body


def weights_of(path: Path) -> dict[str, Tensor]:
    """The weights in the checkpoint at ``path``, by parameter name, on the CPU.

    Raises:
        CheckpointError: they cannot be read.
    """
    try:
        return load_file(path / "weights.safetensors")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"got checkpoint {path} that cannot be read ({error})") from error


def progress_of(path: Path) -> dict[str, Any]:
    """What was given to ``save`` as ``extra``, read without a run.

    Raises:
        CheckpointError: it cannot be read.
    """
    extra: dict[str, Any] = _body(path)["extra"]
    return extra


def load_policy(policy: TrainablePolicy, path: Path, config: RunConfig) -> None:
    """Give ``policy``, as the run began with it, the weights of the checkpoint at ``path``.

    Raises:
        CheckpointError: they cannot be read, or are those of another model.
    """
    policy.adapt(config.lora, seed=config.seed)
    try:
        policy.sync(_Saved(weights_of(path)))
    except RuntimeError as error:
        first = (str(error).splitlines() or [""])[0]
        raise CheckpointError(
            f"got checkpoint {path} of another model ({first}), expected the run's; fix: the policy that it "
            "began with"
        ) from error


class _Saved:
    """Weights of a checkpoint, as the learner would stream them."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self.weights = weights

    def named_weights(self) -> Iterator[tuple[str, Tensor]]:
        """One after the other."""
        yield from self.weights.items()


def saved(folder: Path) -> list[Path]:
    """Checkpoints, oldest first, damaged ones among them; one that a kill cut short is none."""
    return sorted(path for path in folder.glob("[0-9]*") if is_sealed(path))


def _prune(folder: Path, keep: int) -> None:
    found = saved(folder)
    scores = {path: score for path in found if (score := _score(path)) is not None}
    best = max(found, key=lambda path: scores.get(path, -math.inf)) if scores else None
    for path in found[: -max(1, keep)]:
        if path != best:
            shutil.rmtree(path, ignore_errors=True)


def _score(path: Path) -> float | None:
    """What a checkpoint was saved with; a damaged one is never the best."""
    try:
        score = json.loads((path / "state.json").read_text(encoding="utf-8"))["score"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return score if isinstance(score, float) and math.isfinite(score) else None


def flattened(optimizer: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimizer's state as named tensors, and as plain data what is none."""
    tensors: dict[str, Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for index, entries in optimizer["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{index}/{name}"] = value.detach().cpu().contiguous()
            else:
                plain.setdefault(str(index), {})[name] = value
    return tensors, {"plain": plain, "groups": optimizer["param_groups"]}


def unflattened(tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> dict[str, Any]:
    state: dict[Any, dict[str, Any]] = {}
    for key, value in tensors.items():
        index, _, name = key.rpartition("/")
        state.setdefault(_index(index), {})[name] = value
    for index, entries in plain["plain"].items():
        state.setdefault(_index(index), {}).update(entries)
    return {"state": state, "param_groups": plain["groups"]}


def _index(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _random_state() -> dict[str, Any]:
    """siri draws from no global generator; a model's dropout or a user's environment may."""
    kind, words, gauss = random.getstate()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "python": [kind, list(words), gauss],
        "torch": _hex(torch.get_rng_state()),
        "cuda": [_hex(state) for state in cuda],
    }


def _set_random_state(state: Mapping[str, Any]) -> None:
    kind, words, gauss = state["python"]
    random.setstate((kind, tuple(words), gauss))
    torch.set_rng_state(_bytes(state["torch"]))
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([_bytes(text) for text in state["cuda"]])


def _hex(state: Tensor) -> str:
    return bytes(state.tolist()).hex()


def _bytes(text: str) -> Tensor:
    return torch.tensor(list(bytes.fromhex(text)), dtype=torch.uint8)


def _compare(saved: Mapping[str, Any], own: Mapping[str, Any], path: Path, prefix: str = "") -> None:
    """Refuse another configuration: the run would not go on, but turn into another one."""
    for key in sorted({*saved, *own}):
        before, now = saved.get(key), own.get(key)
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            _compare(before, now, path, f"{prefix}{key}.")
        elif before != now:
            raise CheckpointError(
                f"got {prefix}{key}={now!r}, expected {before!r} as in {path}; fix: restore the setting, "
                "or start a new run from RUN/model"
            )


def _to_json(trajectory: Trajectory) -> dict[str, Any]:
    """What a miner reads; token ids and anchors have done their work."""
    task = trajectory.task
    return {
        "id": trajectory.id,
        "task": [task.id, task.kind, task.goal, task.split],
        "turns": [[t.observation, t.action, t.text, t.valid, t.reward] for t in trajectory.turns],
        "final": trajectory.final_observation,
        "seed": trajectory.seed,
    }


def _from_json(data: Mapping[str, Any]) -> Trajectory:
    turns = tuple(
        Turn(observation, (), action, text, valid, reward, None)
        for observation, action, text, valid, reward in data["turns"]
    )
    return Trajectory(
        id=data["id"],
        task=Task(*data["task"]),
        arm="plain",
        skills=(),
        turns=turns,
        success=True,
        stop=StopReason.SUCCESS,
        final_observation=data["final"],
        seed=data["seed"],
    )
