"""siri's own implementations keep the contracts that users are held to."""

from __future__ import annotations

from functools import partial

import pytest

from siri.algos import ClippedSurrogate, EntropyBonus, Internalization, KLPenalty, SiriObjective
from siri.envs.alfworld import ALFWorld, TranscriptPrompter, WindowPrompter, generate_games
from siri.errors import PolicyFault
from siri.policies import HFPolicy
from siri.policies.tiny import base_path
from siri.skills import PairedValidator, SelfMiner, SkillBank
from siri.testing import (
    ScriptedEnvironment,
    ScriptedMiner,
    ScriptedPolicy,
    ScriptedPrompter,
    ScriptedValidator,
    check_environment,
    check_miner,
    check_objective,
    check_policy,
    check_prompter,
    check_validator,
    make_skill,
    make_task,
)
from siri.types import Sampling, SkillStatus
from tests.testing import user_code


@pytest.fixture(scope="module")
def tiny() -> HFPolicy:
    return HFPolicy.load(base_path(), slots=4)


def test_alfworld() -> None:
    tasks = generate_games(6, seed=3, split="valid_unseen", scale=0.4)
    check_environment(partial(ALFWorld, max_steps=12), tasks, steps=15, episodes=1)


def test_the_tiny_policy(tiny: HFPolicy) -> None:
    check_policy(tiny, max_context=tiny.max_context)
    check_policy(tiny, sampling=Sampling(temperature=0.4, top_p=0.9, max_tokens=3))


def test_the_self_miner(tiny: HFPolicy) -> None:
    class Silent:
        def generate(self, requests, sampling):
            raise PolicyFault("out")

    check_miner(SelfMiner(tiny), outage=SelfMiner(Silent()))


@pytest.mark.parametrize("rule", ["threshold", "confidence"])
def test_the_paired_validator(rule: str) -> None:
    check_validator(lambda: PairedValidator(rule=rule, n_eval=3), examples=8)  # type: ignore[arg-type]


def test_the_paired_validator_with_a_bank() -> None:
    def make() -> PairedValidator:
        bank = SkillBank()
        for name in "ab":
            bank.add(make_skill(name, strategy=f"do {name} at once."))
        return PairedValidator(bank, n_eval=2)

    check_validator(make, examples=8, without={"state_dict"})  # the bank has a file of its own


@pytest.mark.parametrize(
    "objective",
    [
        SiriObjective(),
        ClippedSurrogate(),
        Internalization(),
        EntropyBonus(),
        0.1 * KLPenalty() + EntropyBonus(),
    ],
    ids=["siri", "surrogate", "internalization", "entropy", "sum"],
)
def test_objectives(objective) -> None:
    check_objective(objective, examples=8)


@pytest.mark.parametrize("prompter", [TranscriptPrompter(), WindowPrompter(), ScriptedPrompter()])
def test_prompters(prompter) -> None:
    check_prompter(prompter)


def test_the_fakes() -> None:
    check_environment(ScriptedEnvironment, [make_task(), make_task("b", solution=("wave",))])
    check_policy(ScriptedPolicy(lambda request: "wait"))
    check_miner(ScriptedMiner(make_skill()))
    script = {"a": [SkillStatus.CANDIDATE, SkillStatus.ACTIVE, SkillStatus.RETIRED, SkillStatus.ACTIVE]}
    # A script that retires "a" does so whoever wins.
    check_validator(lambda: ScriptedValidator(script), examples=10, without={"direction"})


def test_what_a_user_writes_in_a_few_lines() -> None:
    check_environment(user_code.Door, [make_task()])
    check_policy(user_code.policy)
    check_prompter(user_code.prompter)
    check_miner(user_code.miner)
    check_validator(user_code.FirstWin, examples=10)
    check_objective(user_code.objective, examples=20)
