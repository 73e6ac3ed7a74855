"""GRPO (arXiv 2402.03300) on episodes: each compared with the others of its task.

Deviations: μ and σ over trajectories, as the paper's over single-turn answers; the token mean runs over
the global mini-batch, where the paper's is a mean of means.
"""

from __future__ import annotations

from siri.recipes.method import Method, as_configured

GRPO_METHOD = Method(
    "grpo",
    "arXiv 2402.03300",
    "policy gradient with advantages relative to the group; no skills, no advantages of states",
    as_configured,
    settings={
        "advantage.omega": 0.0,
        "advantage.normalize": "mean_std",
        "advantage.statistics": "per_trajectory",
    },
    mines=False,
)
