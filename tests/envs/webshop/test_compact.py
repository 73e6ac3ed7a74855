"""The small view: every command is one action of WebShop, and nothing is shown that the page does not
show.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siri.envs.webshop import (
    Catalog,
    CompactPrompter,
    CompactShop,
    CompactSummaryPrompt,
    WebShop,
    build_goals,
    bundled_catalog,
    split_goals,
    webshop_suite,
)
from siri.envs.webshop.compact import SHOP_SKILL_GRAMMAR, compact_goal
from siri.errors import ConfigError, EnvironmentFault
from siri.protocols import Environment
from siri.skills.writers.parsing import parse_skills, rejection
from siri.types import Skill, StopReason, Task, Trajectory, Turn

from .shop import goal, product


def shop() -> CompactShop:
    options = {"color": ("red", "navy blue"), "size": ("8", "9")}
    catalog = Catalog(
        (
            product(
                asin="A", title="Canvas Shoes Machine Wash", options=options, attributes=("machine wash",)
            ),
            product(asin="B", title="Shoe Rack", price_text="$80.0", price=80.0),
            product(
                asin="C",
                title="Canvas Shoes for the Beach",
                price_text="$19.0 to $80.0",
                description="With a rubber sole.",
                bullets=("x", "Machine Wash: yes"),
                options={"size": ("9",)},
            ),
        )
    )
    wanted = goal(attributes=("machine wash", "rubber sole"), options=(("color", "red"), ("size", "8")))
    return CompactShop(WebShop(catalog, [wanted]))


def test_an_episode_in_few_words() -> None:
    env = shop()
    assert isinstance(env, Environment)
    first, info = env.reset(options={"goal": 0})
    assert first == "buy canvas shoes : machine wash , rubber sole ; color red , size 8 ; under 40"
    assert info["admissible"] == ["search canvas shoes"]
    results = env.step("search shoes")[0]
    rows = dict(
        row.split(" ", 1) if " " in row else (row, "") for row in results.removesuffix(" .").split(" . ")[1:]
    )
    number = next(n for n, row in rows.items() if row == "machine wash")
    assert sorted(rows.values()) == ["", "machine wash", "over"]
    item, *_ = env.step(f"open {number}")
    assert item == "item . has color red . has size 8 . missing rubber sole ."
    assert env.step("choose color red")[0] == "item . done color . has size 8 . missing rubber sole ."
    assert env.step("read features")[0] == "features . missing rubber sole ."
    assert env.step("back")[0].startswith("item . done color")
    assert env.step("back")[0].removesuffix(" .").split(" . ")[int(number)] == f"{number} seen machine wash"
    other = next(n for n, row in rows.items() if row == "")
    assert env.step(f"open {other}")[0] == "item . no size . missing machine wash , rubber sole ."
    assert env.step("read features")[0] == "features machine wash . missing rubber sole ."
    assert env.step("back")[0] == "item . no size . missing rubber sole ."
    assert env.step("read description")[0] == "description rubber sole . complete ."
    assert env.step("back")[0] == "item . no size . complete ."
    observation, _, terminated, _, info = env.step("buy")
    assert (observation, terminated, info["admissible"]) == ("bought .", True, [])
    assert info["score"] == pytest.approx(3 / 5)  # both attributes and the price; no option


@pytest.mark.parametrize(
    "command",
    ["", "search", "open 1", "open x", "open 99", "choose color red", "buy", "back", "click[search]"],
)
def test_what_is_no_command_here(command: str) -> None:
    env = shop()
    env.reset(options={"goal": 0})
    observation, reward, *_, info = env.step(command)
    assert (observation, reward, info["valid"]) == ("nothing happens .", 0.0, False)


def test_commands_are_those_of_the_page() -> None:
    env = shop()
    env.reset(options={"goal": 0})
    assert env.step("search zebra")[0] == "page 1 . nothing ."
    env.step("search shoes")
    assert env.step("open 0")[4]["valid"] is False
    assert env.step("choose color red")[4]["valid"] is False
    assert env.step("next")[0] == "page 2 . nothing ."
    assert env.step("back")[4]["valid"]


def test_it_needs_names_of_options_and_a_reset() -> None:
    with pytest.raises(EnvironmentFault, match="before reset"):
        shop().step("buy")
    env = CompactShop(WebShop(Catalog((product(),)), [goal(options=("red",))]))
    with pytest.raises(ConfigError, match="got a human goal"):
        env.reset(options={"goal": 0})


CATALOG = bundled_catalog("tiny")
GOALS = build_goals(CATALOG)


@given(st.data())
def test_every_offered_command_is_valid_and_anchors_follow_the_view(data: st.DataObject) -> None:
    env = CompactShop(WebShop(CATALOG, GOALS))
    number = data.draw(st.integers(0, len(GOALS) - 1))
    observation, info = env.reset(options={"goal": number})
    assert observation == compact_goal(GOALS[number])
    seen: dict = {}
    for _ in range(15):
        command = data.draw(st.sampled_from(list(info["admissible"])))
        observation, _, terminated, truncated, info = env.step(command)
        assert info["valid"]
        assert "[SEP]" not in observation
        hash(info["anchor"])
        if terminated or truncated:
            assert observation == "bought ." or truncated
            break
        # equal states show equal pages, but for what was visited before
        shown = observation.replace(" seen", "")
        assert seen.setdefault(info["anchor"], shown) == shown


SKILL = (
    "When the task is to buy a fashion product: search the name, open the best one, choose the size, "
    "then buy it."
)


def test_the_prompter() -> None:
    prompter = CompactPrompter()
    [(condition, strategy)] = parse_skills(SKILL)
    skill = Skill("s", "fashion", condition, strategy, "self", 0)
    task = Task("goal-0", "fashion", "x", "train", 0)
    turns = [Turn("buy shoes", (), "search shoes", "search shoes", True, 0.0, None)]
    plain = prompter.messages(task, turns, "page 1 .", [])
    assert [m["content"] for m in plain] == ["buy shoes", "search shoes", "page 1 ."]
    skilled = prompter.messages(task, turns, "page 1 .", [], [skill])
    assert skilled[0]["content"] == f"buy shoes\n\nSkill: {SKILL}"
    assert skilled[1:] == plain[1:]
    assert prompter.parse(" buy ") == ("buy", True, (0, 5))


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (SKILL, True),
        (SKILL.replace("name,", "name with the details,"), True),
        (SKILL.replace(", then buy it", ""), False),
        (SKILL.replace("best", "last"), False),
        ("When the task is to buy a fashion product: buy it.", False),
    ],
)
def test_the_grammar(text: str, good: bool) -> None:
    pairs = parse_skills(text)
    pattern = re.compile(SHOP_SKILL_GRAMMAR)
    assert (rejection(*pairs[0], pattern=pattern) is None) is good


def test_the_summary_prompt() -> None:
    turns = (
        Turn("buy shoes", (), "search shoes", "search shoes", True, 0.0, None),
        Turn("page 1 .", (), "jump", "jump", False, 0.0, None),
        Turn("page 1 .", (), "buy", "buy", True, 10.0, None),
    )
    task = Task("goal-0", "fashion", "x", "train", 0)
    trajectory = Trajectory("t", task, "plain", (), turns, True, StopReason.SUCCESS)
    [message] = CompactSummaryPrompt().messages([trajectory])
    assert (
        message["content"]
        == "Task: buy a fashion product .\nbuy shoes\n> search shoes\n> buy\nSummarize as a skill."
    )


def test_the_suite() -> None:
    suite = webshop_suite(size="tiny", kinds=["fashion"])
    assert suite.name.startswith("siri-shop-tiny (")
    assert {task.kind for tasks in suite.tasks.values() for task in tasks} == {"fashion"}
    task = suite.split("train")[0]
    observation, _ = suite.make_env().reset(options={"task": task})
    assert observation.startswith("buy ")
    window = webshop_suite(size="tiny", style="window", human=True, layout="original", valid_goals=3)
    assert window.name.startswith("siri-shop-tiny-human")
    assert (suite.max_return, webshop_suite(size="tiny", rewards="score").max_return) == (10.0, 1.0)
    assert [len(window.split(name)) for name in ("valid", "eval")] == [3, 3]
    assert sorted(window.tasks) == ["eval", "train", "valid"]
    positions = split_goals(len(GOALS))["valid"]
    assert [t.source for t in webshop_suite(size="tiny").split("valid")] == list(positions)
    for options, message in (
        ({"style": "transcript"}, "style 'transcript'"),
        ({"human": True}, "human goals in the compact style"),
        ({"size": "x"}, "catalogue 'x'"),
    ):
        with pytest.raises(ConfigError, match=message):
            webshop_suite(**options)  # type: ignore[arg-type]
