"""`siri_both` for a small budget: training episodes end when wins of their kind would have.

Not published; it follows from this repository's study (docs/results.md). Deviations from `siri_both`: an
episode of training ends when it takes a quarter longer than wins of its kind. That pays in the first 30,000
environment steps or so. In longer runs `siri_both` ends higher.
"""

from __future__ import annotations

from dataclasses import replace

from siri.config import RunConfig
from siri.curriculum.hooks import Hooks
from siri.recipes.method import Method, Parts, Words
from siri.recipes.siri_both import SIRI_BOTH
from siri.rollout import WonHorizon


def make(config: RunConfig, words: Words) -> Parts:
    """Make the parts of `siri_both`, and the horizon."""
    parts = SIRI_BOTH.make(config, words)
    return replace(parts, hooks=replace(parts.hooks or Hooks(), horizon=WonHorizon()))


SIRI_ADAPTIVE = Method(
    "siri_adaptive",
    "this repository (docs/results.md)",
    "SIRI without phases: wins of both arms are distilled at once, each group draws the skill it tries, and "
    "episodes end when wins would have",
    make,
    settings=SIRI_BOTH.settings,
    text="skills",
)
