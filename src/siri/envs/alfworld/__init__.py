"""ALFWorld, played natively: household tasks in text (Shridhar et al. 2021, arXiv:2010.03768)."""

from siri.envs.alfworld.engine import State
from siri.envs.alfworld.env import ALFWorld
from siri.envs.alfworld.expert import Expert, solve
from siri.envs.alfworld.games import KINDS, Game, Survey, load_game, load_tasks, survey
from siri.envs.alfworld.generator import generate_games
from siri.envs.alfworld.prompts import TranscriptPrompter, WindowPrompter
from siri.envs.alfworld.suite import HouseExpert, alfworld_suite

__all__ = [
    "KINDS",
    "ALFWorld",
    "Expert",
    "Game",
    "HouseExpert",
    "State",
    "Survey",
    "TranscriptPrompter",
    "WindowPrompter",
    "alfworld_suite",
    "generate_games",
    "load_game",
    "load_tasks",
    "solve",
    "survey",
]
