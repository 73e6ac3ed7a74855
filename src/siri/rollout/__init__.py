"""Playing episodes: suites, groups of rollouts, faults, worker processes, evaluation."""

from siri.rollout.episodes import GroupPlan
from siri.rollout.faults import DropEpisode, FailFast
from siri.rollout.play import Rollout
from siri.seeds import derive_seed

__all__ = ["DropEpisode", "FailFast", "GroupPlan", "Rollout", "derive_seed"]
