"""`siri games`: generate, info, verify, download."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from siri import cli
from siri.envs.alfworld import load_tasks
from siri.envs.alfworld.engine import State
from tests.envs.alfworld import house
from tests.envs.alfworld.cases import live


def siri(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command line in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["siri", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    house.write(tmp_path / "json_2.1.1" / "valid_seen", "pick_heat_then_place_in_recep")
    return tmp_path


def test_generated_games_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    arguments = ("--out", tmp_path, "--count", 6, "--scale", 0.2, "--grammar", "2.1.1", "--seed", 4)
    assert siri(monkeypatch, "games", "generate", *arguments) == 0
    for split in ("train", "valid_seen", "valid_unseen"):
        assert len(load_tasks(tmp_path, split=split)) == 6
    shutil.rmtree(next((tmp_path / "json_2.1.1" / "train").glob("*/*")))
    capsys.readouterr()
    assert siri(monkeypatch, "games", "info", tmp_path) == 0
    shown = capsys.readouterr().out
    playable = next(line for line in shown.splitlines() if "playable" in line)
    assert [word for word in playable.split() if word.isdecimal()] == ["5", "6", "6"]


def test_info_of_a_game(data: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    folder = next(data.rglob("game.tw-pddl")).parent
    assert siri(monkeypatch, "games", "info", folder) == 0
    shown = capsys.readouterr().out
    for words in ("put a hot apple in fridge.", "data current, sha256", "8 at 7 places", "heat apple"):
        assert words in shown


@live
def test_verify(data: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    assert siri(monkeypatch, "games", "verify", data, "--games", 1, "--steps", 12) == 0
    assert "1 game, 12 steps, 1 won: no difference" in capsys.readouterr().out
    monkeypatch.setattr(State, "opening", lambda _: "Hello.")
    game = next(data.rglob("game.tw-pddl"))
    assert siri(monkeypatch, "games", "verify", game, "--steps", 3) == 1
    shown = capsys.readouterr().out
    assert "differs in 'feedback'" in shown
    assert "native:    'Hello.'" in shown


def test_download_says_why_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    from siri.cli import games

    monkeypatch.setattr(games.sysconfig, "get_path", lambda _: str(tmp_path))
    assert siri(monkeypatch, "games", "download", "--out", tmp_path / "data") == 2
    assert "siri-rl[alfworld]" in capsys.readouterr().err
    (tmp_path / "alfworld-download").write_text("raise OSError('no route to github.com')")
    monkeypatch.setattr(games.importlib.util, "find_spec", lambda _: SimpleNamespace())
    assert siri(monkeypatch, "games", "download", "--out", tmp_path / "data") == 2
    error = capsys.readouterr().err
    assert "no route to github.com" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "data").exists()


def test_download_counts_what_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    from siri.cli import games

    script = "import sys; from pathlib import Path; from tests.envs.alfworld import house\n"
    script += "house.write(Path(sys.argv[2], 'json_2.1.1', 'train'), 'look_at_obj_in_light')\n"
    (tmp_path / "alfworld-download").write_text(script)
    monkeypatch.setattr(games.sysconfig, "get_path", lambda _: str(tmp_path))
    monkeypatch.setattr(games.importlib.util, "find_spec", lambda _: SimpleNamespace())
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    assert siri(monkeypatch, "games", "download", "--out", tmp_path / "data") == 0
    assert "playable" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("generate", "--out", "x", "--grammar", "3"), "grammar '3'"),
        (("generate", "--out", "x", "--room", "attic"), "rooms ['attic']"),
        (("info", "nothing"), "no readable game file nothing"),
        (("verify", "nothing"), "no folder nothing"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    assert siri(monkeypatch, "games", *arguments) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1
