"""A run in one call: what house-made snippets do, what they leave behind, what they refuse."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import siri
from siri.algos import Loss, TokenBatch, TokenScores
from siri.runs import RunDirectory, compare
from siri.testing import check_prompter
from siri.types import Info, Task, Turn
from tests.smoke import siri as command

SMALL = {
    "warmup": {"successes": 1, "max_iterations": 1},
    "mining": {"max_iterations": 1, "min_iterations": 1},
    "rollout": {"tasks": 2, "group_size": 4},
    "internalization.iterations": 1,
}


class Lamp:
    """The environment of the README: ten words, no list of admissible actions, no end of its own."""

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[str, Info]:
        return "A dark room.", siri.info(anchor="dark")

    def step(self, action: str) -> tuple[str, float, bool, bool, Info]:
        won = action == "use lamp"
        return "Light.", 10.0 * won, won, False, siri.info(success=won)


def lamps(**options: Any) -> siri.Suite:
    return siri.Suite.of(Lamp, tasks=["light the lamp"] * 8, max_steps=5, **options)


def test_a_suite_of_a_few_lines_has_splits_a_prompter_and_an_end() -> None:
    suite = lamps()
    assert {split: len(tasks) for split, tasks in suite.tasks.items()} == {"train": 6, "valid": 2}
    names = [task.id for tasks in suite.tasks.values() for task in tasks]
    assert len(set(names)) == 8
    assert lamps().tasks == suite.tasks
    assert (suite.name, suite.max_steps, suite.max_return) == ("lamp", 5, 10.0)
    assert repr(suite) == "Suite('lamp': 6 train, 2 valid tasks)"
    env = suite.make_env()
    observation, info = env.reset(options={"task": suite.split("train")[0]})
    assert (observation, info["anchor"], info["admissible"]) == ("A dark room.", "dark", ())
    answers = [env.step("wait") for _ in range(5)]
    assert [truncated for _, _, _, truncated, _ in answers] == [False] * 4 + [True]
    assert answers[0][4] == {"success": False, "valid": True, "admissible": (), "anchor": "Light."}


@pytest.mark.parametrize(
    ("count", "splits"), [(1, (1, 0)), (2, (1, 1)), (3, (2, 1)), (4, (3, 1)), (9, (7, 2))]
)
def test_few_tasks_are_split_too(count: int, splits: tuple[int, int]) -> None:
    suite = siri.Suite.of(Lamp, tasks=["x"] * count)
    assert (len(suite.tasks["train"]), len(suite.tasks.get("valid", ()))) == splits


def test_tasks_that_are_whole_keep_their_splits() -> None:
    tasks = [Task("a", "k", "g", "train"), Task("b", "k", "g", "test")]
    assert dict(siri.Suite.of(Lamp, tasks).tasks) == {"train": tasks[:1], "test": tasks[1:]}
    for wrong, message in ((tasks[1:], "none to train on"), (tasks[:1] * 2, "two tasks with the id 'a'")):
        with pytest.raises(siri.ConfigError, match=message):
            siri.Suite.of(Lamp, wrong)
    with pytest.raises(siri.ConfigError, match="max_steps=0"):
        siri.Suite.of(Lamp, tasks, max_steps=0)
    with pytest.raises(siri.ConfigError, match="expected its class"):
        siri.Suite.of(3, tasks)  # type: ignore[arg-type]


def test_the_chat_prompter_keeps_the_laws() -> None:
    prompter = siri.ChatPrompter()
    check_prompter(prompter)
    turn = Turn("A room.", ("look", "go"), "look", "look", True, 0.0, None)
    first, answer, second = prompter.messages(Task("t", "k", "light it", "train"), [turn], "Dark.", ["go"])
    assert "You can: look, go." in first["content"]
    assert "light it" in first["content"]
    assert (answer["content"], second["content"]) == ("look", "Dark.\n\nYou can: go.")
    for text, parsed in (
        (" use lamp ", ("use lamp", True, (0, 10))),
        ("use lamp\nbecause it is dark", ("use lamp", True, (0, 8))),
        ("<think>hm</think> <action> use lamp </action>", ("use lamp", True, (26, 36))),
        ("\n ", ("", False, (0, 2))),
    ):
        assert prompter.parse(text) == parsed


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> siri.Run:
    """Lamps, trained shortly by the embedded policy."""
    config = SMALL | {
        "rollout": {"tasks": 4, "group_size": 8},
        "warmup": {"successes": 1000, "max_iterations": 5},
    }
    out = tmp_path_factory.mktemp("runs") / "lamp"
    return siri.train(lamps(), policy="tiny", miner="self", out=out, config=config)


def test_the_lamp_is_lit(run: siri.Run) -> None:
    x, y = run.curve("arm/plain/success")
    assert len(x) == len(y) == 7
    assert max(y) > y[0]
    assert run.state == "finished"
    assert run.summary.final is not None
    assert set(run.summary.final) == {"valid"}
    found = run.evaluate("valid", seeds=3)
    assert (found.n, len(found.each)) == (6, 3)
    assert found.each[0].rate == run.summary.final["valid"]["plain"].rate


def test_a_run_made_in_python_is_a_run_like_any_other(run: siri.Run) -> None:
    described = json.loads(run.directory.config.read_text())
    assert described["env"] == "python:Lamp" or described["env"].startswith("python:")
    assert described["config"]["evaluation"]["splits"] == ["valid"]
    opened = siri.Run.open(run.path)
    assert compare([opened, run]).settings == {}
    with pytest.raises(siri.ConfigError, match="pass it"):
        opened.suite()
    assert opened.policy().generate


def test_nothing_is_printed_and_a_taken_folder_is_refused(
    run: siri.Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = SMALL | {"env": {"train_games": 4, "valid_games": 2, "max_steps": 4}}
    made = siri.train("alfworld", miner="none", out=tmp_path / "run", preset="smoke", config=config)
    assert capfd.readouterr() == ("", "")
    assert made.suite().name == "alfworld-generated"
    for out in (run.path, made.path):
        with pytest.raises(siri.ConfigError, match="holds a run"):
            siri.train(lamps(), out=out)
    again = siri.train(out=made.path, resume=True)
    assert again.metrics == made.metrics or dict(again.metrics).keys() == dict(made.metrics).keys()


def test_a_stream_that_is_left_can_be_continued_to_the_same_end(tmp_path: Path) -> None:
    config = SMALL | {"env": {"train_games": 4, "valid_games": 2, "max_steps": 4}, "checkpoint.every": 100}

    def numbers(path: Path) -> list[dict[str, Any]]:
        return [{k: v for k, v in row.items() if k != "time"} for row in RunDirectory(path).read_metrics()]

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert [i.index for i in siri.stream(out=whole, preset="smoke", config=config)] == [0, 1, 2]
    for _ in siri.stream(out=cut, preset="smoke", config=config):
        break
    assert siri.Run.open(cut).state == "interrupted"
    assert [i.index for i in siri.stream(out=cut, resume=True)] == [1, 2]
    assert numbers(cut) == numbers(whole)


def test_own_miner_and_own_term_train_with_all_of_a_runs_care(tmp_path: Path) -> None:
    asked, seen = [], []

    def my_llm(messages: list[Any], seed: int) -> str:
        asked.append(seed)
        return json.dumps([{"condition": "it is dark", "strategy": "use the lamp."}])

    def my_term(batch: TokenBatch, scores: TokenScores) -> Loss:
        seen.append(batch)
        return Loss(scores.logprobs.sum() * 0.0, {"mine/zero": 0.0})

    config = siri.preset("smoke")
    run = siri.train(
        lamps(),
        miner=siri.skills.ChatWriter(complete=my_llm),
        objective=siri.objective(config) + my_term,
        out=tmp_path / "own",
        preset="smoke",
        config=SMALL | {"warmup": {"successes": 1, "max_iterations": 4}},
    )
    assert seen
    assert set(run.metrics["mine/zero"]) == {0.0}
    assert run.recipe.miner == "python:ChatWriter"


@pytest.mark.slow
def test_the_lamp_as_the_readme_trains_it(tmp_path: Path) -> None:
    run = siri.train(
        siri.Suite.of(Lamp, tasks=["light the lamp"] * 8, max_steps=5),
        policy="tiny",
        miner="self",
        out=tmp_path / "lamp",
    )
    assert run.evaluate("valid", seeds=3).rate == 1.0


def test_another_method_trains_by_its_name(tmp_path: Path) -> None:
    words = tmp_path / "words.yaml"
    words.write_text("'*': use the lamp.\n")
    run = siri.train(
        lamps(),
        out=tmp_path / "run",
        preset="smoke",
        config=SMALL | {"internalization.iterations": 0, "mining.max_iterations": 0},
        recipe="sdar",
        advice=words,
    )
    assert run.config.advantage.omega == 0.0
    assert run.config.rollout.tasks == 2
    assert all(row["teacher/known"] == 1.0 for row in RunDirectory(run.path).read_metrics())
    assert json.loads((tmp_path / "run" / "config.json").read_text())["method"] == "sdar"


def test_the_best_is_kept_as_weights_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that is measured like RUN/model, comes out the same after an interruption, and holds no run."""
    game = {"env": {"train_games": 4, "valid_games": 2, "max_steps": 4}}
    config = SMALL | game | {"checkpoint": {"keep": 1, "best": "weights"}}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run = siri.train(out=whole, preset="smoke", config=config)
    assert [path.name for path in (whole / "checkpoints").iterdir()] == ["000003"]
    for _ in siri.stream(out=cut, preset="smoke", config=config):
        break
    assert (cut / "best" / "model.safetensors").is_file()
    siri.train(out=cut, resume=True)
    names = ["model.safetensors", "config.json"]
    assert all((cut / "best" / n).read_bytes() == (whole / "best" / n).read_bytes() for n in names)
    assert command(monkeypatch, "eval", whole / "best", "--split", "valid_seen", "--limit", 1) == 0
    assert "valid_seen" in capsys.readouterr().out
    assert run.config.checkpoint.best == "weights"
    with pytest.raises(siri.ConfigError, match=r"best, a model, expected a run; fix: ") as refused:
        siri.train(out=whole / "best", resume=True)
    assert len(str(refused.value)) <= 300
