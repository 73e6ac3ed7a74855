"""TextCraft: crafting an item from recipes (Prasad et al. 2023, arXiv:2311.05772)."""

from siri.envs.textcraft.env import Puzzle, TextCraft
from siri.envs.textcraft.expert import CraftExpert, plan
from siri.envs.textcraft.recipes import Book, Need, Recipe, load_book
from siri.envs.textcraft.suite import KINDS, goals, kind_of, textcraft_suite

__all__ = [
    "KINDS",
    "Book",
    "CraftExpert",
    "Need",
    "Puzzle",
    "Recipe",
    "TextCraft",
    "goals",
    "kind_of",
    "load_book",
    "plan",
    "textcraft_suite",
]
