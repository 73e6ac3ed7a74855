"""The files of one run. Refuses to touch what is not a run.

config.json      the resolved configuration, with where data and policy came from
versions.json    versions of siri, python and the main packages; git commit where there is one
metrics.jsonl    one line per iteration; everything but "time" is fixed by the seed
skills.json      the bank (skills.json.previous: the one before the last iteration)
episodes.jsonl   the episodes that skills came from
rollouts.jsonl   sampled episodes of training and evaluation (siri.runs.rollouts)
checkpoints/     everything needed to continue
model/           the policy, an ordinary transformers checkpoint
best/            the best one so far, likewise, where checkpoint.best is "weights"
summary.json     the table that ends a run (siri.runs.records)
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from siri.curriculum import Iteration
from siri.errors import CheckpointError, ConfigError
from siri.runs.records import EpisodeRow, Recipe, Summary
from siri.runs.shapes import metrics_row
from siri.storage import flush, leftovers, remove_leftovers, write_atomic
from siri.types import Trajectory

__all__ = ["RunDirectory", "versions"]

_LOCK = ".lock"
_STARTED = r"config\.json|versions\.json"
"""Files that a run begins with, as a pattern of whole names."""
_LINES = r"metrics\.jsonl|rollouts\.jsonl"
_WRITTEN = rf"{_STARTED}|{_LINES}|skills\.json|skills\.json\.previous|report\.html|summary\.json|model|best"
"""Names in a run's folder that are written elsewhere and renamed into place; checkpoints have numbers."""
_CHECKPOINT = "[0-9]{6,}"


class RunDirectory:
    """The files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.versions = path / "versions.json"
        self.metrics = path / "metrics.jsonl"
        self.skills = path / "skills.json"
        self.episodes = path / "episodes.jsonl"
        self.rollouts = path / "rollouts.jsonl"
        self.calls = path / "calls"
        self.summary = path / "summary.json"
        self.report = path / "report.html"
        self.model = path / "model"
        self.best = path / "best"
        self.checkpoints = path / "checkpoints"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder, so that no other process trains in it. The lock of a dead process is released.

        Nothing in the folder is changed before it is known to be a run of siri, or free for a new one.

        Raises:
            ConfigError: another process has the lock, the folder holds something else, or is not writable.
        """
        self._refuse_what_is_not_ours()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / _LOCK)
            # longer than the moment for which `held` takes the lock
            lock.acquire(timeout=0.2, poll_interval=0.02)
        except Timeout:
            raise ConfigError(
                f"got output folder {self.path} that another process trains in, expected a free one; "
                "fix: wait until it ends, or another out="
            ) from None
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            remove_leftovers(self.path, _WRITTEN)
            remove_leftovers(self.checkpoints, _CHECKPOINT)
            yield
        finally:
            lock.release()

    def is_run(self) -> bool:
        """Whether a run was started here. A model folder also has a config.json, but of another kind."""
        return self.config.exists() and self.versions.exists()

    def held(self) -> bool:
        """Whether a process is training here now."""
        if not (self.path / _LOCK).exists():
            return False
        try:
            with FileLock(self.path / _LOCK).acquire(timeout=0):
                return False
        except Timeout:
            return True
        except OSError:  # the lock is not writable: take the folder as not held
            return False

    def create(self, description: Mapping[str, Any]) -> None:
        """Start a run here.

        Raises:
            ConfigError: the folder holds a run or something else, is not a folder, or cannot be written.
        """
        self.refuse_taken()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error
        write_atomic(self.versions, json.dumps(versions(), indent=1, allow_nan=False))
        write_atomic(self.config, json.dumps(description, indent=1, allow_nan=False))

    def refuse_taken(self) -> None:
        """Refuse a folder where no run can be started.

        Raises:
            ConfigError: the folder holds a run or something else; nothing was written.
        """
        self._refuse_what_is_not_ours()
        if self.config.exists():
            raise ConfigError(
                f"got output folder {self.path} that holds a run, expected a new one; "
                "fix: another out=, or resume=True to continue it"
            )

    def _refuse_what_is_not_ours(self) -> None:
        """Refuse a folder that is not absent, empty, a run of siri, or a run whose start was cut short.

        Raises:
            ConfigError: the folder holds something else; nothing was written.
        """
        try:
            os.fspath(self.path).encode()
        except UnicodeEncodeError:
            raise ConfigError(
                f"got output folder {os.fsencode(self.path)!r:.120} whose name is not UTF-8, expected text; "
                "fix: another out="
            ) from None
        try:
            if not self.path.exists():
                return
            names = {path.name for path in self.path.iterdir()}
        except OSError as error:
            raise self._unwritable(error) from error
        if self.config.name in names:
            self.describe()
            return
        started = {_LOCK, *(path.name for path in leftovers(self.path, _STARTED))}
        if self.versions.name in names:
            self._read(self.versions, ("siri-rl", "python"))
            started.add(self.versions.name)
        if not names <= started:
            raise ConfigError(
                f"got output folder {self.path} that is not empty, expected a new one; fix: another out="
            )

    def _unwritable(self, error: OSError) -> ConfigError:
        return ConfigError(
            f"got output folder {self.path} that cannot be written ({error.strerror}), expected a free one; "
            "fix: another out="
        )

    def describe(self) -> dict[str, Any]:
        """Read config.json.

        Raises:
            ConfigError: the folder holds no run.
        """
        return self._read(self.config, ("env", "policy", "miner", "data", "config"))

    def recipe(self) -> Recipe:
        """Read the recipe of the run.

        Raises:
            ConfigError: the folder holds no run, or this version does not know one of its settings.
        """
        try:
            return Recipe.from_json(self.describe())
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(
                f"got a damaged {self.config} ({type(error).__name__}: {str(error)[:60]}), expected what "
                "siri wrote; fix: restore it"
            ) from error

    def results(self) -> Summary:
        """Read summary.json.

        Raises:
            ConfigError: the run is not finished, or there is none.
        """
        data = self._read(self.summary, ("env_steps", "iterations", "final", "skills"))
        try:
            return Summary.from_json(data)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ConfigError(
                f"got a damaged {self.summary} ({type(error).__name__}: {str(error)[:60]}), expected what "
                "siri wrote; fix: restore it"
            ) from error

    def truncate_metrics(self, iterations: int) -> None:
        """Delete the lines of iterations that a resumed run will repeat."""
        if self.metrics.exists():
            lines = self._lines(self.metrics)[:iterations]
            write_atomic(self.metrics, "".join(f"{line}\n" for line in lines))

    def refuse_lost_checkpoints(self, every: int, *, background: bool | None) -> None:
        """Refuse to begin again if checkpoints were written but are missing now.

        A run that was killed before its first checkpoint was sealed has none, and may begin again.

        Args:
            every: number of iterations between two checkpoints.
            background: whether checkpoints are sealed one checkpoint late; None means unknown.

        Raises:
            ConfigError: metrics.jsonl has more iterations than a run without a checkpoint can have; nothing
                was changed.
        """
        known, there = len(self._lines(self.metrics)), self.checkpoints.is_dir()
        late = 1 if background is False or not there else 2
        if known > late * every or (self.checkpoints.is_symlink() and not there):
            raise ConfigError(
                f"got {known} iterations in {self.metrics} and no checkpoint in {self.checkpoints}, expected "
                "one; fix: mount or restore that folder, or begin again in another one"
            )

    def append_metrics(self, iteration: Iteration, seconds: float) -> None:
        """Add one line to metrics.jsonl."""
        line = {
            "iteration": iteration.index,
            "phase": iteration.phase.value,
            **dict(sorted(iteration.metrics.items())),
            "events": list(iteration.events),
            "time": {"seconds": round(seconds, 3), **iteration.times},
        }
        try:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, allow_nan=False) + "\n")
            flush(self.metrics)
        except OSError as error:
            raise CheckpointError(
                f"got {error.strerror} while writing {self.metrics}, expected room and permission; fix: free "
                "the disk or its permissions, then continue with resume=True"
            ) from error

    def append_episodes(self, episodes: Sequence[Trajectory]) -> None:
        """Add the episodes that skills came from to episodes.jsonl, as text."""
        if episodes:
            with self.episodes.open("a", encoding="utf-8") as file:
                rows = [EpisodeRow.of(episode).to_json() for episode in episodes]
                file.writelines(json.dumps(row, allow_nan=False) + "\n" for row in rows)

    def read_episodes(self) -> dict[str, EpisodeRow]:
        """Read what ``append_episodes`` wrote, by id; a line that was cut off is left out."""
        found = {}
        for line in self._lines(self.episodes):
            with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
                row = EpisodeRow.from_json(json.loads(line))
                found[row.id] = row
        return found

    def read_metrics(self) -> list[dict[str, Any]]:
        """Read the lines of metrics.jsonl; a last line that was cut off is left out.

        Raises:
            ConfigError: any other line is damaged.
        """
        lines = self._lines(self.metrics)
        found = []
        for number, line in enumerate(lines, start=1):
            try:
                row = metrics_row(json.loads(line))
            except (ValueError, KeyError, OverflowError, RecursionError) as error:
                if number == len(lines):
                    break
                raise ConfigError(
                    f"got a damaged {self.metrics} (line {number}: {str(error)[:60]}), expected what siri wrote; "
                    "fix: restore it"
                ) from error
            found.append(row)
        return found

    def _lines(self, path: Path) -> list[str]:
        """Read the lines of a file; a file that does not exist has none.

        Raises:
            ConfigError: the file cannot be read, or is not text.
        """
        try:
            return path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not text"
            raise ConfigError(
                f"got {path} that cannot be read ({why}), expected what siri wrote; fix: restore it"
            ) from error

    def _read(self, path: Path, needed: Sequence[str]) -> dict[str, Any]:
        try:
            data: Any = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(
                f"got {self.path} without {path.name} ({error.strerror}), expected a run; fix: its path (a run "
                "that was stopped before its first iteration left nothing: start it again)"
            ) from error
        except (ValueError, RecursionError) as error:
            raise ConfigError(
                f"got a damaged {path} ({str(error)[:60]}), expected JSON; fix: restore it"
            ) from error
        missing = [key for key in needed if not isinstance(data, dict) or key not in data]
        if missing and path == self.config and isinstance(data, dict) and "model_type" in data:
            raise ConfigError(f"got {self.path}, a model, expected a run; fix: the folder of the run")
        if missing:
            raise ConfigError(
                f"got a damaged {path} without {missing[0]!r}, expected what siri wrote; fix: another run"
            )
        found: dict[str, Any] = data
        return found


def versions() -> dict[str, Any]:
    """The versions of siri, Python and the main packages; the git commit where there is one."""
    found: dict[str, Any] = {"python": platform.python_version()}
    for name in ("siri-rl", "torch", "transformers", "accelerate", "numpy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=os.path.dirname(__file__),
            capture_output=True,
            text=True,
            check=False,
        )
        found["git_commit"] = answer.stdout.strip() or None
    except OSError:
        found["git_commit"] = None
    return found
