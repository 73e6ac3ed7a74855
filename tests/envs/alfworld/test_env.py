"""The gymnasium environment: lifecycle, reward, info."""

import json
import random
import sys
from pathlib import Path

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env

from siri.envs.alfworld import ALFWorld, generate_games, load_tasks, solve
from siri.envs.alfworld.games import load_game, read_game
from siri.errors import ConfigError, EnvironmentFault, GameError, MissingExtra
from siri.protocols import Environment
from siri.testing import check_environment
from siri.types import Task
from tests.envs.alfworld import house
from tests.envs.alfworld.cases import live


@pytest.fixture
def task(tmp_path):
    house.write(tmp_path, "pick_heat_then_place_in_recep")
    return load_tasks(tmp_path, split="train")[0]


def test_is_an_environment_and_a_gymnasium_env():
    env = ALFWorld()
    assert isinstance(env, Environment)
    assert isinstance(env, gymnasium.Env)


def test_reset_tells_the_task_and_the_commands(task):
    env = ALFWorld()
    observation, info = env.reset(seed=1, options={"task": task})
    assert observation.endswith(f"Your task is to: {task.goal}")
    assert (info["success"], info["valid"]) == (False, True)
    assert "go to fridge 1" in info["admissible"]
    assert env.observation_space.contains(observation)
    assert all(env.action_space.contains(command) for command in info["admissible"])


def test_the_winning_step_alone_is_rewarded(task):
    env = ALFWorld()
    env.reset(options={"task": task})
    results = [env.step(command) for command in solve(load_game(task.source))]
    assert [r[1] for r in results] == [0.0] * (len(results) - 1) + [10.0]
    assert [r[2] for r in results] == [False] * (len(results) - 1) + [True]
    assert not any(r[3] for r in results)
    assert results[-1][4]["success"]


def test_refused_commands_count_towards_the_limit(task):
    env = ALFWorld(max_steps=2, reward=1.0)
    env.reset(options={"task": task})
    assert env.step("dance")[:4] == ("Nothing happens.", 0.0, False, False)
    *_, truncated, info = env.step("dance")
    assert truncated
    assert not info["valid"]


def test_winning_on_the_last_step_is_no_truncation(task):
    commands = solve(load_game(task.source))
    env = ALFWorld(max_steps=len(commands))
    env.reset(options={"task": task})
    *_, (_, reward, terminated, truncated, _) = [env.step(command) for command in commands]
    assert (reward, terminated, truncated) == (10.0, True, False)


def test_steps_outside_an_episode_are_faults(task):
    env = ALFWorld(max_steps=1)
    with pytest.raises(EnvironmentFault, match="before reset"):
        env.step("look")
    env.reset(options={"task": task})
    env.step("look")
    with pytest.raises(EnvironmentFault, match="after the end"):
        env.step("look")
    env.reset(options={"task": task})
    assert env.step("look")[4]["valid"]


def test_equal_actions_give_equal_results(task):
    def play(seed):
        env = ALFWorld()
        return [env.reset(seed=seed, options={"task": task})] + [
            env.step(c) for c in ("look", "go to desk 1")
        ]

    assert play(0) == play(1)


@pytest.mark.parametrize("options", [None, {}, {"task": "heat"}])
def test_reset_needs_a_task(options):
    with pytest.raises(ConfigError, match="load_tasks"):
        ALFWorld().reset(options=options)


def test_a_task_needs_its_file():
    with pytest.raises(GameError, match="'t'"):
        ALFWorld().reset(options={"task": Task("t", "k", "g", "train")})


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="max_steps"):
        ALFWorld(max_steps=0)
    for name, value in (("engine", "unity"), ("anchor", "text"), ("render_mode", "human"), ("games", "data")):
        with pytest.raises(ConfigError, match=name):
            ALFWorld(**{name: value})
    with pytest.raises(ConfigError, match="observable"):
        ALFWorld(engine="textworld", anchor="observable")


def test_the_reference_needs_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "textworld", None)
    with pytest.raises(MissingExtra, match=r"siri-rl\[alfworld\]"):
        ALFWorld(engine="textworld")


@pytest.fixture(scope="module")
def games(tmp_path_factory):
    return generate_games(12, seed=0, split="train", scale=0.2, directory=tmp_path_factory.mktemp("games"))


@pytest.mark.parametrize("engine", ["native", pytest.param("textworld", marks=live)])
def test_conforms(task, engine):
    check_env(gymnasium.make("siri/ALFWorld-v0", games=[task], engine=engine, max_steps=5).unwrapped)
    check_environment(lambda: ALFWorld(engine=engine, max_steps=4), [task], steps=5, episodes=1)


def test_made_by_name(games, tmp_path):
    generate_games(6, seed=0, split="valid_seen", scale=0.2, directory=tmp_path)
    env = gymnasium.make("siri.envs:siri/ALFWorld-v0", games=tmp_path, split="valid_seen", render_mode="ansi")
    observation, _ = env.reset(seed=0)
    assert env.render() == observation
    assert {t.split for t in env.unwrapped.games} == {"valid_seen"}
    assert len(gymnasium.make("siri/ALFWorld-v0").unwrapped.games) == 60


def test_the_seed_chooses_the_game(games):
    env = ALFWorld(games=games)
    first = [env.reset(seed=5)[0], *(env.reset()[0] for _ in range(20))]
    again = [env.reset(seed=5)[0], *(env.reset()[0] for _ in range(20))]
    assert first == again
    assert len(set(first)) > 6


def test_space_covers_every_text(tmp_path):
    """Tasks in any script, and everything that is said while all kinds are played at random."""
    tasks = generate_games(6, seed=1, split="train", scale=0.2, directory=tmp_path)
    content = read_game(tasks[0].source)
    text = content["grammar"].replace("Your task is to: ", "Your task is to: Ünï ☃ 漢字 ", 1)
    Path(tasks[0].source).write_text(json.dumps(content | {"grammar": text}))
    env, rng = ALFWorld(games=load_tasks(tmp_path, split="train")), random.Random(0)
    for seed in range(12):
        observation, info = env.reset(seed=seed)
        over = False
        while not over:
            assert observation in env.observation_space
            assert all(command in env.action_space for command in info["admissible"])
            observation, _, terminated, truncated, info = env.step(rng.choice(info["admissible"]))
            over = terminated or truncated


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_vectorized(games, mode):
    count = 8 if mode == "sync" else 2
    envs = gymnasium.make_vec(
        "siri/ALFWorld-v0", num_envs=count, vectorization_mode=mode, games=games, max_steps=6
    )
    observations, info = envs.reset(seed=3)
    rng, ended = random.Random(0), 0
    for _ in range(20):
        commands = tuple(rng.choice(list(found)) for found in info["admissible"])
        observations, _, terminated, truncated, info = envs.step(commands)
        ended += int((terminated | truncated).sum())
    assert len(observations) == count
    assert ended >= 2 * count
    envs.close()


def test_anchors_tell_states_apart(task):
    def after(anchor, *commands):
        env = ALFWorld(anchor=anchor)
        _, info = env.reset(options={"task": task})
        for command in commands:
            info = env.step(command)[4]
        return info["anchor"]

    opened = ("go to fridge 1", "open fridge 1", "go to desk 1")
    assert after("state", *opened) != after("state", "go to desk 1")
    assert after("observable", *opened) == after("observable", "go to desk 1")
    assert after("observable", "go to fridge 1") != after("observable", "go to fridge 1", "open fridge 1")
    assert after("observation", "dance") == after("observation", "go to desk 1", "sing") == "Nothing happens."
    hand = ("go to countertop 1", "take apple 2 from countertop 1")
    hot = (*hand, "go to microwave 1", "heat apple 2 with microwave 1", "go to countertop 1")
    assert after("observable", *hand) != after("observable", *hot)


def test_domain_randomization_numbers_at_random(games):
    env = ALFWorld(games=games[:1], domain_randomization=True)
    seen = {env.reset(seed=seed)[0] for seed in range(10)}
    assert len(seen) > 1
    assert env.reset(seed=4) == env.reset(seed=4)
    (plain,) = {ALFWorld(games=games[:1]).reset(seed=seed)[0] for seed in range(10)}
    assert sorted(plain.split()) != []
    assert {len(text) for text in seen} == {len(plain)}
