from __future__ import annotations

import json
from dataclasses import replace

import pytest

from siri.errors import ConfigError, MinerFault, PolicyFault, SplitError
from siri.protocols import SkillMiner
from siri.skills import (
    EMBEDDED_RULES,
    TINY_SKILL_GRAMMAR,
    ActionSummaryPrompt,
    JsonSummaryPrompt,
    MiningReport,
    SelfMiner,
    WithRules,
    prompt_hash,
    summary_text,
)
from siri.types import StopReason
from tests.skills.helpers import HEAT, Scripted, make_trajectory

SENTENCE = f"When the task is to heat an object: {HEAT}"


def rows(*strategies):
    return json.dumps([{"condition": "it is late", "strategy": s} for s in strategies])


def test_summary_of_actions_exactly():
    (message,) = ActionSummaryPrompt().messages([make_trajectory(), make_trajectory("t2")])
    assert message == {
        "role": "user",
        "content": "Your task is to: put a hot apple in fridge.\n"
        "> go to countertop 1\n"
        "> take apple 1 from countertop 1\n"
        "> heat apple 1 with microwave 1\n"
        "Summarize as a skill.",
    }
    assert summary_text("cool it", []) == "Your task is to: cool it.\nSummarize as a skill."


def test_json_prompt_shows_whole_episodes():
    system, user = JsonSummaryPrompt(max_skills=2).messages([make_trajectory(), make_trajectory("t2")])
    assert "at most 2 objects" in system["content"]
    assert user["content"].count("Goal: put a hot apple in fridge.") == 2
    assert "Action 6: take nothing" in user["content"]


@pytest.mark.parametrize(
    "change",
    [
        {"split": "valid_seen"},
        {"arm": "skill", "skills": ("s",)},
        {"success": False, "stop": StopReason.FAILURE},
    ],
)
def test_refuses_what_may_not_be_mined(change):
    policy = Scripted(SENTENCE)
    with pytest.raises(SplitError, match="expected split 'train', plain arm, success"):
        SelfMiner(policy).mine([make_trajectory(), make_trajectory("bad", **change)])
    assert policy.requests == []


def test_tiny_miner_end_to_end():
    policy = Scripted(SENTENCE, SENTENCE, "When the task is to heat an object: heat heat", "mumble")
    miner = SelfMiner.tiny(seed=3).bind(policy, iteration=12)
    assert isinstance(miner, SkillMiner)
    (skill,) = miner.mine([make_trajectory(f"t{i}") for i in range(5)])
    assert skill.text == SENTENCE
    assert (skill.kind, skill.origin, skill.created) == ("heat", "self", 12)
    assert set(skill.sources) <= {f"t{i}" for i in range(5)}
    assert policy.sampling.max_tokens == 60
    assert miner.report == MiningReport(8, 6, 1, {"duplicate": 3, "grammar": 2, "unparseable": 2})
    assert set(skill.prompts) <= {prompt_hash(request.messages) for request in policy.requests}
    assert skill.prompts


def test_most_votes_win_and_the_surplus_is_counted():
    policy = Scripted(rows("rare", "often"), rows("often", "third"), rows("open drawer 3", "word " * 70))
    miner = SelfMiner(policy, max_skills=2, samples=3)
    assert [skill.strategy for skill in miner.mine([make_trajectory()])] == ["often", "rare"]
    assert miner.report.rejected == {"duplicate": 1, "instance_ids": 1, "surplus": 1, "too_long": 1}
    assert miner.report.proposed == 6


def test_kinds_are_never_mixed_and_requests_hold_a_few_episodes():
    policy = Scripted(rows("do it"))
    miner = SelfMiner(policy, max_per_request=2, samples=1)
    skills = miner.mine(
        [make_trajectory(f"{kind}{i}", kind=kind) for kind in ("heat", "cool") for i in range(3)]
    )
    assert [skill.kind for skill in skills] == ["cool", "heat"]
    for skill in skills:
        assert len(skill.sources) == 2
        assert all(source.startswith(skill.kind) for source in skill.sources)
    assert len({skill.id for skill in skills}) == 2


def test_deterministic_by_seed_and_iteration():
    def asked(seed, iteration):
        policy = Scripted(rows("do it"))
        SelfMiner(seed=seed).bind(policy, iteration=iteration).mine(
            [make_trajectory(f"t{i}") for i in range(9)]
        )
        return [request.seed for request in policy.requests]

    assert asked(0, 1) == asked(0, 1)
    assert len({*asked(0, 1), *asked(0, 2), *asked(1, 1)}) == 12


def test_nothing_to_mine_asks_nothing():
    policy = Scripted()
    miner = SelfMiner(policy)
    assert miner.mine([]) == []
    assert miner.report == MiningReport()


def test_faults():
    class Broken:
        def generate(self, requests, sampling):
            raise PolicyFault("out of memory")

    with pytest.raises(MinerFault, match="out of memory"):
        SelfMiner(Broken()).mine([make_trajectory()])
    with pytest.raises(ConfigError, match="bind"):
        SelfMiner().mine([make_trajectory()])
    with pytest.raises(ConfigError, match="at least 1"):
        SelfMiner(samples=0)


def test_what_is_no_trajectory_is_refused():
    with pytest.raises(SplitError, match="got dict, expected a Trajectory"):
        SelfMiner(Scripted("x")).mine([{"split": "train"}])


def test_near_duplicates_are_votes_for_one_skill():
    words = "a b c d e f g h i j k l m n o p"
    policy = Scripted(rows(words), rows(f"{words} q"), rows("quite another"))
    skills = SelfMiner(policy, samples=3, max_skills=1).mine([make_trajectory()])
    assert [skill.strategy for skill in skills] == [words]


def test_leaked_rules_are_refused_and_a_cut_answer_is_told_from_rambling():
    class Cut(Scripted):
        def generate(self, requests, sampling):
            return [replace(c, finished=False) for c in super().generate(requests, sampling)]

    rules = JsonSummaryPrompt().messages([make_trajectory()])[0]["content"]
    answer = json.dumps([{"condition": "x", "strategy": " ".join(rules.split()[:12])}])
    miner = SelfMiner(Scripted(answer), samples=1)
    assert miner.mine([make_trajectory()]) == []
    assert miner.report.rejected == {"leaked_prompt": 1}
    cut = SelfMiner(Cut('[{"condition": "x", "strat'), samples=1)
    assert cut.mine([make_trajectory()]) == []
    assert cut.report.rejected == {"cut_off": 1}


def test_length_is_counted_by_the_policy_s_tokenizer():
    class Letters(Scripted):
        class tokenizer:
            all_special_ids = ()

            def __new__(cls, text, add_special_tokens=False):
                return {"input_ids": [1] * len(text)}

    miner = SelfMiner(samples=1).bind(Letters(rows("w" * 80)))
    assert miner.mine([make_trajectory()]) == []
    assert miner.report.rejected == {"too_long": 1}


def test_the_rules_for_another_writer_leave_the_episode_as_it_is():
    plain, told = ActionSummaryPrompt(), WithRules(ActionSummaryPrompt(), EMBEDDED_RULES)
    assert told.messages([make_trajectory()])[1:] == plain.messages([make_trajectory()])
    # a writer that does as it is told is not taken for one that repeats its rules
    answer = json.dumps({"skills": [{"condition": "the task is to heat an object", "strategy": HEAT}]})
    for kind in ("put an object somewhere", "look at an object under a light", "put two objects somewhere"):
        more = {
            "condition": f"the task is to {kind}",
            "strategy": "search the desk first, take it, then use the desklamp.",
        }
        answer += json.dumps(more)
    miner = SelfMiner(Scripted(answer), prompt=told, samples=1, max_skills=9, pattern=TINY_SKILL_GRAMMAR)
    assert len(miner.mine([make_trajectory()])) == 4
    assert miner.report.rejected == {}


def test_the_limit_that_is_stated_is_the_one_that_is_enforced():
    """The same number in the same unit: words without a tokenizer, its tokens with one."""

    class Letters(Scripted):
        class tokenizer:
            all_special_ids = ()

            def __new__(cls, text, add_special_tokens=False):
                return {"input_ids": [1] * len(text)}

    for policy, count in ((Scripted, lambda text: len(text.split())), (Letters, len)):
        for limit in (30, 60, 75):
            fits = "w" * (limit - len("When it is late: ")) if policy is Letters else "w " * (limit - 4)
            for strategy, kept in ((fits, 1), (fits + " w", 0)):
                agent = policy(rows(strategy))
                miner = SelfMiner(agent, samples=1, max_tokens=limit)
                assert len(miner.mine([make_trajectory()])) == kept
                assert (miner.report.rejected == {"too_long": 1}) == (not kept)
                unit = "tokens" if policy is Letters else "words"
                assert f"at most {limit} {unit}," in agent.requests[0].messages[0]["content"]
                assert count(f"When it is late: {strategy.strip()}") <= limit or not kept


def test_a_thought_is_not_read_and_one_without_an_end_is_cut_off():
    class Thinks(Scripted):
        """A policy whose template opens the thought."""

        def generate(self, requests, sampling):
            return [replace(c, opened="<think>\n") for c in super().generate(requests, sampling)]

    bad = rows("always open the fridge")
    miner = SelfMiner(Thinks(f"{bad} or not", f"{bad}</think>{rows('use the lamp')}"), samples=2)
    assert [skill.strategy for skill in miner.mine([make_trajectory()])] == ["use the lamp"]
    assert miner.report.rejected == {"cut_off": 1}


def test_the_placeholder_of_the_prompt_is_no_skill():
    form = JsonSummaryPrompt().messages([make_trajectory()])[0]["content"]
    miner = SelfMiner(Scripted(form), samples=1)
    assert miner.mine([make_trajectory()]) == []
    assert miner.report.rejected == {"leaked_prompt": 1}


def test_room_for_the_reply_is_a_setting_and_a_report_says_when_it_is_short():
    class Cut(Scripted):
        def generate(self, requests, sampling):
            return [replace(c, finished=False) for c in super().generate(requests, sampling)]

    policy = Cut("<think>well")
    miner = SelfMiner(policy, samples=2, reply_tokens=4000)
    assert miner.mine([make_trajectory()]) == []
    assert policy.sampling.max_tokens == 4000
    assert miner.report.rejected == {"cut_off": 2}
    assert miner.report.notes == ("every reply was cut off at 4000 tokens; reply_tokens gives more room",)
    assert SelfMiner().sampling.max_tokens == 320
