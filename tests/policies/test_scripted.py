from __future__ import annotations

import subprocess
import sys

import pytest

import siri.policies
from siri.policies import ScriptedPolicy
from siri.protocols import Policy
from siri.types import Completion, Request, Sampling


def test_says_what_it_is_told() -> None:
    policy = ScriptedPolicy(lambda request: request.messages[-1]["content"].upper())
    requests = [Request([{"role": "user", "content": word}]) for word in ("look", "go")]
    assert policy.generate(requests, Sampling()) == [Completion("LOOK"), Completion("GO")]
    assert policy.requests == requests
    assert isinstance(policy, Policy)


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, siri.policies; siri.policies.ScriptedPolicy; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_exports() -> None:
    assert set(siri.policies.__all__) <= set(dir(siri.policies))
    assert all(hasattr(siri.policies, name) for name in siri.policies.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        _ = siri.policies.nothing
