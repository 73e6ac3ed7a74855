"""Playing episodes: suites, groups of rollouts, faults, worker processes, evaluation."""

from siri.rollout.episodes import GroupPlan
from siri.rollout.faults import DropEpisode, FailFast
from siri.rollout.horizon import Horizon, WonHorizon
from siri.rollout.play import Rollout
from siri.seeds import derive_seed

__all__ = ["DropEpisode", "FailFast", "GroupPlan", "Horizon", "Rollout", "WonHorizon", "derive_seed"]
