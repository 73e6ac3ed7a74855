"""The command line: a reference composition of the library's parts, one module a command.

Only this package prints, exits or configures logging.
"""

from siri.cli import compare, evaluate, games, play, run, skills  # importing a module registers its command
from siri.cli.app import app, main

__all__ = ["app", "compare", "evaluate", "games", "main", "play", "run", "skills"]
