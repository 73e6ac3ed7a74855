"""gymnasium environments as environments of siri."""

from __future__ import annotations

import gymnasium
import pytest
from gymnasium.spaces import Discrete

import siri.envs  # noqa: F401 (registers the names)
from siri.envs.gym import Gym, Moment, gym_suite, seed_of_source
from siri.envs.spaces import AnyText
from siri.errors import ConfigError, EnvironmentFault
from siri.testing import check_environment, check_prompter
from siri.types import Task
from tests.envs.catalogue import FEW, NAMES, WORLDS

MOVES = {"left": 0, "down": 1, "right": 2, "up": 3}


class Guess(gymnasium.Env[str, str]):
    """Guess a digit: nothing but gymnasium's contract."""

    observation_space = action_space = AnyText(("3",))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.secret = str(int(self.np_random.integers(10))) if options is None else options["secret"]
        return "Which digit?", {}

    def step(self, action):
        won = action == self.secret
        return ("Yes." if won else "No."), 1.0 * won, won, False, {}


def lake() -> Gym:
    """gymnasium's own FrozenLake in words."""
    return Gym(
        gymnasium.make("FrozenLake-v1", is_slippery=False),
        text=lambda cell: f"You stand on cell {int(cell)}.",
        action=MOVES.get,
        admissible=lambda moment: tuple(MOVES),
    )


def test_a_text_environment_as_it_is() -> None:
    env = Gym(Guess())
    text, info = env.reset(seed=3)
    assert (text, info) == (
        "Which digit?",
        {"admissible": (), "success": False, "anchor": "Which digit?", "valid": True},
    )
    assert env.step("x")[1:4] == (0.0, False, False)
    text, reward, terminated, truncated, info = env.step(env.env.unwrapped.secret)  # type: ignore[attr-defined]
    assert (text, reward, terminated, truncated, info["success"]) == ("Yes.", 1.0, True, False, True)
    with pytest.raises(EnvironmentFault, match="after the end"):
        env.step("3")
    env.close()


def test_the_contract() -> None:
    tasks = [Task(str(n), "digit", "guess", "train", n) for n in range(3)]
    check_environment(lambda: Gym(Guess()), tasks, actions=("1", "2", "3"), steps=8)
    check_environment(lake, tasks, steps=12)


def test_the_lake_is_crossed() -> None:
    env = lake()
    env.reset(seed=0)
    told = [env.step(move) for move in ("fly", "down", "down", "right", "right", "down", "right")]
    assert told[0] == ("You stand on cell 0.", 0.0, False, False, told[0][4])
    assert [info["valid"] for *_, info in told] == [False, *[True] * 6]
    assert told[-1][1:4] == (1.0, True, False)
    assert told[-1][4]["success"]


@pytest.mark.parametrize("name", sorted(NAMES))
def test_siris_own_worlds_through_it(name: str) -> None:
    """The adapter adds nothing and takes nothing away."""
    suite = WORLDS[name]()
    task = suite.split("train")[0]
    direct, through = suite.make_env(), Gym(gymnasium.make(NAMES[name], **FEW))
    assert direct.reset(options={"task": task})[0] == through.reset(options={"task": task})[0]
    check_environment(lambda: Gym(gymnasium.make(NAMES[name], **FEW)), [task], steps=8, episodes=1)
    assert suite.expert is not None
    for command in suite.expert.demonstrate(task) or ():
        *mine, info = direct.step(command)
        *other, told = through.step(command)
        assert mine == other
        assert (list(info["admissible"]), info["success"], info["anchor"], info["valid"]) == (
            list(told["admissible"]),
            told["success"],
            told["anchor"],
            told["valid"],
        )
    assert told["success"]


def test_what_a_task_starts() -> None:
    def task(source: object) -> Task:
        return Task("t", "k", "g", "train", source)

    assert seed_of_source(task(None), 5) == (5, None)
    assert seed_of_source(task(7), 5) == (7, None)
    assert seed_of_source(task({"secret": "4"}), 5) == (5, {"secret": "4"})
    other = task("x")
    assert seed_of_source(other, 5) == (5, {"task": other})
    env = Gym(Guess())
    env.reset(options={"task": task({"secret": "4"})})
    assert env.step("4")[2]


def test_functions_of_ones_own() -> None:
    seen: list[Moment] = []

    def success(moment: Moment) -> bool:
        seen.append(moment)
        return moment.total >= 1

    env = Gym(
        Guess(), success=success, anchor=lambda moment: ("digit", moment.total), admissible=lambda _: ["4"]
    )
    env.reset(options={"secret": "4"})
    *_, info = env.step("3")
    assert (info["valid"], info["anchor"], info["success"]) == (False, ("digit", 0.0), False)
    *_, info = env.step("4")
    assert (info["valid"], info["anchor"], info["success"]) == (True, ("digit", 1.0), True)
    assert [moment.text for moment in seen] == ["Which digit?", "No.", "Yes."]


def test_a_suite_of_seeds() -> None:
    suite = gym_suite(
        Guess, goal="Guess the digit.", train_tasks=5, valid_tasks=3, max_steps=4, max_return=1.0
    )
    assert suite.name == "gym"
    assert [task.source for task in suite.split("train")] == [0, 1, 2, 3, 4]
    assert not {t.source for t in suite.split("valid")} & {t.source for t in suite.split("train")}
    check_environment(suite.make_env, suite.split("valid"), actions=("1", "2"), steps=4, episodes=1)
    check_prompter(suite.prompter)
    named = gym_suite("siri/Tools-v0", goal="Answer.", train_tasks=2, valid_tasks=2)
    assert named.make_env().reset(options={"task": named.split("train")[0]})[0].startswith("Question: ")
    with pytest.raises(ConfigError, match="expected 1 to"):
        gym_suite(Guess, goal="g", train_tasks=0)


def test_bad_environments() -> None:
    with pytest.raises(ConfigError, match=r"got int as env, expected a gymnasium\.Env"):
        Gym(3)  # type: ignore[arg-type]
    with pytest.raises(
        EnvironmentFault, match=r"observation of type int, expected a text; fix: Gym\(env, text="
    ):
        Gym(gymnasium.make("FrozenLake-v1")).reset()
    assert isinstance(lake().env.action_space, Discrete)
    with pytest.raises(EnvironmentFault, match="before reset"):
        lake().step("up")
