"""The study's statistics, its report on made-up runs, and its writer of skills."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.study import __main__ as study
from benchmarks.study import arms, regimes, words
from benchmarks.study.check import compare
from benchmarks.study.finished import Finished, Runs, unpack
from benchmarks.study.play import ENDLESS, configured, spent
from benchmarks.study.report import report
from benchmarks.study.statistics import area, bootstrap, iqm, last_five, student
from benchmarks.study.writer import kind_of

from siri.config.presets import preset
from siri.envs.webshop.compact import SHOP_SKILL_GRAMMAR
from siri.errors import ConfigError
from siri.policies.tiny import TINY_SKILL_PATTERN
from siri.recipes import rlsd
from siri.skills import SkillBank
from siri.types import Group, Usage
from tests.recipes.test_equations import experience
from tests.skills.helpers import make_task, make_trajectory

GAP = {"int/prompt_gap": 0.2, "phase": "internalization"}


def finished(folder: Path, arm: str, seed: int, heights: list[float]) -> None:
    """A run whose curve goes through ``heights``, as the study writes it."""
    rows = [
        {
            "arm": arm,
            "regime": "default",
            "seed": seed,
            "iteration": number,
            "env_steps": 100 * number,
            "benchmark": "generated",
            "split": "valid_unseen",
            "kind": kind,
            "plain_success": height + shift,
            "n": 10,
        }
        for number, height in enumerate(heights)
        for kind, shift in (("all", 0.0), ("heat", 0.1), ("cool", -0.1))
    ]
    training = [
        {"env/total_steps": 100 * n, "arm/delta": 0.1, "delta/heat": 0.3 - n / 10, **GAP}
        for n in range(len(heights))
    ]
    path = folder / "default" / arm / f"{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    run = {"arm": arm, "regime": "default", "seed": seed, "evaluations": rows, "training": training}
    run["skills"] = [{"kind": "heat", "text": "heat it", "status": "active", "utility": 0.2, "uses": 3}]
    path.write_text(json.dumps(run), encoding="utf-8")


def test_area_is_the_mean_height() -> None:
    assert area([0, 10, 30], [0.2, 0.4, 0.4]) == pytest.approx((10 * 0.3 + 20 * 0.4) / 30)
    assert area([5, 7], [0.5, 0.5]) == 0.5


def test_last_five() -> None:
    assert last_five([0] * 7, [9, 9, 0.1, 0.2, 0.3, 0.4, 0.5]) == pytest.approx(0.3)


def test_interquartile_mean_drops_a_quarter_on_both_sides() -> None:
    value, (low, high) = iqm(np.array([[0.0, 0.4], [0.6, 1.0]]))
    assert value == pytest.approx(0.5)
    assert low <= value <= high


def test_bootstrap_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        low, high = bootstrap(rng.normal(0.3, 1.0, 30), resamples=500)
        hits += low <= 0.3 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_report_states_paired_differences_and_failures(tmp_path: Path) -> None:
    for seed, lift in ((0, 0.1), (1, 0.3), (2, 0.2)):
        base = 0.2 + 0.1 * seed
        finished(tmp_path / "runs", "gigpo", seed, [base] * 6)
        finished(tmp_path / "runs", "siri", seed, [base] + [base + lift] * 5)
    finished(tmp_path / "runs", "siri", 3, [0.9] * 6)  # has no pair: must not enter the difference
    (tmp_path / "runs" / "default" / "siri" / "7.failed").write_text("", encoding="utf-8")
    report(tmp_path / "runs", tmp_path / "out")
    text = (tmp_path / "out" / "study.md").read_text(encoding="utf-8")
    line = next(row for row in text.split("last five: mean")[1].splitlines() if "siri − gigpo" in row)
    assert line.startswith("| siri − gigpo | 3 | +0.200 [+0.1")
    # thirds of six iterations are two: Δ of heat goes from (.3 + .2) / 2 to (-.1 - .2) / 2
    assert "| siri | Δ | 0.100 → 0.100 | – | 0.250 → -0.150 |" in text
    assert "| siri | seeds with a proven skill | 3 | 0 | 3 |" in text
    assert "1 failed" in text
    assert "default/siri/7.failed" in text
    with (tmp_path / "out" / "study.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 7 * 6 * 3
    assert rows[0]["arm"] == "gigpo"
    assert {path.name for path in (tmp_path / "out").glob("*.svg")} == {
        "curves-default.svg",
        "differences-default.svg",
        "arms-default.svg",
        "gap-default.svg",
    }


def test_committed_runs_count_as_finished(tmp_path: Path) -> None:
    for seed in (0, 1):
        finished(tmp_path / "runs", "siri", seed, [0.1 * seed, 0.4, 0.5])
    report(tmp_path / "runs", tmp_path / "out")
    other = tmp_path / "other"
    finished(other, "siri", 1, [0.9])
    mine = (other / "default" / "siri" / "1.json").read_bytes()
    assert unpack(tmp_path / "out" / "runs.jsonl.xz", other) == 1
    assert (other / "default" / "siri" / "1.json").read_bytes() == mine
    path = Path("default", "siri", "0.json")
    assert json.loads((other / path).read_bytes()) == json.loads((tmp_path / "runs" / path).read_bytes())
    assert unpack(tmp_path / "none.xz", other) == 0


def test_a_run_is_set_beside_the_committed_ones(tmp_path: Path, capsys: Any) -> None:
    heights = {0: [0.2, 0.5, 0.6, 0.6, 0.6, 0.6], 1: [0.2, 0.4, 0.5, 0.5, 0.5, 0.6], 2: [0.2] + [0.5] * 5}
    for seed, curve in heights.items():
        finished(tmp_path / "runs", "siri", seed, curve)
    report(tmp_path / "runs", tmp_path / "out")
    run = json.loads((tmp_path / "runs" / "default" / "siri" / "0.json").read_text(encoding="utf-8"))
    beside = Runs.unpack(tmp_path / "out" / "runs.jsonl.xz")
    assert compare([run], beside) == 0
    assert "last five, seed 0: 0.580 (0.580 in the table)" in capsys.readouterr().out
    for row in run["evaluations"]:
        row["plain_success"] = 0.95
    assert compare([{**run, "seed": 9}], beside) == 1
    said = capsys.readouterr().out
    assert "0.950 (not in the table)" in said
    # last five of the three: .58, .5, .5; t of two degrees of freedom is 4.303
    levels = np.array([0.58, 0.5, 0.5])
    half = 4.3027 * levels.std(ddof=1) * np.sqrt(1 + 1 / 3)
    assert f"[{levels.mean() - half:.3f}, {levels.mean() + half:.3f}] of 1 more: OUTSIDE" in said


def test_a_whole_row_is_set_beside_the_committed_one(tmp_path: Path, capsys: Any) -> None:
    for seed in range(4):
        finished(tmp_path, "siri", seed, [0.2] + [0.4 + 0.02 * seed] * 5)
    runs = Runs.read(tmp_path)
    again = [runs.of["default", "siri", seed] for seed in range(4)]
    assert compare(again, runs) == 0
    assert "of siri in default, 4 committed runs expect" in capsys.readouterr().out


def test_a_run_beside_fewer_than_three_has_to_be_equal(tmp_path: Path, capsys: Any) -> None:
    for seed in (0, 1):
        finished(tmp_path, "siri", seed, [0.2] + [0.4 + 0.02 * seed] * 5)
    runs = Runs.read(tmp_path)
    run = json.loads(json.dumps(runs.of["default", "siri", 1]))
    assert compare([run], runs) == 0
    assert "expect" not in capsys.readouterr().out
    run["evaluations"][-1]["plain_success"] += 1.0
    run["evaluations"][-3]["plain_success"] += 1.0
    assert compare([run], runs) == 1
    assert "2 committed runs of siri in default cannot judge by how much" in capsys.readouterr().out
    assert compare([{**runs.of["default", "siri", 0], "seed": 5}], runs) == 1


def test_student_interval_by_hand() -> None:
    low, high = student(np.array([0.1, 0.2, 0.3]))
    assert (low, high) == pytest.approx((0.2 - 4.3027 * 0.1 / 3**0.5, 0.2 + 4.3027 * 0.1 / 3**0.5), abs=1e-4)


def test_a_run_has_to_have_others_beside_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    monkeypatch.setattr(study, "ARCHIVE", tmp_path / "none.jsonl.xz")
    monkeypatch.setattr("sys.argv", ["study", "check", "--arm", "siri", "--seeds", "0"])
    with pytest.raises(SystemExit):
        study.main()
    assert "no committed run of siri in default" in capsys.readouterr().err


def test_equal_runs_give_equal_reports(tmp_path: Path) -> None:
    for seed in (0, 1):
        finished(tmp_path / "runs", "siri", seed, [0.1 * seed, 0.4, 0.5])
    for name in ("a", "b"):
        report(tmp_path / "runs", tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_the_writer_is_asked_over_the_protocol_and_its_skills_parse() -> None:
    miner = arms.chat_miner(preset("embedded"), "actions")
    task = replace(make_task("pick_heat_then_place_in_recep"), goal="put a hot apple in fridge.")
    episode = replace(make_trajectory(kind="pick_heat_then_place_in_recep"), task=task)
    (skill,) = miner.mine([episode])
    assert skill.strategy == words.STRATEGIES["pick_heat_then_place_in_recep"]
    assert skill.origin == "openai:strong-writer"
    miner.close()


def test_an_arm_without_what_it_needs_is_left_out_and_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(arms.WRITER, raising=False)
    chosen = ["--arms", "openai_smollm2", "--regimes", "rare", "--runs", str(tmp_path), "--quiet"]
    monkeypatch.setattr("sys.argv", ["study", "run", *chosen])
    assert study.main() == 0
    shown = capsys.readouterr().out
    assert "left out: openai_smollm2 needs STUDY_WRITER" in shown
    assert "0 runs to do" in shown
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match="got no STUDY_WRITER"):
        arms.model_miner(preset("embedded"), "actions")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Your task is to: put two book in desk.\n> take book 1 from bed 1", "pick_two_obj_and_place"),
        ("Your task is to: put a book in desk.\n> take book 1 from bed 1", "pick_and_place_simple"),
        ("Your task is to: look at bowl.\n> use desklamp 1", "look_at_obj_in_light"),
        ("Your task is to: x\n> cool mug 1 with fridge 1", "pick_cool_then_place_in_recep"),
    ],
)
def test_the_writer_knows_the_kind_from_the_commands(text: str, kind: str) -> None:
    assert kind_of(text) == kind


def test_the_oracle_speaks_the_language_of_the_policy_that_reads_it() -> None:
    for env, grammar, kinds in (("alfworld", TINY_SKILL_PATTERN, 6), ("webshop", SHOP_SKILL_GRAMMAR, 5)):
        skills = arms.ARMS["oracle"].miner(preset("embedded", env), None).mine([])
        assert len({skill.kind for skill in skills}) == kinds
        assert all(re.fullmatch(grammar, skill.text) for skill in skills)


def test_a_regime_runs_its_own_arms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.argv", ["study", "run", "--seeds", "0-7", "--runs", str(tmp_path)])
    planned: list[Any] = []
    monkeypatch.setattr(study, "drive", lambda args: planned.extend(study.planned(args)) or 0)
    assert study.main() == 0
    shop = [(arm, seed) for arm, regime, seed, _ in planned if regime == "shop"]
    both = [a for a in arms.ARMS if not arms.ARMS[a].regimes]
    assert sorted(shop) == sorted((a, s) for a in both for s in range(4))
    assert "oracle" in both
    assert "no_weights" not in both
    assert {arm for arm, regime, _, _ in planned if regime == "rare"} == set(arms.ARMS)
    for regime in ("long", "babyai"):
        there = [(arm, seed) for arm, where, seed, _ in planned if where == regime]
        assert sorted(there) == sorted(
            (arm, seed) for arm in regimes.REGIMES[regime].arms for seed in range(2)
        )
    monkeypatch.setattr("sys.argv", ["study", "run", "--small", "--runs", str(tmp_path)])
    planned.clear()
    assert study.main() == 0
    assert {arm for arm, regime, _, _ in planned if regime == "rare"} == set(arms.ARMS)
    assert {arm for arm, regime, _, _ in planned if regime == "tools"} == set(regimes.MAIN)
    assert sum(regime == "rare" and arm == "siri" for arm, regime, _, _ in planned) == 2  # a pair


def test_the_regimes_report_their_own_kinds() -> None:
    def run(regime: str, kind: str) -> Finished:
        row = {"benchmark": "generated", "env_steps": 0, "plain_success": 0.1}
        rows = [row | {"kind": "all", "plain_task_score": 41.5}, row | {"kind": kind}]
        return Finished(
            regime=regime, arm="siri", seed=0, seconds=0.0, evaluations=[*rows], training=[], skills=[]
        )

    runs = Runs([run("shop", "grocery"), run("rare", "heat")])
    assert runs.kinds("shop") == ["grocery"]
    assert runs.kinds("rare") == ["heat"]
    assert runs.last("shop", "siri", 0, "generated", "plain_task_score") == 41.5


def test_every_arm_is_a_valid_configuration() -> None:
    for regime, place in regimes.REGIMES.items():
        for name in (name for name in arms.ARMS if arms.asked(name, regime)):
            arm = arms.ARMS[name]
            config = configured(arm, place, 3, place.budget)
            assert (config.seed, config.max_env_steps) == (3, place.budget.env_steps)
            assert config.internalization.iterations == ENDLESS
            arm.parts(config)


def test_recipes_have_right_words_in_the_language_of_their_world() -> None:
    assert {"sdar", "ucob", "skillrl"} < set(arms.FAMILY)
    for env, kind, place in (
        ("alfworld", "pick_heat_then_place_in_recep", "microwave"),
        ("webshop", "beauty", "buy"),
    ):
        config = preset("embedded", env)
        task = replace(make_task(kind), kind=kind)
        group = Group(task, (replace(make_trajectory(kind=kind), task=task),))
        found = arms.ARMS["sdar"].parts(config).hooks.advise([group], SkillBank())
        [[advice]] = found.values()
        assert place in advice.text


def test_an_episode_costs_what_was_read_and_written() -> None:
    turn = make_trajectory().turns[0]
    turns = tuple(replace(turn, usage=Usage(read, written)) for read, written in ((10, 2), (16, 3)))
    assert spent(replace(make_trajectory(), turns=turns)) == (31, 21, 1)


def test_wrong_words_have_the_condition_of_the_kind_and_another_strategy() -> None:
    right, wrong = arms.ARMS["oracle"].miner(preset("embedded"), None).words, words.wrong_words()
    assert set(right) == set(wrong)
    for kind, text in wrong.items():
        condition, strategy = text.split(": ")
        assert right[kind].startswith(f"{condition}: ")
        assert any(said.endswith(strategy) for other, said in right.items() if other != kind)
        assert right[kind] != text
    assert "fridge" in wrong["pick_heat_then_place_in_recep"]
    config = preset("embedded")
    for arm, said in (("skill_sd_0.1", right), ("skill_sd_0.1_wrong", wrong)):
        kind = "pick_heat_then_place_in_recep"
        task = make_task(kind)
        group = Group(task, (replace(make_trajectory(kind=kind), task=task),))
        [[advice]] = arms.ARMS[arm].parts(config).hooks.advise([group], SkillBank()).values()
        assert advice.text == said[kind]


def test_shuffled_log_ratios_stay_in_their_episode() -> None:
    """Tokens 0-2 are an episode; 3, 4, 6 another, whose token 5 has no teacher; 7, 8 are of another group."""
    x = experience()
    before = x.tokens.gap
    seen = [arms.shuffled(replace(x, seed=seed)).tokens for seed in range(60)]
    for part in ([0, 1, 2], [3, 4, 6], [5], [7, 8]):
        dealt = {tuple(round(v, 6) for v in tokens.gap[part].tolist()) for tokens in seen}
        assert dealt == {tuple(round(v, 6) for v in order) for order in permutations(before[part].tolist())}
    assert torch.equal(arms.shuffled(x).tokens.teacher, seen[0].teacher)
    assert torch.equal(seen[0].known, x.tokens.known)
    advantages = arms.ARMS["rlsd_shuffled"].parts(preset("embedded")).hooks.credit(x)
    assert torch.equal(advantages, rlsd.credit(replace(x, tokens=seen[0])))
    assert not torch.equal(advantages, rlsd.credit(x))
