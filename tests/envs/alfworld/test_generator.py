"""Generated games: they can be won, follow the official schema, and follow from the arguments alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from siri.envs.alfworld.engine import State
from siri.envs.alfworld.expert import solve
from siri.envs.alfworld.games import KINDS, load_game, load_tasks
from siri.envs.alfworld.generator import generate_games
from siri.envs.alfworld.rooms import ROOMS, make_layout, pool, tables, vocabulary
from siri.errors import ConfigError
from siri.types import Task

HEAT = "pick_heat_then_place_in_recep"
LOOK = "look_at_obj_in_light"


def content(task: Task) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(Path(task.source).read_text(encoding="utf-8"))
    return loaded


def placement(task: Task) -> tuple[str, ...]:
    """Layout, goal, and what lies where, without coordinates of the objects."""
    game = load_game(task.source)
    facts = (f for f in game.dynamic if f[0] == "inreceptacle")
    inside = sorted(f"{f[1].split('_bar_')[0]} {f[2]}" for f in facts)
    return (task.id.split("/")[0], *inside)


@pytest.mark.parametrize("grammar", ["current", "2.1.1", "2.1.2"])
@pytest.mark.parametrize(("split", "scale"), [("train", 0.4), ("valid_seen", 1.0), ("valid_unseen", 0.2)])
def test_every_game_is_won_by_the_expert_and_its_walkthrough(
    tmp_path: Path, split: str, scale: float, grammar: Any
) -> None:
    tasks = generate_games(18, seed=5, split=split, scale=scale, grammar=grammar, directory=tmp_path)
    assert Counter(task.kind for task in tasks) == dict.fromkeys(KINDS, 3)
    for task in tasks:
        game = load_game(task.source)
        assert game.task == task.goal
        assert (game.grammar.help is None) == (grammar == "2.1.1")
        assert solve(game, max_steps=20)
        state = State(game)
        for command in content(task)["walkthrough"]:
            assert not state.won
            assert command in state.admissible()
            state.step(command)
        assert state.won


def test_tasks_are_those_of_load_tasks(tmp_path: Path) -> None:
    tasks = generate_games(12, seed=0, split="train", scale=0.4, directory=tmp_path)
    loaded = load_tasks(tmp_path, split="train")
    assert tasks == loaded
    assert [t.source for t in tasks] == [t.source for t in loaded]
    assert len({t.id for t in tasks}) == 12


def test_schema_is_the_official_one(tmp_path: Path) -> None:
    (task,) = generate_games(1, seed=0, split="train", kinds=[HEAT], directory=tmp_path)
    path = Path(task.source).relative_to(tmp_path.resolve())
    kind, item, movable, place, number = path.parts[2].split("-")
    assert path.parts[:2] == ("json_2.1.1", "train")
    assert (kind, movable, path.name) == (HEAT, "None", "game.tw-pddl")
    assert list(content(task)) == ["pddl_domain", "grammar", "pddl_problem", "solvable", "walkthrough"]
    data = json.loads(Path(task.source).with_name("traj_data.json").read_text(encoding="utf-8"))
    assert data["task_type"] == HEAT
    assert data["task_id"] == path.parts[3]
    assert data["scene"]["scene_num"] == int(number)
    assert data["pddl_params"]["object_target"] == item
    assert item.lower() in task.goal
    assert place.lower() in task.goal
    # nothing half-written stays behind
    assert not [p for p in tmp_path.rglob(".*") if p.is_file()]


def test_openable_receptacles_start_closed_and_rooms_hold_their_stations(tmp_path: Path) -> None:
    for task in generate_games(12, seed=1, split="train", scale=0.4, directory=tmp_path):
        game = load_game(task.source)
        assert not [f for f in game.dynamic if f[0] in ("opened", "istoggled", "holds")]
        kinds = {kind for r in game.place_of for kind in game.receptacle_types[r]}
        if task.kind in (HEAT, "pick_cool_then_place_in_recep"):
            assert {"microwavetype", "fridgetype", "sinkbasintype"} <= kinds
        if task.kind == LOOK:
            assert any("desklamp" in f[1] for f in game.static if f[0] == "toggleable")


def test_two_goal_is_not_half_done(tmp_path: Path) -> None:
    kind = "pick_two_obj_and_place"
    for task in generate_games(10, seed=2, split="train", scale=0.4, kinds=[kind], directory=tmp_path):
        _, item, _, place, _ = task.id.split("/")[0].split("-")
        facts = [f for f in load_game(task.source).dynamic if f[0] == "inreceptacle"]
        mine = [f for f in facts if f[1].startswith(item.lower() + "_bar_")]
        assert len(mine) >= 2
        types = load_game(task.source).receptacle_types
        assert not [f for f in mine if f"{place.lower()}type" in types[f[2]]]


def test_sizes_follow_the_scale(tmp_path: Path) -> None:
    def sizes(scale: float) -> tuple[list[int], list[int]]:
        tasks = generate_games(30, seed=4, split="train", scale=scale, directory=tmp_path / str(scale))
        games = [load_game(task.source) for task in tasks]
        objects = [sum(f[0] == "pickupable" for f in game.static) for game in games]
        return [len(game.place_of) for game in games], objects

    places, objects = sizes(0.4)
    assert min(places) >= 10
    assert max(places) <= 14
    assert max(objects) <= 12
    large, many = sizes(1.0)
    assert sum(large) > 1.5 * sum(places)
    assert 20 <= sum(many) / 30 <= 45


def test_files_are_the_same_in_every_process(tmp_path: Path) -> None:
    here = generate_games(12, seed=9, split="train", scale=0.4, directory=tmp_path / "a")
    code = (
        "import sys; from siri.envs.alfworld.generator import generate_games; "
        "generate_games(12, seed=9, split='train', scale=0.4, directory=sys.argv[1])"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "b")], check=True, env=environment)
    for task in here:
        other = tmp_path / "b" / "json_2.1.1" / "train" / task.id / "game.tw-pddl"
        assert other.read_bytes() == Path(task.source).read_bytes()


def test_splits_and_seeds_share_no_placement(tmp_path: Path) -> None:
    seen = {}
    for split, seed in (("train", 0), ("train", 1), ("valid_seen", 0), ("valid_unseen", 0)):
        tasks = generate_games(30, seed=seed, split=split, scale=0.2, directory=tmp_path / f"{split}{seed}")
        seen[split, seed] = {placement(task) for task in tasks}
        assert len(seen[split, seed]) == 30
    train = seen["train", 0] | seen["train", 1]
    assert len(train) == 60
    assert not train & seen["valid_seen", 0]
    assert not train & seen["valid_unseen", 0]

    def numbers(split: str) -> set[str]:
        return {key[0].rsplit("-", 1)[1] for (name, _), keys in seen.items() if name == split for key in keys}

    assert not numbers("train") & numbers("valid_unseen")
    assert numbers("train") & numbers("valid_seen")


@pytest.mark.parametrize("room", ROOMS)
def test_pools(room: str) -> None:
    assert list(pool(room, "train")) == list(pool(room, "valid_seen"))
    assert not set(pool(room, "train")) & set(pool(room, "valid_unseen"))
    for number in (*pool(room, "train"), *pool(room, "valid_unseen")):
        layout = make_layout(room, number, 0.4)
        kinds = {r.kind for r in layout.receptacles}
        ids = [r.id for r in layout.receptacles] + [d[0] for d in layout.decor]
        assert len(set(ids)) == len(ids)
        assert layout.start not in {r.location for r in layout.receptacles}
        assert kinds <= set(tables().receptacle_classes)
        for name in layout.classes:
            assert kinds & set(tables().rooms[room].places[name])


def test_tables_agree_with_each_other() -> None:
    known = tables()
    for table in known.rooms.values():
        assert {*table.objects, *table.decor} <= set(known.object_classes)
        assert set(table.objects) <= set(known.affordances)
        assert set(table.receptacles) <= set(known.receptacle_classes)
    assert set(known.kind_rooms) == set(KINDS)


def test_vocabulary_holds_every_class_that_a_game_can_name(tmp_path: Path) -> None:
    words = set(vocabulary())
    assert {"apple", "sinkbasin", "bathtubbasin", "floorlamp", "toiletpaperhanger", "tvstand"} <= words
    for task in generate_games(12, seed=3, split="valid_unseen", directory=tmp_path):
        game = load_game(task.source)
        assert {game.names[i].split()[0] for i in (*game.place_of, *_items(game))} <= words


def _items(game: Any) -> list[str]:
    return [f[1] for f in game.static if f[0] == "objecttype"]


REAL = os.environ.get("ALFWORLD_DATA")


@pytest.mark.skipif(not REAL, reason="needs real games: set ALFWORLD_DATA")
def test_vocabulary_covers_real_games() -> None:
    words = set(vocabulary())
    for task in load_tasks(REAL or "", split="valid_seen"):
        game = load_game(task.source)
        assert {game.names[i].split()[0] for i in (*game.place_of, *_items(game))} <= words


def test_cache_is_reused_and_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIRI_CACHE", str(tmp_path))
    first = generate_games(6, seed=0, split="train", scale=0.4)
    path = Path(first[0].source)
    assert path.is_relative_to(tmp_path.resolve())
    before, stamp = path.read_bytes(), path.stat().st_mtime_ns
    assert generate_games(6, seed=0, split="train", scale=0.4) == first
    assert path.stat().st_mtime_ns == stamp
    path.unlink()
    assert generate_games(6, seed=0, split="train", scale=0.4) == first
    assert path.read_bytes() == before
    other = generate_games(6, seed=1, split="train", scale=0.4)
    assert other[0].source != first[0].source
    manifest = next(tmp_path.rglob("manifest.json"))
    manifest.write_text("{", encoding="utf-8")
    assert generate_games(6, seed=0, split="train", scale=0.4) == first


def test_directory_is_never_mixed(tmp_path: Path) -> None:
    first = generate_games(3, seed=0, split="train", scale=0.4, directory=tmp_path)
    assert generate_games(3, seed=0, split="train", scale=0.4, directory=tmp_path) == first
    generate_games(3, seed=0, split="valid_seen", scale=0.4, directory=tmp_path)
    with pytest.raises(ConfigError, match="other or unfinished games"):
        generate_games(3, seed=1, split="train", scale=0.4, directory=tmp_path)


def test_rooms_limit_the_kinds(tmp_path: Path) -> None:
    tasks = generate_games(8, seed=0, split="train", rooms=["bedroom"], scale=0.4, directory=tmp_path)
    assert {t.kind for t in tasks} == {LOOK, "pick_and_place_simple", "pick_two_obj_and_place"}
    assert {int(t.id.split("/")[0].rsplit("-", 1)[1]) // 100 for t in tasks} == {3}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"count": 0}, "count 0"),
        ({"count": True}, "count True"),
        ({"seed": -1}, "seed -1"),
        ({"split": "test"}, "split 'test'"),
        ({"kinds": ["pick"]}, "kinds"),
        ({"kinds": []}, "kinds"),
        ({"rooms": ["attic"]}, "rooms"),
        ({"kinds": [HEAT], "rooms": ["bedroom"]}, "no room of"),
        ({"scale": 0}, "scale 0"),
        ({"scale": float("nan")}, "scale nan"),
        ({"scale": "big"}, "scale 'big'"),
        ({"grammar": "2.1.3"}, "grammar '2.1.3'"),
    ],
)
def test_bad_arguments(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    arguments = {"count": 1, "seed": 0, "split": "train", "directory": tmp_path, **change}
    with pytest.raises(ConfigError, match=words) as caught:
        generate_games(arguments.pop("count"), **arguments)
    assert "fix: " in str(caught.value)


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match="writable"):
        generate_games(1, seed=0, split="train", directory=tmp_path / "file")
