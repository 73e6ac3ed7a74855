"""Laws that every world of siri keeps, beside those of ``check_environment``."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys

import gymnasium
import numpy
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

import siri.envs  # noqa: F401 (registers the names)
from siri.testing import check_environment, check_prompter
from tests.envs.catalogue import FEW, NAMES, OTHERS, STYLES, WORLDS, digest

ALL = sorted(WORLDS)
EPISODES = {"default": 1000, "babyai": 100, "sokoban": 100}


@pytest.mark.parametrize("name", ALL)
def test_the_contract(name: str) -> None:
    suite = WORLDS[name]()
    for tasks in suite.tasks.values():
        check_environment(suite.make_env, tasks[:4], steps=15, episodes=1)


@pytest.mark.parametrize(("name", "style"), [(name, style) for name in ALL for style in STYLES[name]])
def test_the_prompts(name: str, style: str) -> None:
    check_prompter(WORLDS[name](style=style).prompter)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**31 - 1))
def test_splits_are_disjoint(name: str, seed: int) -> None:
    suite = WORLDS[name](seed=seed)
    tasks = [task for tasks in suite.tasks.values() for task in tasks]
    assert len({task.id for task in tasks}) == len(tasks)
    assert all(task.split == split for split, tasks in suite.tasks.items() for task in tasks)
    env = suite.make_env()
    # a question may be asked again of another table
    instances = [(env.reset(seed=0, options={"task": task})[0], repr(task.source)) for task in tasks]
    assert len(set(instances)) == len(instances)


@pytest.mark.parametrize("name", ALL)
def test_random_episodes(name: str) -> None:
    play_at_random(name, EPISODES.get(name, EPISODES["default"]))


@pytest.mark.long
@pytest.mark.parametrize("name", ALL)
def test_a_thousand_random_episodes(name: str) -> None:
    print(f"{name}: 1000 episodes, {play_at_random(name, 1000)} commands, no fault")


def play_at_random(name: str, episodes: int) -> int:
    """Play them; how many commands they took."""
    suite = WORLDS[name]()
    rng = random.Random(name)
    env = suite.make_env()
    tasks = [task for tasks in suite.tasks.values() for task in tasks]
    taken = 0
    for number in range(episodes):
        _, info = env.reset(seed=number, options={"task": rng.choice(tasks)})
        assert not info["success"]
        steps, terminated, truncated = 0, False, False
        while not (terminated or truncated):
            *_, terminated, truncated, info = env.step(rng.choice(info["admissible"]))
            steps += 1
            assert info["valid"]
            assert terminated or not info["success"]
        assert suite.max_steps is not None
        assert steps <= suite.max_steps
        taken += steps
    return taken


@pytest.mark.parametrize("name", [*ALL, "alfworld", "webshop", "compact webshop"])
def test_the_expert(name: str) -> None:
    """What it shows is carried out and succeeds; what it cannot do it says."""
    suite = (WORLDS | OTHERS)[name]()
    assert suite.expert is not None
    env, shown = suite.make_env(), 0
    tasks = [task for tasks in suite.tasks.values() for task in tasks[:20]]
    for task in tasks:
        commands = suite.expert.demonstrate(task, seed=0)
        assert commands == suite.expert.demonstrate(task, seed=0)
        if commands is None:
            continue
        env.reset(seed=0, options={"task": task})
        for number, command in enumerate(commands, 1):
            *_, terminated, truncated, info = env.step(command)
            assert info["valid"], (task.id, command)
            assert (terminated or truncated) == (number == len(commands))
        assert info["success"]
        shown += 1
    assert shown >= 0.8 * len(tasks)


@pytest.fixture(scope="module", params=[1, 2])
def told(request: pytest.FixtureRequest) -> dict[str, str]:
    """What a process says whose hashes have another seed, which orders sets and nothing else."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.envs.catalogue", "7"],
        env={**os.environ, "PYTHONHASHSEED": str(request.param)},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", ALL)
def test_every_process_says_the_same(name: str, told: dict[str, str]) -> None:
    assert told[name] == digest(name, seed=7)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_gymnasium_checks_it(name: str) -> None:
    check_env(gymnasium.make(NAMES[name], **FEW).unwrapped, skip_render_check=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("siri/ALFWorld-v0", {}),
        ("siri/WebShop-v0", {"size": "tiny"}),
        *((name, FEW) for name in NAMES.values()),
    ],
)
def test_vector_environments_agree(name: str, options: dict) -> None:
    """In this process and in others: with gymnasium's own ``Text``, the second says nothing."""
    told = []
    for mode in ("sync", "async"):
        envs = gymnasium.make_vec(name, num_envs=2, vectorization_mode=mode, **options)
        observations, info = envs.reset(seed=3)
        said = [observations]
        for _ in range(3):
            actions = tuple(str(commands[0]) for commands in info["admissible"])
            observations, rewards, terminated, _, info = envs.step(actions)
            assert all(envs.single_observation_space.contains(text) for text in observations)
            said.append((observations, tuple(rewards), tuple(terminated)))
        told.append(said)
        envs.close()
    assert told[0] == told[1]
    assert numpy.all([len(text) > 3 for text in told[1][0]])
