"""The shop keeps the contracts of siri.testing, in both styles."""

from __future__ import annotations

import pytest

from siri.envs.webshop import webshop_suite
from siri.testing import check_environment, check_prompter


@pytest.mark.parametrize("style", ["compact", "window"])
def test_contracts(style: str) -> None:
    suite = webshop_suite(size="tiny", style=style)  # type: ignore[arg-type]
    tasks = suite.split("train")[:3]
    check_environment(suite.make_env, tasks, steps=12)
    check_prompter(suite.prompter)
