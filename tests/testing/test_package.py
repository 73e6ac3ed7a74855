"""What importing siri.testing costs, and what it exports."""

from __future__ import annotations

import subprocess
import sys

import siri.testing


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_nothing_heavy_is_imported_until_it_is_used() -> None:
    code = """
import sys
from siri.testing import ScriptedEnvironment, ScriptedMiner, ScriptedPolicy, make_skill, make_task
from siri.testing import check_environment, check_miner, check_policy
check_environment(ScriptedEnvironment, [make_task()])
check_miner(ScriptedMiner(make_skill()))
check_policy(ScriptedPolicy(lambda request: "wait"))
print({"torch", "hypothesis", "transformers"} & set(sys.modules))
"""
    assert run(code).strip() == "set()"


def test_a_missing_hypothesis_is_named() -> None:
    code = """
import sys
sys.modules["hypothesis"] = None
from siri.errors import MissingExtra
from siri.testing import ScriptedValidator, check_loss, check_validator
for check, subject in ((check_validator, ScriptedValidator), (check_loss, lambda logprobs: logprobs.sum())):
    try:
        check(subject)
    except MissingExtra as error:
        print(error)
"""
    assert run(code).count("pip install 'siri-rl[testing]'") == 2


def test_exports() -> None:
    assert list(siri.testing.__all__) == sorted(siri.testing.__all__) == dir(siri.testing)
    for name in siri.testing.__all__:
        assert getattr(siri.testing, name).__doc__
