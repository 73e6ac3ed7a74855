"""Methods that turn skills into weights, each a short composition of siri's parts.

``siri run --recipe NAME`` runs one.
"""

from __future__ import annotations

from collections.abc import Mapping

from siri.errors import ConfigError
from siri.plugins import load_plugin, require_call
from siri.recipes.agent_opsd import AGENT_OPSD
from siri.recipes.d2skill import D2SKILL
from siri.recipes.gigpo import GIGPO
from siri.recipes.grpo import GRPO_METHOD
from siri.recipes.grsd import GRSD
from siri.recipes.method import Method, Parts, from_bank, given, policy_loss
from siri.recipes.opid import OPID
from siri.recipes.rlsd import RLSD
from siri.recipes.sdar import SDAR
from siri.recipes.self_imitation import SELF_IMITATION
from siri.recipes.siri import SIRI
from siri.recipes.siri_adaptive import SIRI_ADAPTIVE
from siri.recipes.siri_both import SIRI_BOTH
from siri.recipes.skill0 import SKILL0
from siri.recipes.skill_sd import SKILL_SD
from siri.recipes.skillrl import SKILLRL
from siri.recipes.ucob import UCOB

__all__ = ["METHODS", "Method", "Parts", "from_bank", "given", "method", "policy_loss"]

METHODS: Mapping[str, Method] = {
    found.name: found
    for found in (
        SIRI,
        SIRI_BOTH,
        SIRI_ADAPTIVE,
        SELF_IMITATION,
        GIGPO,
        GRPO_METHOD,
        SKILL_SD,
        SDAR,
        RLSD,
        GRSD,
        AGENT_OPSD,
        OPID,
        UCOB,
        SKILL0,
        D2SKILL,
        SKILLRL,
    )
}
"""The recipes by name."""


def method(name: str) -> Method:
    """Find a recipe by name, siri's or your own.

    Args:
        name: a name in ``METHODS``, an entry point of ``siri.recipes``, or ``module:function``. The latter
            two are functions without arguments that return a ``Method``.

    Raises:
        ConfigError: there is no such recipe, or it is not a ``Method``.
    """
    if name in METHODS:
        return METHODS[name]
    make = load_plugin("recipe", "siri.recipes", name, known=tuple(METHODS))
    require_call("recipe", name, make, "without arguments")
    made = make()
    if not isinstance(made, Method):
        raise ConfigError(
            f"got recipe={name!r} that makes a {type(made).__name__}, expected a siri.recipes.Method; fix: "
            "return one"
        )
    return made
