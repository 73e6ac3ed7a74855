"""SIRI (arXiv 2606.02355).

Skills of one's own, proved by paired rollouts, distilled into the plain prompt.

Deviations: docs/explanation/method.md says what the paper leaves open. The authors' code was not published.
"""

from __future__ import annotations

from siri.recipes.method import Method, as_configured

SIRI = Method(
    "siri",
    "arXiv 2606.02355",
    "GiGPO; skills mined from own wins and proved in pairs; what helps is distilled into the plain prompt",
    as_configured,
)
