"""verl-agent's prompt, byte for byte, and how its answers are read."""

from __future__ import annotations

import re

import pytest

from siri.envs.webshop import (
    WebShop,
    WebShopPrompter,
    build_goals,
    bundled_catalog,
    naive,
    play,
    shared_index,
    webshop_suite,
)
from siri.envs.webshop.prompts import MAX_PROMPT, compact_observation
from siri.errors import ConfigError
from siri.protocols import Prompter
from siri.rollout import GroupPlan, Rollout
from siri.types import Completion, Sampling, Skill, Task, Turn

ASK = """

Now it's your turn to take one action for the current step.
You should first reason step-by-step about the current situation, then think carefully which admissible action best advances the shopping goal. This reasoning process MUST be enclosed within <think> </think> tags. 
Once you've finished your reasoning, you should choose an admissible action for current step and present it within <action> </action> tags.
"""  # noqa: E501, W291

FIRST = """
You are an expert autonomous agent operating in the WebShop e\u2011commerce environment. 
Your task is to: Find me shoes.
Your current observation is: 'Search'.
Your admissible actions of the current situation are: 
[
'search[<your query>]',
'click[search]',
]."""  # noqa: W291

LATER = """
You are an expert autonomous agent operating in the WebShop e\u2011commerce environment.
Your task is to: Find me shoes.
Prior to this step, you have already taken 3 step(s). Below are the most recent 2 observations and the corresponding actions you took: [Observation 2: ''Back to Search' [SEP] 'Next >'', Action 2: 'click[next >]']
[Observation 3: ''Back to Search' [SEP] 'Page 2'', Action 3: 'click[a]']
You are now at step 4 and your current observation is: 'Back to Search' [SEP] 'Buy Now'.
Your admissible actions of the current situation are: 
[
'click[back to search]',
'click[buy now]',
]."""  # noqa: E501, W291

TASK = Task("goal-0", "fashion", "Find me shoes", "train", 0)
HEAD = "Instruction: [SEP] Find me shoes [SEP] Back to Search"


def turn(observation: str, action: str) -> Turn:
    return Turn(observation, (), action, f"<action>{action}</action>", True, 0.0, None)


TURNS = [
    turn("WebShop [SEP] Instruction: [SEP] Find me shoes [SEP] Search", "search[shoes]"),
    turn(f"{HEAD} [SEP] Next >", "click[next >]"),
    turn(f"{HEAD} [SEP] Page 2", "click[a]"),
]


def test_the_first_prompt() -> None:
    prompter = WebShopPrompter()
    assert isinstance(prompter, Prompter)
    found = prompter.messages(TASK, [], TURNS[0].observation, ["search[<your query>]"])
    assert found == [{"role": "user", "content": FIRST + ASK}]


def test_a_later_prompt() -> None:
    actions = ["click[back to search]", "click[buy now]"]
    [message] = WebShopPrompter().messages(TASK, TURNS, f"{HEAD} [SEP] Buy Now", actions)
    assert message["content"] == LATER + ASK


def test_without_history() -> None:
    [message] = WebShopPrompter(0).messages(TASK, TURNS, f"{HEAD} [SEP] Buy Now", ["click[buy now]"])
    assert "Prior to this step" not in message["content"]
    with pytest.raises(ConfigError, match="history=-1"):
        WebShopPrompter(-1)


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_too_long_a_prompt_falls_back(extra: int) -> None:
    prompter = WebShopPrompter()
    long = [turn(f"{HEAD} [SEP] {'x' * 6000}", "click[a]")]
    [message] = prompter.messages(TASK, long, f"{HEAD} [SEP] y", ["click[a]"])
    room = MAX_PROMPT - len(message["content"]) + extra
    [message] = prompter.messages(TASK, long, f"{HEAD} [SEP] y{'y' * room}", ["click[a]"])
    assert ("Prior to this step" in message["content"]) is (extra <= 0)
    skill = Skill("s", "fashion", "c", "t" * 500, "human", 0)
    [skilled] = prompter.messages(TASK, long, f"{HEAD} [SEP] y{'y' * room}", ["click[a]"], [skill])
    assert skilled["content"].replace(prompter.block([skill]), "") == message["content"]


def test_the_block_follows_the_actions() -> None:
    skill = Skill("s", "fashion", "the task is x", "do y", "human", 0)
    [message] = WebShopPrompter().messages(TASK, [], TURNS[0].observation, ["search[<your query>]"], [skill])
    assert message["content"] == f"{FIRST}\n\nSkill: When the task is x: do y{ASK}"


def test_the_score_never_reaches_a_prompt() -> None:
    catalog = bundled_catalog("tiny")
    goals = build_goals(catalog)
    env = WebShop(catalog, goals)
    first, _ = env.reset(options={"goal": 0})
    env.step(f"search[{goals[0].name}]")
    env.step(f"click[{goals[0].asin}]")
    done, *_, info = env.step("click[buy now]")
    assert "Your score" in done
    assert str(info["score"]) in done
    task = Task("goal-0", "k", goals[0].instruction, "train", 0)
    turns = [turn(first, "search[x]"), turn(done, "click[buy now]")]
    [message] = WebShopPrompter().messages(task, turns, done, [])
    assert "Your score" not in message["content"]
    assert "Reward" not in message["content"]
    assert message["content"].count("Thank you for shopping with us!") == 2


def test_observations_in_quotes() -> None:
    assert (
        compact_observation(f"{HEAD} [SEP] A [SEP] ", "Find me shoes")
        == "'Back to Search' [SEP] 'A' [SEP] ''"
    )
    assert compact_observation("no instruction here", "Find me shoes") == "no instruction here"


@pytest.mark.parametrize(
    ("text", "action", "valid"),
    [
        ("<think>a</think><action>Search[Red Shoes]</action>", "search[red shoes]", True),
        ("<think>a</think><action> click[x] </action><action>click[y]</action>", "click[x]", True),
        ("<think>a</think><ACTION>click[x]</ACTION>", "click[x]", True),
        ("<action>click[x]</action>", "click[x]", False),
        ("<THINK>a</THINK><action>click[x]</action>", "click[x]", False),
        ("<think>a<action>click[x]</action>", "click[x]", False),
        ("<think>好</think><action>click[x]</action>", "click[x]", False),
        ("I would now CLICK[Buy Now]", "uld now click[buy now]"[-20:], False),
        ("", "", False),
        ("<think>İ</think><action>A</action>", "a", True),
    ],
)
def test_answers(text: str, action: str, valid: bool) -> None:
    found, formed, (begin, end) = WebShopPrompter().parse(text)
    assert (found, formed) == (action, valid)
    assert action in text[begin:end].lower()


class Naive:
    """Reads the prompt as a model would: searches the task, opens the first product, buys."""

    def generate(self, requests: list, sampling: object) -> list[Completion]:
        return [Completion(self.answer(request.messages[0]["content"])) for request in requests]

    def answer(self, prompt: str) -> str:
        actions = re.findall(r"^'(.*)',$", prompt, re.MULTILINE)
        if "click[search]" in actions:
            action = f"search[{re.search(r'Your task is to: (.*)[.]', prompt)[1]}]"  # type: ignore[index]
        elif "click[buy now]" in actions:
            action = "click[Buy Now]"
        else:
            action = next(name for name in actions if name.startswith("click[b0"))
        return f"<think>so</think><action>{action}</action>"


def test_the_naive_agent_plays_through_the_prompts() -> None:
    """As the scripted one does without them, goal by goal."""
    suite = webshop_suite(size="tiny", style="window")
    tasks = suite.split("valid")
    rollout = Rollout(suite.make_env, suite.prompter, Naive(), sampling=Sampling(), slots=8)
    groups = rollout.play([GroupPlan(task, plain=1) for task in tasks])
    episodes = [trajectory for group in groups for trajectory in group.trajectories]
    assert all(turn.valid for episode in episodes for turn in episode.turns)
    assert {len(episode.turns) for episode in episodes} == {3}
    catalog = bundled_catalog("tiny")
    goals = build_goals(catalog)
    scripted = play(naive, catalog, [goals[task.source] for task in tasks], index=shared_index(catalog))
    scores = [episode.score for episode in episodes]
    assert 100 * sum(scores) / len(scores) == pytest.approx(scripted.task_score)  # type: ignore[arg-type]
