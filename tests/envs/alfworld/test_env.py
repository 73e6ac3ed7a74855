"""The gymnasium environment: lifecycle, reward, info."""

import gymnasium
import pytest

from siri.envs.alfworld import ALFWorld, load_tasks, solve
from siri.envs.alfworld.games import load_game
from siri.errors import ConfigError, EnvironmentFault, GameError, MissingExtra
from siri.protocols import Environment
from siri.types import Task
from tests.envs.alfworld import house


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
    with pytest.raises(ConfigError, match="engine"):
        ALFWorld(engine="unity")
    with pytest.raises(MissingExtra, match="alfworld"):
        ALFWorld(engine="textworld")
