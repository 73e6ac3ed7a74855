"""The native engine against alfworld's own: recorded transcripts, and live where it is installed.

Live tests are skipped without the extra; ``make test`` installs it. ``make parity`` plays the long version.
"""

from __future__ import annotations

import gzip
import importlib
import json
import os
import random
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from siri.envs.alfworld.engine import State
from siri.envs.alfworld.game import parse_game
from siri.envs.alfworld.games import KINDS, load_tasks, read_game, survey
from siri.envs.alfworld.generator import generate_games
from siri.envs.alfworld.parity import compare_game
from siri.envs.alfworld.variants import DOMAINS, GRAMMARS, VARIANTS, fingerprints, logic
from siri.errors import EnvironmentFault
from tests.envs.alfworld import edges, house
from tests.envs.alfworld.cases import PAIRS, SEED, cases, digest, live

RECORDS = json.loads(gzip.decompress((house.FIXTURES / "parity.json.gz").read_bytes()))
REAL = os.environ.get("ALFWORLD_DATA")
real = pytest.mark.skipif(not REAL, reason="ALFWORLD_DATA names no real games")


@pytest.fixture(scope="module")
def reference() -> Any:
    from siri.envs.alfworld.textworld import Reference

    return Reference()


def content_of(record: dict[str, Any]) -> edges.Content:
    domain, grammar = logic(record["variant"])
    task = json.dumps(record["task"])[1:-1]
    grammar = grammar.replace("Your task is to: UNKNOWN GOAL.", task)
    return {"pddl_domain": domain, "grammar": grammar, "pddl_problem": record["problem"]}


def test_records_cover_every_kind_room_and_grammar() -> None:
    assert len(RECORDS) == len(PAIRS)
    assert {record["variant"] for record in RECORDS} == set(VARIANTS)
    assert any(record["shuffle"] is not None for record in RECORDS)
    used = {feature for record in RECORDS for feature in record["label"].split(", ")[-1].split("+")}
    assert len(used & {*edges.FEATURES, "odd_task"}) >= 10
    assert all(any(step[4] for step in record["steps"]) for record in RECORDS)


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r["label"])
def test_plays_as_recorded(record: dict[str, Any]) -> None:
    state = State(parse_game(content_of(record), shuffle=record["shuffle"]))
    assert state.admissible() == record["first"]
    (_, opening, *_), *steps = record["steps"]
    assert state.opening() == opening
    for command, feedback, valid, commands, won in steps:
        assert state.step(command) == (feedback, valid), command
        assert digest(state.admissible()) == commands, command
        assert state.won is won, command


def test_shipped_logic_is_the_known_one() -> None:
    for variant in VARIANTS:
        domain, grammar = fingerprints(*logic(variant))
        assert (DOMAINS[domain], GRAMMARS[grammar]) == (variant, variant)
    assert len(DOMAINS) == len(GRAMMARS) == 3


@live
@pytest.mark.parametrize("shuffle", [None, 11])
@pytest.mark.parametrize("index", [2, 9])
def test_short(reference: Any, tmp_path: Path, index: int, shuffle: int | None) -> None:
    label, content = list(cases(tmp_path, 1, seed=SEED + 1))[index]
    found = compare_game(content, reference, steps=20, seed=index, shuffle=shuffle)
    assert found.difference is None, label
    assert found.won
    assert found.invalid


@live
def test_a_difference_is_found(reference: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison can fail: an engine that says "a" instead of "the" is caught, with the way there."""
    monkeypatch.setattr(State, "_inventory", lambda *_: "You carry nothing.")
    monkeypatch.setattr("siri.envs.alfworld.parity.next_command", lambda *_, **__: "inventory")
    monkeypatch.setitem(
        importlib.import_module("siri.envs.alfworld.engine")._HANDLERS, "inventory", State._inventory
    )
    found = compare_game(house.content(KINDS[0]), reference, steps=3, seed=0)
    assert found.difference is not None
    assert (found.difference.what, found.difference.commands) == ("feedback", ("inventory",))


@live
def test_unreachable_goals_break_the_reference_only(reference: Any) -> None:
    goal = "(:goal (exists (?r - receptacle) (atLocation agent1 loc_bar_0)))"
    content = house.content(KINDS[0]) | {"pddl_problem": house.problem(goal)}
    assert compare_game(content, reference, steps=1, seed=0).won
    content["solvable"] = False
    content["pddl_problem"] = house.problem("(:goal (isHot Knife_bar_1))")
    with pytest.raises(EnvironmentFault, match="cannot be reached"):
        reference.play(content)


@live
def test_the_process_is_left_as_it_was(reference: Any) -> None:
    before = (list(sys.argv), os.environ.get("ALFWORLD_DATA"), random.getstate())
    reference.play(house.content(KINDS[0]), shuffle=3).step("look")
    assert (sys.argv, os.environ.get("ALFWORLD_DATA"), random.getstate()) == before


@live
def test_counts_are_alfworlds_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Over generated games with all that it filters, and over the real games when there are some."""
    from siri.envs.alfworld.textworld import Reference

    Reference()  # imports alfworld without its side effects
    from alfworld.agents.environment.alfred_tw_env import AlfredTWEnv

    def collected(folder: Path, kinds: tuple[int, ...]) -> set[str]:
        env = AlfredTWEnv.__new__(AlfredTWEnv)
        env.train_eval = "eval_in_distribution"
        env.config = {
            "dataset": {"eval_id_data_path": str(folder), "num_eval_games": -1},
            "env": {"task_types": kinds},
        }
        env.collect_game_files()
        return {str(Path(file).resolve()) for file in env.game_files}

    tasks = generate_games(12, seed=0, split="valid_seen", scale=0.2, directory=tmp_path)
    files = [Path(task.source) for task in tasks]
    for change, file in enumerate(files[:4]):
        content = read_game(file)
        if change == 0:
            file.unlink()
        elif change == 1:
            file.write_text(json.dumps(content | {"solvable": False}))
        elif change == 2:
            del content["solvable"]
            file.write_text(json.dumps(content))
        else:
            file.parent.rename(file.parent.with_name("trial_Sliced"))
    folders = [tmp_path, *([Path(REAL)] if REAL else [])]
    for folder in folders:
        data = folder / "json_2.1.1" / "valid_seen"
        assert collected(data, tuple(range(1, 7))) == sources(folder, None)
        assert collected(data, (1, 4)) == sources(folder, [KINDS[0], KINDS[3]])
    capsys.readouterr()
    found = survey(tmp_path, split="valid_seen")
    assert (len(found.tasks), found.found, sorted(found.left_out.values())) == (8, 12, [1, 1, 1, 1])


def sources(folder: Path, kinds: list[str] | None) -> set[str]:
    return {task.source for task in load_tasks(folder, split="valid_seen", kinds=kinds)}


def play_all(reference: Any, games: Iterable[tuple[str, edges.Content]], steps: int, shuffled: bool) -> None:
    """Compare every game, print the totals, expect no difference and every game won."""
    count = total = invalid = 0
    lost = []
    for index, (label, content) in enumerate(games):
        shuffle = 1000 + index if shuffled else None
        found = compare_game(content, reference, steps=steps, seed=index, shuffle=shuffle)
        assert found.difference is None, label
        count, total, invalid = count + 1, total + found.steps, invalid + found.invalid
        if not found.won:
            lost.append(label)
    print(f"{count} games, {total} steps ({invalid} refused), 0 differences, shuffle {shuffled}, lost {lost}")
    assert not lost


@live
@pytest.mark.long
@pytest.mark.parametrize("shuffled", [False, True])
def test_long_generated(reference: Any, tmp_path: Path, shuffled: bool) -> None:
    """All kinds and rooms with odd features: 210 games, 8,400 steps."""
    games = cases(tmp_path, -(-200 // len(PAIRS)), seed=500 if shuffled else 100, large=not shuffled)
    play_all(reference, games, 40, shuffled)


@live
@real
@pytest.mark.long
@pytest.mark.parametrize("shuffled", [False, True])
def test_long_real(reference: Any, shuffled: bool) -> None:
    """64 real games of both splits, 2,176 steps."""
    tasks = [t for split in ("valid_seen", "train") for t in load_tasks(REAL or "", split=split)]
    chosen = random.Random(5).sample(tasks, 64)
    play_all(reference, ((t.id, edges.read(t.source)) for t in chosen), 34, shuffled)
