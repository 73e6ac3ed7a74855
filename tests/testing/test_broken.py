"""Each check finds the defect it is for, and names the law."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

import siri.testing
from siri.errors import ConfigError, ContractBroken
from siri.testing import (
    ScriptedEnvironment,
    ScriptedMiner,
    ScriptedPolicy,
    ScriptedPrompter,
    ScriptedValidator,
    check_environment,
    check_miner,
    check_policy,
    check_prompter,
    check_validator,
    make_skill,
    make_task,
)
from siri.types import Completion, Request, Sampling, SkillStatus


class Sticky(ScriptedEnvironment):
    """Forgets to start anew."""

    def reset(self, *, seed=None, options=None):
        done = self._done
        super().reset(seed=seed, options=options)
        self._done = min(done, 1)
        return self._look(), self._info(valid=True)


class Rude(ScriptedEnvironment):
    """Takes any command for a good one."""

    def _info(self, *, valid):
        return {**super()._info(valid=valid), "valid": True}


class Fussy(ScriptedEnvironment):
    """Refuses what it offered."""

    def step(self, action):
        *rest, info = super().step(action)
        return (*rest, {**info, "valid": False})


class Unhashable(ScriptedEnvironment):
    def _info(self, *, valid):
        return {**super()._info(valid=valid), "anchor": ([],)}


class Dice(ScriptedEnvironment):
    def _look(self):
        return f"{random.random()}"


class Shared(ScriptedEnvironment):
    """Hands out the same info again and again."""

    def __init__(self):
        super().__init__()
        self.info = {}

    def _info(self, *, valid):
        self.info.update(super()._info(valid=valid))
        return self.info


class Refused(ScriptedEnvironment):
    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed, options=options)
        return observation, {**info, "valid": False}


class Crashing(ScriptedEnvironment):
    """Raises at a command that it does not know."""

    def step(self, action):
        if action not in self._commands():
            raise KeyError(action)
        return super().step(action)


class Peeking(ScriptedEnvironment):
    def step(self, action):
        random.random()
        return super().step(action)


@pytest.mark.parametrize(
    ("environment", "law"),
    [
        (Sticky, "determinism"),
        (Rude, "nonsense_is_refused"),
        (Fussy, "admissible_is_valid"),
        (Unhashable, "types"),
        (Dice, "determinism"),
        (Shared, "info_is_a_snapshot"),
        (Refused, "reset_is_valid"),
        (Peeking, "no_global_rng"),
        (Crashing, "no_exception"),
    ],
)
def test_environments(environment, law: str) -> None:
    with pytest.raises(ContractBroken, match=f"law '{law}' is broken: got {environment.__name__}") as caught:
        check_environment(environment, [make_task()])
    assert caught.value.law == law
    assert "expected: " in str(caught.value)


@pytest.mark.parametrize(("environment", "law"), [(Refused, "reset_is_valid"), (Peeking, "no_global_rng")])
def test_laws_of_environments_can_be_left_out(environment, law: str) -> None:
    check_environment(environment, [make_task()], without={law})
    with pytest.raises(ConfigError, match="unknwon"):
        check_environment(environment, [make_task()], without={"unknwon"})


def test_an_episode_that_never_ends_is_named() -> None:
    class Endless(ScriptedEnvironment):
        def step(self, action):
            text, reward, _, _, info = super().step("wait" if action in self._commands() else action)
            return text, reward, False, False, info

    task = make_task()
    with pytest.raises(ContractBroken, match="still runs after 50 steps") as caught:
        check_environment(lambda: Endless(max_steps=10**6), [task], max_steps=50)
    assert caught.value.law == "ends"
    check_environment(lambda: Endless(max_steps=10**6), [task], max_steps=50, without={"ends"})
    check_environment(lambda: ScriptedEnvironment(max_steps=50), [task], max_steps=50)


class Words:
    """A sound policy with token ids: a word is a token, a reply is drawn from the seed."""

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}
        self.sessions: dict[str, tuple[int, ...]] = {}

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.ids.setdefault(word, len(self.ids)) for word in text.split())

    def render(self, messages) -> tuple[int, ...]:
        return self.encode(" ".join(f"{m['role']} {m['content']}" for m in messages) + " assistant")

    def reply(self, request: Request, sampling: Sampling) -> str:
        seed = request.seed if sampling.temperature else 0
        return random.Random(f"{seed} {request.messages}").choice(["look", "go north", "wait"])

    def generate(self, requests, sampling):
        return [self.one(request, sampling) for request in requests]

    def one(self, request: Request, sampling: Sampling) -> Completion:
        prompt = self.render(request.messages)
        plain = prompt if request.plain is None else self.render(request.plain)
        if len(prompt) > 50:
            return Completion("", finished=False)
        text = self.reply(request, sampling)
        ids = self.encode(text)
        return Completion(text, prompt, plain, ids, (-0.5,) * len(ids))


class Short(Words):
    def generate(self, requests, sampling):
        return super().generate(requests, sampling)[:-1]


class NoLogprobs(Words):
    def one(self, request, sampling):
        return replace(super().one(request, sampling), logprobs=())


class Surprised(Words):
    def one(self, request, sampling):
        done = super().one(request, sampling)
        return replace(done, logprobs=(0.5,) * len(done.completion_ids))


class Fickle(Words):
    """Counts its calls into the seed."""

    calls = 0

    def generate(self, requests, sampling):
        self.calls += 1
        return super().generate([replace(r, seed=self.calls * 7) for r in requests], sampling)


class Crowded(Words):
    """The size of the batch decides."""

    def generate(self, requests, sampling):
        return super().generate([replace(r, seed=r.seed + 5 * len(requests)) for r in requests], sampling)


class Hot(Words):
    def reply(self, request, sampling):
        return super().reply(request, replace(sampling, temperature=1.0))


class Distracted(Words):
    """Generates from the plain conversation."""

    def one(self, request, sampling):
        messages = request.messages if request.plain is None else request.plain
        return super().one(replace(request, messages=messages), sampling)


class Retokenised(Words):
    """Spells what it said in another way when it reads it again."""

    def encode(self, text):
        return super().encode(text.replace("assistant look", "assistant lo ok"))

    def reply(self, request, sampling):
        return "look"


class Verbose(Words):
    def one(self, request, sampling):
        long = len(self.render(request.messages)) > 50
        return (
            replace(super().one(request, sampling), finished=True) if long else super().one(request, sampling)
        )


class Editor(Words):
    def generate(self, requests, sampling):
        done = super().generate(requests, sampling)
        for request in requests:
            request.messages[-1].setdefault("name", "user")
        return done


def test_a_sound_policy_passes() -> None:
    check_policy(Words(), max_context=50)


@pytest.mark.parametrize(
    ("policy", "law"),
    [
        (Short, "one_each"),
        (NoLogprobs, "token_counts"),
        (Surprised, "logprobs"),
        (Fickle, "determinism"),
        (Crowded, "batch_independence"),
        (Hot, "greedy_has_no_seed"),
        (Distracted, "plain_prompt"),
        (Retokenised, "session"),
        (Verbose, "too_long"),
        (Editor, "no_mutation"),
    ],
)
def test_policies(policy, law: str) -> None:
    with pytest.raises(ContractBroken, match=f"law '{law}' is broken: got {policy.__name__}"):
        check_policy(policy(), max_context=50)


def test_a_policy_may_be_excused_from_batch_independence() -> None:
    check_policy(Crowded(), max_context=50, batch_invariant=False)


class Greedy(ScriptedMiner):
    """Reads anything."""

    def mine(self, trajectories):
        return list(self.skills) if trajectories else []


class Eager(ScriptedMiner):
    def mine(self, trajectories):
        super().mine(trajectories)
        return list(self.skills)


@pytest.mark.parametrize(
    ("miner", "law", "words"),
    [
        (Greedy(make_skill()), "refuses", "of a validation split"),
        (Eager(make_skill()), "nothing_from_nothing", "1 skills"),
        (Eager(make_skill(kind="cook")), "skills", "kind 'cook'"),
        (ScriptedMiner(make_skill(), make_skill()), "skills", "comes twice"),
        (ScriptedMiner(make_skill(strategy=" ")), "skills", r"empty \['strategy'\]"),
        (ScriptedMiner(replace(make_skill(), sources=("elsewhere",))), "skills", "elsewhere"),
    ],
)
def test_miners(miner, law: str, words: str) -> None:
    with pytest.raises(ContractBroken, match=words) as caught:
        check_miner(miner)
    assert caught.value.law == law


def test_an_outage_is_not_an_empty_list() -> None:
    with pytest.raises(ContractBroken, match="law 'outage' is broken: got ScriptedMiner"):
        check_miner(ScriptedMiner(make_skill()), outage=ScriptedMiner())


class Base:
    """A sound validator: the sum of differences of means."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.gone: set[str] = set()

    def delta(self, plain, skilled) -> float:
        return sum(skilled) / len(skilled) - sum(plain) / len(plain)

    def observe(self, skill_id, plain, skilled):
        total = self.sums[skill_id] = self.sums.get(skill_id, 0.0) + self.delta(plain, skilled)
        if total <= -2:
            self.gone.add(skill_id)
        if skill_id in self.gone:
            return SkillStatus.RETIRED
        return SkillStatus.ACTIVE if total >= 2 else SkillStatus.CANDIDATE


class Flipped(Base):
    def delta(self, plain, skilled):
        return -super().delta(plain, skilled)


class Undead(Base):
    def observe(self, skill_id, plain, skilled):
        self.gone.clear()
        return super().observe(skill_id, plain, skilled)


class FirstOnly(Base):
    def delta(self, plain, skilled):
        return float(skilled[0]) - float(plain[0])


class Popping(Base):
    def observe(self, skill_id, plain, skilled):
        status = super().observe(skill_id, plain, skilled)
        if isinstance(plain, list):
            plain.pop()
        return status


class Amnesic(Base):
    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


class Mumbling(Base):
    def observe(self, skill_id, plain, skilled):
        return super().observe(skill_id, plain, skilled).value


class Haunted(Base):
    made = 0

    def __init__(self):
        super().__init__()
        Haunted.made += 1
        self.odd = Haunted.made % 2

    def delta(self, plain, skilled):
        return super().delta(plain, skilled) * (1 + self.odd)


def test_a_sound_validator_passes() -> None:
    check_validator(Base)
    check_validator(ScriptedValidator)


@pytest.mark.parametrize(
    ("validator", "law"),
    [
        (Mumbling, "status"),
        (Undead, "retired_is_final"),
        (Haunted, "determinism"),
        (FirstOnly, "pair_order"),
        (Popping, "no_mutation"),
        (Flipped, "direction"),
        (Amnesic, "state_dict"),
    ],
)
def test_validators(validator, law: str) -> None:
    with pytest.raises(ContractBroken, match=f"law '{law}' is broken: got {validator.__name__}") as caught:
        check_validator(validator)
    assert "history" in str(caught.value)


class Careless(ScriptedPrompter):
    """Asks in another way when there is a skill."""

    def messages(self, task, turns, observation, admissible, skills=()):
        found = super().messages(task, turns, observation, admissible, skills)
        return [{**found[0], "content": found[0]["content"] + " Use it."}] if skills else found


class Wide(ScriptedPrompter):
    def parse(self, text):
        return text, True, (0, len(text) + 1)


class Restless(ScriptedPrompter):
    asked = 0

    def messages(self, *arguments):
        self.asked += 1
        return [{"role": "user", "content": str(self.asked)}]


@pytest.mark.parametrize(
    ("prompter", "law"), [(Careless, "skill_block"), (Wide, "parse"), (Restless, "purity")]
)
def test_prompters(prompter, law: str) -> None:
    with pytest.raises(ContractBroken, match=f"law '{law}' is broken: got {prompter.__name__}"):
        check_prompter(prompter())


def test_misuse_is_named() -> None:
    with pytest.raises(ConfigError, match="0 tasks"):
        check_environment(ScriptedEnvironment, [])
    with pytest.raises(ConfigError, match="at least one"):
        check_miner(ScriptedMiner(), [])
    with pytest.raises(ConfigError, match="without="):
        check_validator(Base, without={"directon"})
    with pytest.raises(ConfigError, match="examples=0"):
        check_validator(Base, examples=0)
    with pytest.raises(AttributeError, match="check_everything"):
        siri.testing.check_everything  # noqa: B018


def test_the_reply_policy_passes_without_ids() -> None:
    check_policy(ScriptedPolicy(lambda request: request.messages[-1]["content"][:4]))
