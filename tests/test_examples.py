"""The files of examples/ do what they say. tests/test_wheel.py runs them outside the checkout."""

from __future__ import annotations

from pathlib import Path

import pytest
from examples import gigpo_loop, own_environment, own_miner, own_parts, read_run, rl_loop

from siri.algos import SiriObjective
from siri.config import RunConfig
from siri.curriculum import Curriculum
from siri.envs.alfworld import alfworld_suite
from siri.policies import HFPolicy
from siri.policies.tiny import base_path
from siri.rollout.suite import Suite
from siri.skills import SelfMiner
from siri.types import SkillStatus

EXAMPLES = Path(__file__).parents[1] / "examples"


def smoke(config: RunConfig) -> tuple[Suite, HFPolicy]:
    e = config.env
    suite = alfworld_suite(
        train_games=e.train_games, valid_games=e.valid_games, max_steps=e.max_steps, scale=e.scale
    )
    return suite, HFPolicy.load(base_path(), slots=config.rollout.slots)


@pytest.mark.slow
def test_the_loop_computes_what_the_curriculum_computes() -> None:
    """Every number that the loop reports, to the digit, in every iteration of the three phases."""
    config = rl_loop.SETTINGS
    o = config.optimizer
    run = Curriculum(
        *smoke(config),
        miner=SelfMiner.tiny(seed=config.seed),
        objective=SiriObjective(clip_high=o.clip_high, kl=0, entropy=0, floor=config.internalization.floor),
        config=config,
    )
    expected = list(run)
    assert {iteration.phase.value for iteration in expected} == {"warmup", "mining", "internalization"}
    assert any(iteration.metrics.get("int/loss") for iteration in expected)  # something was distilled
    found = list(rl_loop.train(*smoke(config), config))
    assert len(found) == len(expected)
    for mine, its in zip(found, expected, strict=True):
        mine.pop("int/prompt_gap", None)  # the curriculum measures it before the update, the loss within it
        assert mine == {name: its.metrics[name] for name in mine}
        assert len(mine) > 20


def test_the_loop_is_short_enough_to_read() -> None:
    text = (EXAMPLES / "rl_loop.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert "Curriculum" not in text


def test_gigpo_learns_in_a_loop_of_ones_own() -> None:
    rates = gigpo_loop.train(25)
    assert rates[0] < 0.2
    assert min(rates[-3:]) > 0.8


def test_an_environment_of_ones_own_is_trained(tmp_path: Path) -> None:
    run = own_environment.main(str(tmp_path / "run"))
    success = run.metrics["arm/plain/success"]
    assert len(success) == 6
    assert max(success[3:]) > success[0]
    assert run.suite().split("valid")


def test_parts_of_ones_own_are_what_the_run_trains_with(tmp_path: Path) -> None:
    run = own_parts.main(str(tmp_path / "run"))
    assert all(value > 0 for value in run.metrics["policy/confident"])
    assert {"policy/loss", "policy/clip_frac"} <= set(run.metrics)  # next to SIRI's own terms
    active = run.skills.records(SkillStatus.ACTIVE)
    assert all(record.uses >= 2 for record in active)


def test_a_run_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    first = read_run.main()
    said = capsys.readouterr().out
    assert "warmup → mining" in said
    assert "from: " in said
    assert (tmp_path / "success.svg").stat().st_size > 1000
    again = read_run.main(str(first.path))
    assert again.metrics["policy/loss"] == first.metrics["policy/loss"]
    # the same words, but for where the run came from
    assert capsys.readouterr().out == said


def test_a_model_of_ones_own_writes_the_skills(tmp_path: Path) -> None:
    run = own_miner.main(str(tmp_path / "run"))
    written = run.skills.records()
    assert {record.skill.origin for record in written} == {"my-llm"}
    assert {record.skill.kind for record in written} <= {task.kind for task in run.suite().split("train")}
    assert all(record.skill.sources and record.skill.prompts for record in written)
    assert sum(record.uses for record in written) > 0
