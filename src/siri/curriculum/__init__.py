"""The three phases of SIRI."""

from siri.curriculum.loop import Curriculum, Iteration, Phase, State

__all__ = ["Curriculum", "Iteration", "Phase", "State"]
