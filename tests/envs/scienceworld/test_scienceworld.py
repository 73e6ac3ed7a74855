"""ScienceWorld: splits without a simulator, and the laws of the others with one."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

pytest.importorskip("scienceworld", reason="needs the extra scienceworld")
if shutil.which("java") is None:
    pytest.skip("needs a Java runtime", allow_module_level=True)

from siri.envs.scienceworld import TASKS, GoldExpert, ScienceWorld, Variation, scienceworld_suite, variations
from siri.errors import ConfigError, EnvironmentFault, MissingExtra
from siri.rollout.suite import Suite
from siri.testing import check_environment, check_prompter
from siri.types import Task

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
QUICK = Task("t", "find-plant", "find plant", "train", Variation("find-plant", 3))


@pytest.fixture(scope="module")
def env() -> Iterator[ScienceWorld]:
    made = ScienceWorld(max_steps=12)
    yield made
    made.close()


@pytest.mark.parametrize("task", sorted(TASKS))
def test_variations_are_shared_out(task: str) -> None:
    train, valid, test = (variations(task, split) for split in ("train", "valid", "test"))
    assert [*train, *valid, *test] == list(range(TASKS[task]))
    assert len(train) >= len(test) >= len(valid) >= 2


def test_splits_are_disjoint_and_kinds_take_turns() -> None:
    suite = scienceworld_suite(train_tasks=70, valid_tasks=35)
    tasks = [task for tasks in suite.tasks.values() for task in tasks]
    assert len({(task.source.name, task.source.number) for task in tasks}) == len(tasks) == 140
    assert [task.kind for task in suite.split("train")[:30]] == list(TASKS)
    for split, own in suite.tasks.items():
        assert all(task.split == split and task.source.number in variations(task.kind, split) for task in own)
    assert suite.tasks == scienceworld_suite(train_tasks=70, valid_tasks=35).tasks
    assert suite.tasks != scienceworld_suite(train_tasks=70, valid_tasks=35, seed=1).tasks
    few = scienceworld_suite(kinds=["boil"], train_tasks=99, valid_tasks=99)
    assert [len(tasks) for tasks in few.tasks.values()] == [14, 7, 9]


@pytest.mark.parametrize("style", ["transcript", "window"])
def test_the_prompts(style: str) -> None:
    check_prompter(scienceworld_suite(style=style, train_tasks=1, valid_tasks=1).prompter)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"style": "compact"}, "style 'compact'"),
        ({"kinds": ["fly"]}, "kinds"),
        ({"train_tasks": 0}, "expected 1 or more"),
        ({"max_steps": 0}, "max_steps"),
    ],
)
def test_bad_settings(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        scienceworld_suite(**settings).make_env()
    assert len(str(caught.value)) <= 300


def test_without_package_or_java(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EnvironmentFault, match="before reset"):
        ScienceWorld().step("look around")
    with pytest.raises(ConfigError, match="expected one of scienceworld_suite"):
        ScienceWorld().reset()
    with pytest.raises(ConfigError, match="task 'fly'"):
        variations("fly", "train")
    with monkeypatch.context() as patched:
        patched.setenv("PATH", "")
        with pytest.raises(ConfigError, match="no java on the PATH"):
            scienceworld_suite()
    monkeypatch.setitem(sys.modules, "scienceworld", None)
    with pytest.raises(MissingExtra, match=r"siri-rl\[scienceworld\]"):
        scienceworld_suite()


@pytest.mark.slow
def test_an_episode(env: ScienceWorld) -> None:
    text, info = env.reset(options={"task": QUICK})
    assert text.startswith("Your task is to find a(n) plant.")
    start = info["anchor"]
    text, reward, terminated, truncated, info = env.step("fly to the moon")
    assert (text, info["valid"]) == ("No known action matches that input.", False)
    assert (reward, terminated, truncated, info["score"]) == (0.0, False, False, 0.0)
    text, *_, info = env.step("teleport to greenhouse")
    assert info["valid"]
    assert info["anchor"] != start
    assert info["score"] > 0
    again, info = env.reset(options={"task": QUICK})
    assert info["anchor"] == start
    assert env.reset(options={"task": QUICK})[0] == again


@pytest.mark.slow
def test_a_mistake_that_cannot_be_mended_ends_the_episode(env: ScienceWorld) -> None:
    env.reset(options={"task": QUICK})
    for command in ("focus on agent", "focus on air"):
        _, reward, terminated, _, info = env.step(command)
        if terminated:
            break
    assert (reward, terminated, info["success"], info["score"]) == (0.0, True, False, 0.0)
    with pytest.raises(EnvironmentFault, match="after the end"):
        env.step("look around")


@pytest.mark.slow
def test_the_contract() -> None:
    made: list[ScienceWorld] = []

    def make() -> ScienceWorld:
        if not made:  # simulators are dear, and each plays any number of episodes
            made.append(ScienceWorld(max_steps=8))
        return made[0]

    try:
        commands = ("look around", "inventory", "teleport to kitchen", "open freezer", "fly")
        check_environment(make, [QUICK], actions=commands, steps=8, episodes=1)
    finally:
        made[0].close()


@pytest.mark.long
def test_upstream_has_these_variations(env: ScienceWorld) -> None:
    env.reset(options={"task": QUICK})
    simulator = env.simulator
    assert sorted(simulator.get_task_names()) == sorted(TASKS)
    for task in TASKS:
        simulator.load(task, 0, "")
        assert simulator.get_max_variations(task) == TASKS[task]
        found = (
            simulator.get_variations_train(),
            simulator.get_variations_dev(),
            simulator.get_variations_test(),
        )
        assert [list(variations(task, split)) for split in ("train", "valid", "test")] == list(
            map(list, found)
        )


@pytest.mark.long
def test_upstreams_solutions_succeed() -> None:
    suite = scienceworld_suite(kinds=["find-plant", "use-thermometer"], train_tasks=4, valid_tasks=1)
    assert isinstance(suite.expert, GoldExpert)
    env = suite.make_env()
    try:
        assert played_by_the_expert(suite, env) >= 3
    finally:
        env.close()  # type: ignore[attr-defined]
        suite.expert.close()


def played_by_the_expert(suite: Suite, env: object) -> int:
    shown = 0
    for task in suite.split("train"):
        commands = suite.expert.demonstrate(task)  # type: ignore[union-attr]
        if commands is None:
            continue
        env.reset(options={"task": task})  # type: ignore[attr-defined]
        for command in commands:
            *_, terminated, _, info = env.step(command)  # type: ignore[attr-defined]
        assert terminated
        assert info["success"]
        shown += 1
    return shown


def told(seed: int) -> list[object]:
    """What random episodes say, one a kind."""
    suite = scienceworld_suite(train_tasks=30, valid_tasks=1, max_steps=10, list_commands=True)
    env, rng, said = suite.make_env(), random.Random(seed), list[object]()
    try:
        for task in suite.split("train"):
            text, info = env.reset(seed=seed, options={"task": task})
            over = False
            while not over:
                said.append((text, info["anchor"], len(info["admissible"]), info["score"]))
                text, _, terminated, truncated, info = env.step(rng.choice(info["admissible"]))
                over = terminated or truncated
            said.append((text, info["success"], info["score"]))
    finally:
        env.close()  # type: ignore[attr-defined]
    return said


@pytest.mark.long
def test_thirty_random_episodes_and_every_process_says_the_same() -> None:
    command = [sys.executable, "-m", "tests.envs.scienceworld.test_scienceworld", "5"]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONHASHSEED": "1"}, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == json.loads(json.dumps(told(5)))


if __name__ == "__main__":
    print(json.dumps(told(int(sys.argv[1]))))
