"""`siri run --miner openai` to the end, against a real server with a scripted writer of good or of bad
skills."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from siri.skills import SkillBank
from siri.types import SkillStatus
from tests.skills.server import Answer, server
from tests.smoke import metrics, siri
from tests.writers import BAD, GOOD, writer

KEY = "sk-very-secret-0123456789"
SHORT = [
    "env={kinds: [pick_heat_then_place_in_recep, pick_cool_then_place_in_recep]}",
    "env={train_games: 40, valid_games: 8}",
    "rollout.tasks=4",
    "warmup={successes: 5, max_iterations: 2}",
    "mining={every: 3, min_active: 9, max_iterations: 9}",
    "validation.candidate_share=1.0",
    "internalization.iterations=1",
]
"""Enough groups to prove two skills; learning rate, validation and all the rest are the preset's."""


def hosted(patch: pytest.MonkeyPatch, url: str, out: Path, *more: object) -> int:
    patch.setenv("OPENAI_API_KEY", KEY)
    patch.setenv("OMP_NUM_THREADS", "1")
    where = ["--openai-base-url", url, "--openai-model", "writer", "--out", out]
    return siri(patch, "run", "--miner", "openai", *where, *more)


SMALL = [
    "env={kinds: [look_at_obj_in_light], max_steps: 8, train_games: 6, valid_games: 4}",
    "rollout.tasks=2",
    "warmup={successes: 1, max_iterations: 1}",
    "mining={max_iterations: 2, samples: 2}",
    "evaluation.splits=[]",
]
SMOKE = ["--preset", "smoke", *(part for setting in SMALL for part in ("--set", setting))]


def test_a_run_is_written_by_the_hosted_model_and_pays_once(tmp_path: Path, monkeypatch, capsys) -> None:
    from siri import cli

    progress, seen_iterations = cli.run.show_progress, []

    def interrupt(*arguments: object) -> None:
        seen_iterations.append(1)
        if len(seen_iterations) == 3:
            raise KeyboardInterrupt

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    with server(writer(GOOD)) as (url, seen):
        assert hosted(monkeypatch, url, whole, *SMOKE) == 0
        asked = len(seen)
        shown = capsys.readouterr().out
        monkeypatch.setattr(cli.run, "show_progress", interrupt)
        assert hosted(monkeypatch, url, cut, *SMOKE) == 130
        monkeypatch.setattr(cli.run, "show_progress", progress)
        assert siri(monkeypatch, "run", "--resume", "--out", cut) == 0
        assert len(seen) == 2 * asked > 0
    assert metrics(cut) == metrics(whole)
    assert (cut / "skills.json").read_bytes() == (whole / "skills.json").read_bytes()
    [record] = SkillBank.load(whole / "skills.json").records()
    assert (record.skill.origin, record.skill.strategy) == (
        "openai:writer",
        GOOD["look at an object under a light"],
    )
    assert "skills: 1 active" in " ".join(shown.split())
    calls = [json.loads(line) for line in (whole / "calls" / "calls.jsonl").read_text().splitlines()]
    assert sum(not call["cached"] for call in calls) == asked
    for path in whole.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes()


def test_a_dead_endpoint_does_not_stop_the_run_unless_asked(tmp_path: Path, monkeypatch, capsys) -> None:
    short = [*SMOKE, "--set", "chat.max_retries=0"]
    with server(Answer(500, "{}")) as (url, _):
        assert hosted(monkeypatch, url, tmp_path / "on", *short) == 0
        assert "mining failed: got http_500" in " ".join(capsys.readouterr().out.split())
        assert hosted(monkeypatch, url, tmp_path / "off", *short, "--set", "mining.max_failures=2") == 2
    assert "2 failed minings in a row" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.parametrize("rule", ["threshold", "sequential"])
@pytest.mark.parametrize("name", ["good", "bad"])
def test_good_skills_become_active_and_bad_ones_do_not(
    name: str, rule: str, tmp_path: Path, monkeypatch, capsys
) -> None:
    settings = [part for setting in (*SHORT, f"validation.rule={rule}") for part in ("--set", setting)]
    with server(writer({"good": GOOD, "bad": BAD}[name])) as (url, _):
        assert hosted(monkeypatch, url, tmp_path / "run", "--recipe", "siri", *settings) == 0
    shown = capsys.readouterr().out
    records = SkillBank.load(tmp_path / "run" / "skills.json").records()
    statuses = [record.status for record in records]
    assert len(records) == 2
    if name == "good":
        assert statuses == [SkillStatus.ACTIVE] * 2
        assert "skills: 2 active, 0 internalized, 0 candidate, 0 retired" in " ".join(shown.split())
    else:
        assert statuses == [SkillStatus.RETIRED] * 2
        reasons = {"threshold": {"harmful"}, "sequential": {"useless"}}
        assert {record.reason for record in records} <= reasons[rule]
        assert all(record.utility < 0 for record in records)
        assert "skills: 0 active, 0 internalized, 0 candidate, 2 retired" in " ".join(shown.split())


@pytest.mark.long
@pytest.mark.parametrize("name", ["good", "bad"])
def test_a_run_of_siri_with_a_writer_for_all_six_kinds(name: str, tmp_path: Path, monkeypatch) -> None:
    with server(writer({"good": GOOD, "bad": BAD}[name])) as (url, _):
        assert hosted(monkeypatch, url, tmp_path / "run", "--recipe", "siri") == 0
    records = SkillBank.load(tmp_path / "run" / "skills.json").records()
    assert len(records) == 6
    if name == "good":
        assert sum(record.activated_at is not None for record in records) >= 4
        summary = json.loads((tmp_path / "run" / "summary.json").read_text())
        assert summary["final"]["valid_unseen"]["plain"] > summary["base"]["valid_unseen"]["plain"] + 0.15
    else:
        assert all(record.activated_at is None for record in records)
        assert {record.status for record in records} <= {SkillStatus.RETIRED, SkillStatus.CANDIDATE}
