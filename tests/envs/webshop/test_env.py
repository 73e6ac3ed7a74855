"""The environment: episodes, rewards, what it refuses."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env

from siri.envs.webshop import WebShop, build_goals, bundled_catalog, oracle, shared_index, write_catalog
from siri.errors import CatalogError, ConfigError, EnvironmentFault
from siri.protocols import Environment
from siri.types import Task

from .shop import product

CATALOG = bundled_catalog("tiny")
GOALS = build_goals(CATALOG)


def perfect(env: WebShop, goal: int) -> tuple[str, float, bool, bool, dict]:
    env.reset(options={"goal": goal})
    assert env.session is not None
    last = None
    for action in oracle(env.session):
        last = env.step(action)
    assert last is not None
    return last  # type: ignore[return-value]


def test_it_is_an_environment() -> None:
    assert isinstance(WebShop(CATALOG, GOALS), Environment)


def test_a_perfect_purchase() -> None:
    env = WebShop(CATALOG, GOALS)
    observation, reward, terminated, truncated, info = perfect(env, 3)
    assert (reward, terminated, truncated) == (10.0, True, False)
    assert info["success"]
    assert info["score"] == 1.0
    assert info["admissible"] == []
    assert info["extra"]["reward"]["r_type"] == 1.0
    assert info["extra"]["nouns"] in ("rule", "spacy")
    assert observation.startswith("Thank you")
    with pytest.raises(EnvironmentFault, match="after the end"):
        env.step("search[x]")


@pytest.mark.parametrize(("rewards", "reward"), [("training", 0.0), ("score", None)])
def test_an_imperfect_purchase(rewards: str, reward: float | None) -> None:
    env = WebShop(CATALOG, GOALS, rewards=rewards)  # type: ignore[arg-type]
    number = next(n for n, goal in enumerate(GOALS) if goal.options)
    env.reset(options={"goal": number})
    env.step(f"search[{GOALS[number].name}]")
    env.step(f"click[{GOALS[number].asin}]")
    _, got, terminated, _, info = env.step("click[buy now]")
    assert terminated
    assert not info["success"]
    assert 0 < info["score"] < 1
    assert got == (info["score"] if reward is None else reward)


def test_the_step_limit_counts_refused_actions() -> None:
    env = WebShop(CATALOG, GOALS, max_steps=3)
    env.reset(options={"goal": 0})
    assert env.step("nonsense")[2:4] == (False, False)
    _, reward, terminated, truncated, info = env.step("search[x]")
    assert info["valid"]
    _, reward, terminated, truncated, info = env.step("click[buy now]")
    assert (reward, terminated, truncated, info["valid"], info["score"]) == (0.0, False, True, False, 0.0)


def test_info_of_the_first_page() -> None:
    env = WebShop(CATALOG, GOALS)
    observation, info = env.reset(options={"goal": 1})
    assert observation == f"WebShop [SEP] Instruction: [SEP] {GOALS[1].instruction} [SEP] Search"
    assert info["admissible"] == ["search[<your query>]"]
    assert info["valid"]
    assert not info["success"]
    env.step("search[lamp]")
    results = env.step("click[next >]")[4]
    assert results["admissible"][:3] == ["click[back to search]", "click[< prev]", "click[next >]"]


def test_every_admissible_action_is_valid() -> None:
    env = WebShop(CATALOG, GOALS)
    for number in range(5):
        _, info = env.reset(options={"goal": number})
        for action in (f"search[{GOALS[number].query}]", f"click[{GOALS[number].asin}]"):
            for other in info["admissible"]:
                assert env.session is not None
                assert env.session.allows(other)
            info = env.step(action)[4]


def test_which_goal() -> None:
    env = WebShop(CATALOG, GOALS)
    env.reset(options={"task": Task("goal-7", "k", "", "train", 7)})
    assert env.session is not None
    assert env.session.goal is GOALS[7]
    for wrong in (len(GOALS), -1, "7", True and 3.0):
        with pytest.raises(ConfigError, match="expected an index from 0 to"):
            env.reset(options={"goal": wrong})
    with pytest.raises(ConfigError, match="got goal None"):
        env.reset(options={"task": Task("a", "k", "", "train")})


def test_goals_are_drawn_by_seed() -> None:
    drawn = []
    for _ in range(2):
        env = WebShop(CATALOG, GOALS)
        drawn.append([env.reset(seed=5)[0], *[env.reset()[0] for _ in range(20)]])
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) > 5


def test_rich_text_and_attributes() -> None:
    env = WebShop(CATALOG, GOALS, observation="text_rich", show_attributes=True)
    observation, _ = env.reset(options={"goal": 0})
    assert observation.endswith("[button] Search [button_]\n")
    env.step(f"search[{GOALS[0].name}]")
    info = env.step(f"click[{GOALS[0].asin}]")[4]
    assert "click[attributes]" in info["admissible"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"observation": "html"}, "observation 'html'"),
        ({"rewards": "dense"}, "rewards 'dense'"),
        ({"max_steps": 0}, "max_steps=0"),
        ({"nouns": "x"}, "nouns='x'"),
    ],
)
def test_what_it_refuses(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WebShop(CATALOG, GOALS, **options)


def test_it_refuses_no_goals_and_another_index() -> None:
    with pytest.raises(ConfigError, match="no goals"):
        WebShop(CATALOG, [])
    with pytest.raises(ConfigError, match="another catalogue"):
        WebShop(CATALOG, GOALS, index=shared_index(bundled_catalog("tiny", seed=1)))
    with pytest.raises(EnvironmentFault, match="before reset"):
        WebShop(CATALOG, GOALS).step("search[x]")


def test_environments_share_one_index() -> None:
    assert WebShop(CATALOG, GOALS).index is WebShop(CATALOG, GOALS).index


def test_gymnasium_makes_it(tmp_path: Path) -> None:
    env = gymnasium.make("siri/WebShop-v0", size="tiny", max_steps=5)
    observation, _ = env.reset(seed=0, options={"goal": 0})
    assert observation.startswith("WebShop [SEP] Instruction: [SEP] Find me ")
    check_env(env.unwrapped, skip_render_check=True)
    write_catalog(tmp_path, 10)
    unwrapped = gymnasium.make("siri/WebShop-v0", data=tmp_path, human=True).unwrapped
    assert isinstance(unwrapped, WebShop)
    assert len(unwrapped.index.catalog) == 10
    with pytest.raises(ConfigError, match="catalogue 'huge'"):
        gymnasium.make("siri/WebShop-v0", size="huge")


def test_a_folder_with_an_index(tmp_path: Path) -> None:
    from siri.envs.webshop.folder import load_folder

    write_catalog(tmp_path, 20)
    catalog, index = load_folder(tmp_path)
    assert index is None
    shared_index(catalog).save(tmp_path / "index")
    again, index = load_folder(tmp_path)
    assert index is not None
    assert index.catalog is again
    (tmp_path / "items_shuffle_1000.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"items_shuffle.json, items_shuffle_1000.json for items_shuffle\*"):
        load_folder(tmp_path)
    for path in tmp_path.glob("items_shuffle*"):
        path.unlink()
    with pytest.raises(ConfigError, match="got none for items_shuffle"):
        load_folder(tmp_path)
    write_catalog(tmp_path, 15)
    with pytest.raises(CatalogError, match="build and save it again"):
        load_folder(tmp_path)


def test_lower_case_ids_can_be_opened() -> None:
    from siri.envs.webshop import Catalog

    from .shop import goal

    catalog = Catalog((product(asin="aBc"),))
    env = WebShop(catalog, [goal()])
    env.reset(options={"goal": 0})
    env.step("search[shoes]")
    assert env.step("click[ABC]")[4]["valid"]
    assert env.step("click[buy now]")[4]["score"] == 1.0
