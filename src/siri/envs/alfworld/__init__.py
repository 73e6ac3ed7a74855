"""ALFWorld, played natively: household tasks in text (Shridhar et al. 2021, arXiv:2010.03768)."""

from siri.envs.alfworld.engine import State
from siri.envs.alfworld.env import ALFWorld
from siri.envs.alfworld.expert import Expert, solve
from siri.envs.alfworld.games import KINDS, Game, load_game, load_tasks
from siri.envs.alfworld.prompts import TranscriptPrompter, WindowPrompter

__all__ = [
    "KINDS",
    "ALFWorld",
    "Expert",
    "Game",
    "State",
    "TranscriptPrompter",
    "WindowPrompter",
    "load_game",
    "load_tasks",
    "solve",
]
