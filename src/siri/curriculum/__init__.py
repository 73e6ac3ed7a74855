"""The three phases of SIRI."""

from siri.curriculum.iteration import Iteration
from siri.curriculum.loop import Curriculum
from siri.curriculum.phases import Phase, State

__all__ = ["Curriculum", "Iteration", "Phase", "State"]
