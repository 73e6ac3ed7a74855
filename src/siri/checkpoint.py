"""Everything of a run, saved at once and restored to the same continuation.

A checkpoint is a folder with weights (safetensors), optimizer state (tensors only, never unpickled code), the
skill bank, and state.json. manifest.json is written last and holds a checksum of every file; the folder is
written beside its place and renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from siri.curriculum import Curriculum, Phase, State
from siri.errors import CheckpointError
from siri.skills import PairedValidator, SkillBank
from siri.types import StopReason, Task, Trajectory, Turn

__all__ = ["latest", "restore", "save", "write_atomic"]

SCHEMA = 1
_FILES = ("weights.safetensors", "optimizer.pt", "skills.json", "state.json")


def write_atomic(path: Path, text: str) -> None:
    """Write ``text`` beside ``path`` and rename it into place."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)


def save(run: Curriculum, folder: Path, *, extra: Mapping[str, Any] | None = None, keep: int = 2) -> Path:
    """Save ``run`` into ``folder/<iteration>``; older ones beyond ``keep`` are removed.

    Args:
        run: between two iterations.
        folder: holds the checkpoints of one run.
        extra: plain data to store beside it; ``restore`` returns it.
        keep: checkpoints that stay.
    """
    target = folder / f"{run.state.index:06d}"
    fresh = folder / f".{target.name}.{os.getpid()}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    weights = {name: p.detach().cpu().contiguous() for name, p in run.policy.model.named_parameters()}
    save_file(weights, fresh / "weights.safetensors")
    torch.save(run.learner.state_dict(), fresh / "optimizer.pt")
    run.bank.save(fresh / "skills.json")
    state = asdict(run.state) | {"phase": run.state.phase.value}
    validator = run.validator.state_dict() if isinstance(run.validator, PairedValidator) else None
    pool = {kind: [_to_json(t) for t in kept] for kind, kept in run.pool.items()}
    body = {"schema": SCHEMA, "state": state, "validator": validator, "pool": pool, "extra": extra or {}}
    write_atomic(fresh / "state.json", json.dumps(body))
    sums = {name: _checksum(fresh / name) for name in _FILES}
    write_atomic(fresh / "manifest.json", json.dumps({"schema": SCHEMA, "sha256": sums}, indent=1))
    shutil.rmtree(target, ignore_errors=True)
    os.replace(fresh, target)
    for old in _complete(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def latest(folder: Path) -> Path:
    """The newest checkpoint of ``folder`` that is whole.

    Raises:
        CheckpointError: there is none; the message names every damaged one.
    """
    damaged = []
    for path in reversed(_complete(folder)):
        try:
            _verify(path)
        except CheckpointError as error:
            damaged.append(str(error))
            continue
        return path
    raise CheckpointError(
        f"got no whole checkpoint in {folder}, expected at least one; fix: start anew. {' '.join(damaged)}"
    )


def restore(run: Curriculum, path: Path) -> dict[str, Any]:
    """Bring ``run``, freshly composed from the same base and config, to the state saved at ``path``.

    Returns:
        What was given to ``save`` as ``extra``.

    Raises:
        CheckpointError: the checkpoint is damaged, of another schema, or of another model.
    """
    _verify(path)
    try:
        body = json.loads((path / "state.json").read_text(encoding="utf-8"))
        weights = load_file(path / "weights.safetensors")
        optimizer = torch.load(path / "optimizer.pt", weights_only=True)
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"got checkpoint {path} that cannot be read ({error})") from error
    own = dict(run.policy.model.named_parameters())
    if set(own) != set(weights) or any(own[n].shape != w.shape for n, w in weights.items()):
        raise CheckpointError(
            f"got weights of another model in {path}; fix: resume with the policy it began with"
        )
    with torch.no_grad():
        for name, value in weights.items():
            own[name].copy_(value)
    run.policy.reset_cache()
    run.learner.load_state_dict(optimizer)
    bank = SkillBank.load(path / "skills.json")
    for record in bank.records():
        run.bank.add(record.skill)
        run.bank.replace(record)
    if isinstance(run.validator, PairedValidator) and body["validator"] is not None:
        run.validator.load_state_dict(body["validator"])
    run.state = State(**{**body["state"], "phase": Phase(body["state"]["phase"])})
    run.pool = {kind: [_from_json(t) for t in kept] for kind, kept in body["pool"].items()}
    extra: dict[str, Any] = body["extra"]
    return extra


def _complete(folder: Path) -> list[Path]:
    """Checkpoints, oldest first; one that was not renamed into place does not count."""
    return sorted(p for p in folder.glob("[0-9]*") if (p / "manifest.json").is_file())


def _verify(path: Path) -> None:
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        schema, sums = manifest["schema"], manifest["sha256"]
        wrong = [name for name in _FILES if _checksum(path / name) != sums[name]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"got damaged checkpoint {path} ({error!r}).") from error
    if schema != SCHEMA:
        raise CheckpointError(f"got checkpoint {path} of schema {schema}, expected {SCHEMA}.")
    if wrong:
        raise CheckpointError(
            f"got damaged checkpoint {path}: {', '.join(wrong)} changed since it was saved."
        )


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


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
