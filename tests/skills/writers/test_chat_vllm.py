"""ChatMiner and `siri run --miner openai` against a real vLLM server (`make test-vllm`).

The server's models are ours: one with random weights, and the same after it was taught one reply.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from siri.policies.vllm_server import VLLMServerPolicy
from siri.skills import (
    EMBEDDED_RULES,
    TINY_SKILL_GRAMMAR,
    ActionSummaryPrompt,
    ChatMiner,
    SkillBank,
    WithRules,
)
from siri.types import SkillStatus
from tests.skills.helpers import make_task, make_trajectory
from tests.skills.writers.test_hosted_run import SMOKE
from tests.smoke import metrics, siri
from tests.vllm_server import REPLY, random_model, writer_model

pytestmark = pytest.mark.vllm
LOOK = "look_at_obj_in_light"


@pytest.fixture(params=["random", "taught"])
def model(request: pytest.FixtureRequest, vllm_url: str) -> Iterator[str]:
    """The server has these weights."""
    made = {"random": random_model, "taught": writer_model}[request.param]
    VLLMServerPolicy(*made(), url=vllm_url, slots=2).close()
    return request.param


def test_a_miner(model: str, vllm_url: str, tmp_path: Path) -> None:
    task = make_task(LOOK, "examine the pen with the desklamp.")
    episodes = [replace(make_trajectory(f"t{n}", kind=LOOK), task=task) for n in range(3)]
    with ChatMiner(
        "served",
        base_url=f"{vllm_url}/v1",
        prompt=WithRules(ActionSummaryPrompt(), EMBEDDED_RULES),
        pattern=TINY_SKILL_GRAMMAR,
        max_per_request=1,
        samples=4,
        max_retries=0,
        timeout=60.0,
        temperature=0.7,
        cache=tmp_path,
    ) as miner:
        skills = miner.mine(episodes)
        report = miner.report
        assert (report.requests, report.failed) == (4, {})
        assert not any(name.startswith("dropped") for name in miner.events)
        assert all(not call.estimated and call.completion_tokens > 0 for call in miner.hosted.ledger.calls)
        replies = [json.loads(path.read_text()) for path in tmp_path.glob("*.json")]
        assert len(replies) == 4
        if model == "taught":
            [skill] = skills
            [pair] = json.loads(REPLY)["skills"]
            assert (skill.condition, skill.strategy) == (pair["condition"], pair["strategy"])
            assert report.proposed == 4
        else:
            # structured outputs make it JSON, or the beginning of some
            assert skills == []
            assert sum(report.rejected.values()) >= 4
            assert all(reply["text"].lstrip().startswith("{") for reply in replies)


def test_a_run_to_the_end(model: str, vllm_url: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    where = ["--openai-base-url", f"{vllm_url}/v1", "--openai-model", "served", "--out", tmp_path / "run"]
    limits = ["--set", "chat={timeout: 60, max_retries: 0}"]
    assert siri(monkeypatch, "run", "--miner", "openai", *where, *SMOKE, *limits) == 0
    shown = " ".join(capsys.readouterr().out.split())
    mined = [e for line in metrics(tmp_path / "run") for e in line["events"] if e.startswith("mined")]
    calls = [
        json.loads(line) for line in (tmp_path / "run" / "calls" / "calls.jsonl").read_text().splitlines()
    ]
    assert len(calls) == 2 * len(mined) > 0
    records = SkillBank.load(tmp_path / "run" / "skills.json").records()
    if model == "taught":
        [record] = records
        assert record.status in (SkillStatus.ACTIVE, SkillStatus.INTERNALIZED)
        assert record.skill.origin == "openai:served"
        assert "search the desk first, take it, then use the desklamp." in record.skill.text
        assert record.uses > 0
        assert "skills: 1 active" in shown
    else:
        assert records == ()
        assert all("0 new, refused " in event for event in mined)
        assert "no skills" in shown
