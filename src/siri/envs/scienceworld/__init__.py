"""ScienceWorld (Wang et al. 2022, arXiv:2203.07540): experiments of elementary school, in text."""

from siri.envs.scienceworld.env import ScienceWorld, Variation
from siri.envs.scienceworld.suite import GoldExpert, scienceworld_suite
from siri.envs.scienceworld.tasks import TASKS, variations

__all__ = ["TASKS", "GoldExpert", "ScienceWorld", "Variation", "scienceworld_suite", "variations"]
