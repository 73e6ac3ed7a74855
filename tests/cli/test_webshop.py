"""The command line on WebShop: a smoke run through all phases, evaluation, playing, what it refuses."""

from __future__ import annotations

import io
import json
import sys
import threading
from http.client import HTTPConnection
from pathlib import Path

import pytest

from siri import cli
from siri.config.presets import preset
from siri.envs.webshop import build_goals, bundled_catalog, oracle, split_goals, write_catalog
from siri.envs.webshop.env import shared_index
from siri.envs.webshop.pages import Session


def siri(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command line in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["siri", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished smoke run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        path = tmp_path_factory.mktemp("runs") / "shop"
        assert siri(patch, "run", "--env", "webshop", "--preset", "smoke", "--out", path) == 0
    return path


def test_all_phases_and_the_score(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    assert summary["suite"].startswith("siri-shop-tiny (")
    for stage in ("base", "warmup", "mining", "final"):
        assert summary[stage]["valid"]["n"] == 8
        assert 0 <= summary[stage]["valid"]["task_score"] <= 100
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["phase"] for line in lines][-1] == "internalization"
    assert all(0 <= line["arm/plain/task_score"] <= 100 for line in lines)


def test_eval_repeats_the_summary(run: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    assert siri(monkeypatch, "eval", run / "model", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    final = json.loads((run / "summary.json").read_text())["final"]["valid"]
    row = found["splits"]["valid"]
    assert (row["success"], row["task_score"]) == (final["plain"], final["task_score"])
    assert found["suite"].startswith("siri-shop-tiny (")
    assert siri(monkeypatch, "eval", run / "model", "--split", "valid") == 0
    assert "task score" in capsys.readouterr().out


def test_presets() -> None:
    paper = preset("paper", "webshop")
    assert (paper.env.style, paper.env.max_steps, paper.env.history) == ("window", 15, 2)
    assert (paper.rollout.tasks, paper.rollout.group_size, paper.validation.top_k) == (16, 8, 1)
    assert paper.evaluation.splits == ("valid",)
    assert paper.optimizer.kl == 0.01
    assert preset("embedded", "webshop").env.style == "compact"
    assert preset("paper").env.max_steps == 50


def test_playing_in_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    catalog = bundled_catalog("tiny")
    goals = build_goals(catalog)
    number = split_goals(len(goals))["valid"][2]
    session = Session(shared_index(catalog), goals[number])
    actions = []
    for action in oracle(session):
        actions.append(action)
        session.act(action)
    text = "\n".join(["nonsense", *actions])
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{text}\n"))
    tiny = ["--set", "env.catalog=tiny"]
    assert siri(monkeypatch, "play", "--env", "webshop", "--task", 2, *tiny) == 0
    shown = capsys.readouterr().out
    assert "(refused)" in shown
    assert f"Solved after {len(actions) + 1} steps, task score 100.0." in shown
    assert "r_type 1.0" in shown
    monkeypatch.setattr(sys, "stdin", io.StringIO("0\n"))
    assert siri(monkeypatch, "play", "--env", "webshop", *tiny) == 0
    assert "Page 1 (Total results:" in capsys.readouterr().out


def test_playing_alfworld(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    small = ["--set", "env.train_games=1", "--set", "env.valid_games=1"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("look\n"))
    assert siri(monkeypatch, "play", *small) == 0
    assert "You are in the middle of a room" in capsys.readouterr().out


def test_playing_in_a_browser(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    from siri.envs.webshop import browser

    servers = []
    made = browser.make_server

    def remember(*arguments: object, **options: object):
        servers.append(made(*arguments, **options))  # type: ignore[arg-type]
        return servers[-1]

    monkeypatch.setattr(browser, "make_server", remember)
    arguments = ("play", "--env", "webshop", "--html", "--port", 0, "--set", "env.catalog=tiny")
    thread = threading.Thread(target=siri, args=(monkeypatch, *arguments))
    thread.start()
    while not servers and thread.is_alive():
        thread.join(0.01)
    connection = HTTPConnection("127.0.0.1", servers[0].server_port, timeout=10)
    connection.request("GET", "/")
    assert connection.getresponse().status == 200
    connection.close()
    servers[0].shutdown()
    thread.join()
    assert f"http://127.0.0.1:{servers[0].server_port}/" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--env", "shop", "--preset", "smoke"], "--env 'shop'"),
        (["run", "--env", "webshop", "--data", "none"], "for items_shuffle*.json in data folder 'none'"),
        (["run", "--env", "webshop", "--set", "env.style=transcript"], "style 'transcript'"),
        (["run", "--env", "webshop", "--set", "env.catalog=huge"], "env.catalog='huge'"),
        (["play", "--env", "webshop", "--task", "9999"], "--task 9999"),
        (["play", "--html", "--set", "env.valid_games=1", "--set", "env.train_games=1"], "expected WebShop"),
        (["eval", "tiny", "--env", "x"], "--env 'x'"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    assert siri(monkeypatch, *arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_catalogue_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    items, _, _ = write_catalog(tmp_path, 20)
    items.write_text(items.read_text(encoding="utf-8")[:5000], encoding="utf-8")
    out = tmp_path / "out"
    assert siri(monkeypatch, "run", "--env", "webshop", "--data", tmp_path, "--out", out) == 2
    error = capsys.readouterr().err
    assert error.startswith("siri: got broken JSON")
    assert "items_shuffle.json, record" in error
    assert error.count("\n") == 1
    assert not out.exists()
