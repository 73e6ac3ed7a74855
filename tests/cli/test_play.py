"""`siri play` on ALFWorld, by an expert, a model and a person."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from siri import cli
from siri.envs.alfworld import KINDS, generate_games

SMALL = ("--set", "env.train_games=6", "--set", "env.valid_games=6")


def siri(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command line in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["siri", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.parametrize("task", range(3))
def test_the_expert_solves_a_task_of_the_suite(task: int, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    assert siri(monkeypatch, "play", "--policy", "expert", "--task", task, *SMALL) == 0
    shown = capsys.readouterr().out
    assert "Your task is to:" in shown
    assert "Solved after" in shown


def test_the_expert_solves_a_game_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    task = generate_games(1, seed=3, split="train", directory=tmp_path)[0]
    assert siri(monkeypatch, "play", Path(task.source).parent, "--policy", "expert") == 0
    assert "Solved after" in capsys.readouterr().out


def test_the_embedded_policy_plays(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    settings = ("--set", "env.max_steps=3", *SMALL)
    assert siri(monkeypatch, "play", "--policy", "tiny", *settings) == 0
    shown = capsys.readouterr().out
    assert shown.count("\n> ") == 3
    assert "Not solved after 3 steps." in shown


def test_a_person_chooses_by_number_and_stops(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("0\nfly away\n"))
    assert siri(monkeypatch, "play", *SMALL) == 0
    shown = capsys.readouterr().out
    assert shown.count("(refused)") == 1
    assert shown.endswith("stopped\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--task", 99, *SMALL), "--task 99"),
        (("nothing.tw-pddl",), "nothing.tw-pddl"),
        (("nothing.tw-pddl", "--env", "webshop"), "a game file with --env"),
        (("--env", "webshop", "--engine", "textworld", "--set", "env.catalog=tiny"), "expected ALFWorld"),
    ],
)
def test_bad_input_is_one_sentence(arguments, message: str, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    assert siri(monkeypatch, "play", *arguments) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1


def test_the_prompt_is_what_the_agent_reads_in_either_arm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """Deleting the block from the skill arm's prompt gives the plain arm's, byte for byte."""
    skill = {"condition": "the task is any", "strategy": "search the desk first"}
    (tmp_path / "mine.json").write_text(json.dumps([skill | {"kind": kind} for kind in KINDS]))
    shown = {}
    arguments = ("play", "--prompt", "--policy", "tiny", "--set", "env.max_steps=2", *SMALL)
    for arm, more in (("plain", ()), ("skill", ("--skills", tmp_path / "mine.json", "--candidates"))):
        assert siri(monkeypatch, *arguments, *more) == 0
        text = capsys.readouterr().out
        assert f"prompt, {arm} arm" in text
        shown[arm] = text[text.index("<|user|>") :].split("\n──")[0]
    assert "search the desk first" in shown["skill"]
    assert "search the desk first" not in shown["plain"]
    pairs = enumerate(zip(shown["plain"], shown["skill"], strict=False))
    same = next(n for n, (a, b) in pairs if a != b)
    after = shown["plain"][same:]
    assert shown["skill"].endswith(after)
    assert "search the desk first" in shown["skill"][same : len(shown["skill"]) - len(after)]
    assert siri(monkeypatch, *arguments[:2], "--policy", "expert", *SMALL) == 0
    assert "prompt, plain arm, messages" in capsys.readouterr().out
    assert siri(monkeypatch, *arguments, "--skills", tmp_path / "mine.json") == 2
    assert "--candidates" in capsys.readouterr().err
