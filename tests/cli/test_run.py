"""The command line on the smoke preset: what it writes, what it repeats, what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from siri import cli
from siri.recipes.shown import Trusting
from siri.runs import read_rollouts
from tests.smoke import metrics, siri
from tests.zoo import make


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished smoke run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        path = tmp_path_factory.mktemp("runs") / "first"
        assert siri(patch, "run", "--preset", "smoke", "--out", path) == 0
    return path


def test_run_directory(run: Path) -> None:
    names = {path.name for path in run.iterdir()} - {"episodes.jsonl"}
    wanted = ".lock config.json versions.json metrics.jsonl rollouts.jsonl report.html summary.json"
    assert names == {*wanted.split(), "skills.json", "skills.json.previous", "model", "checkpoints"}
    summary = json.loads((run / "summary.json").read_text())
    for stage in ("base", "warmup", "mining", "final"):
        for split in ("valid_seen", "valid_unseen"):
            row = summary[stage][split]
            assert row["n"] == 6
            assert row["interval"][0] <= row["plain"] <= row["interval"][1]
    assert summary["env_steps"] == sum(line["env/steps"] for line in metrics(run))
    assert [line["phase"] for line in metrics(run)][-1] == "internalization"


@pytest.mark.parametrize(
    ("options", "method"),
    [
        ((), "siri_both"),
        (("--recipe", "siri"), "siri"),
        (("--miner", "none"), None),
        (("--validator", "tests.cli.test_run:trusting"), None),
        (("--preset", "smoke"), None),
    ],
)
def test_the_default_preset_has_a_recipe(
    options: tuple[str, ...], method: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    small = ["env={train_games: 2, valid_games: 1, max_steps: 4}", "rollout={tasks: 1, group_size: 2}"]
    settings = [word for each in (*small, "max_env_steps=1") for word in ("--set", each)]
    assert siri(monkeypatch, "run", *options, *settings, "--out", tmp_path / "run") == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text()).get("method") == method
    assert (f"recipe {method}" in capsys.readouterr().out) == (method is not None)


def trusting(config: object) -> object:
    """A validator of one's own."""
    del config
    return Trusting()


def test_eval_repeats_the_summary(run: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    assert siri(monkeypatch, "eval", run / "model", "--json") == 0
    found = json.loads(capsys.readouterr().out)["splits"]
    final = json.loads((run / "summary.json").read_text())["final"]
    for split, row in found.items():
        assert (row["success"], row["n"]) == (final[split]["plain"], final[split]["n"])
    assert siri(monkeypatch, "eval", run / "model", "--greedy", "--split", "valid_seen") == 0
    assert "greedy" in capsys.readouterr().out


def test_eval_over_seeds_and_some_tasks_keeps_its_episodes(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    out = tmp_path / "measured"
    arguments = ["eval", run / "model", "--split", "valid_seen", "--seeds", 3, "--limit", 4, "--out", out]
    assert siri(monkeypatch, *arguments) == 0
    shown = capsys.readouterr().out
    result = json.loads((out / "result.json").read_text())
    row = result["splits"]["valid_seen"]
    assert result["seeds"] == [0, 1, 2]
    assert row["n"] == 12
    assert row["success"] == sum(each["success"] for each in row["each"]) / 3
    assert row["interval"][0] <= row["success"] <= row["interval"][1]
    assert row["tasks"] in shown
    assert "avg@3" in shown
    rows = read_rollouts(out / "rollouts.jsonl")
    assert [(r.seed, r.arm, len(r.episodes)) for r in rows] == [(n, "plain", 4) for n in range(3)]
    for found, each in zip(rows, row["each"], strict=True):
        assert sum(e.success for e in found.episodes) / 4 == each["success"]
        assert each["tasks"] == row["tasks"]
    # the same tasks have the same fingerprint, others another
    assert siri(monkeypatch, *arguments[:-2], "--json") == 0
    assert json.loads(capsys.readouterr().out)["splits"]["valid_seen"]["tasks"] == row["tasks"]
    assert siri(monkeypatch, *arguments[:4], "--limit", 5, "--json") == 0
    assert json.loads(capsys.readouterr().out)["splits"]["valid_seen"]["tasks"] != row["tasks"]
    assert siri(monkeypatch, *arguments) == 2
    assert "not empty" in capsys.readouterr().err


def test_same_seed_same_metrics_and_gigpo_beside_it(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    assert siri(monkeypatch, "run", "--preset", "smoke", "--out", tmp_path / "second") == 0
    assert metrics(tmp_path / "second") == metrics(run)
    plain = tmp_path / "plain"
    assert (
        siri(monkeypatch, "run", "--preset", "smoke", "--miner", "none", "--match", run, "--out", plain) == 0
    )
    wanted = json.loads((run / "summary.json").read_text())["env_steps"]
    assert json.loads((plain / "summary.json").read_text())["env_steps"] >= wanted
    capsys.readouterr()
    assert siri(monkeypatch, "compare", run, plain) == 0
    shown = capsys.readouterr().out
    assert "self" in shown
    assert "none" in shown


def test_skills_shows_the_bank(run: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    assert siri(monkeypatch, "skills", run) == 0
    shown = capsys.readouterr().out
    assert "interval" in shown or "no skills" in shown


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with skills from a file, and so with proven ones."""
    folder = tmp_path_factory.mktemp("taught")
    rows = [
        {
            "kind": "look_at_obj_in_light",
            "condition": "the task is to look at an object under a light",
            "strategy": strategy,
        }
        for strategy in (
            "search the desk first, take it, then use the desklamp.",
            "search the shelf first, take one, use the floorlamp, then look at it.",
        )
    ]
    (folder / "mine.json").write_text(json.dumps(rows))
    small = ["env={kinds: [look_at_obj_in_light], max_steps: 8, train_games: 6, valid_games: 4}"]
    small += ["rollout.tasks=2", "warmup={successes: 1, max_iterations: 1}"]
    options = [part for setting in small for part in ("--set", setting)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        where = ["--miner", "file", "--skills", folder / "mine.json", "--out", folder / "run"]
        assert siri(patch, "run", "--preset", "smoke", *options, *where) == 0
    return folder / "run"


def test_skills_can_be_listed_shown_moved_and_compared(
    taught: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    from siri.skills import SkillBank

    def shown(*arguments: object) -> str:
        assert siri(monkeypatch, "skills", *arguments) == 0
        return " ".join(capsys.readouterr().out.split())

    bank = SkillBank.load(taught / "skills.json")
    first, *_ = sorted(bank.records(), key=lambda r: -r.uses)
    assert first.uses > 0
    assert shown(taught) == shown("list", taught)
    one = shown("show", taught, first.skill.id[:6])
    assert "utility over time" in one
    assert f"{first.evidence.utilities[-1]:+.3f}" in one
    assert siri(monkeypatch, "skills", "show", taught, "zzz") == 2
    assert first.skill.id in capsys.readouterr().err
    for form, target in (("json", tmp_path / "bank.json"), ("agent", tmp_path / "agent")):
        assert "2 skills in" in shown("export", taught, target, "--format", form)
        assert "2 new skills" in shown("import", target, tmp_path / f"{form}.json")
        assert SkillBank.load(tmp_path / f"{form}.json") == bank
        assert "0 new skills" in shown("import", target, tmp_path / f"{form}.json")
    assert siri(monkeypatch, "skills", "export", taught, tmp_path / "bank.json") == 2
    capsys.readouterr()
    assert "2 in both, 0 only in" in shown("diff", taught, tmp_path / "agent")
    assert f"0 in both, 2 only in {taught}" in shown("diff", taught, run) or len(
        SkillBank.load(run / "skills.json")
    )


def test_a_mined_skill_shows_the_episodes_it_came_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    from siri.config.presets import preset
    from siri.runs import Recipe, RunDirectory
    from siri.skills import SkillBank
    from tests.skills.helpers import make_skill, make_trajectory

    directory = RunDirectory(tmp_path / "run")
    directory.create(Recipe(preset("smoke")).to_json())
    directory.append_episodes([make_trajectory("t1")])
    with directory.episodes.open("a") as file:
        file.write('{"id": "cut')
    bank = SkillBank()
    bank.add(make_skill(sources=("t1", "gone"), prompts=("abc",)))
    bank.save(directory.skills)
    assert siri(monkeypatch, "skills", "show", directory.path, make_skill().id) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "from t1: put a hot apple in fridge." in out
    assert "go to countertop 1 > take apple 1 from countertop 1" in out
    assert "from gone (not kept)" in out
    assert "prompts abc" in out


def test_eval_with_skills_beside_plain(taught: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    bank = taught / "skills.json"
    arguments = ["eval", taught / "model", "--split", "valid_seen", "--skills", bank]
    assert siri(monkeypatch, *arguments, "--json") == 0
    row = json.loads(capsys.readouterr().out)["splits"]["valid_seen"]
    final = json.loads((taught / "summary.json").read_text())["final"]["valid_seen"]
    assert row["success"] == final["plain"]
    assert row["with_skills"]["success"] == final["skill"]
    assert siri(monkeypatch, *arguments) == 0
    shown = capsys.readouterr().out
    assert "measured" in shown
    assert "by the" in shown
    export = taught.parent / "mine.json"
    assert siri(monkeypatch, *arguments[:-1], export) == 2
    assert "no proven skill" in capsys.readouterr().err
    assert siri(monkeypatch, *arguments[:-1], export, "--candidates", "--json") == 0


def test_an_interrupt_keeps_what_was_done(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    out = tmp_path / "cut"
    progress, seen = cli.run.show_progress, []

    def interrupt(*arguments: object) -> None:
        progress(*arguments)
        seen.append(1)
        if len(seen) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(cli.run, "show_progress", interrupt)
    assert siri(monkeypatch, "run", "--preset", "smoke", "--out", out) == 130
    assert "--resume" in capsys.readouterr().out
    monkeypatch.setattr(cli.run, "show_progress", progress)
    assert siri(monkeypatch, "run", "--resume", "--out", out, "--seed", "5", "--set", "rollout.tasks=9") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "ignored: --seed, --set" in shown or "ignored: --set, --seed" in shown
    assert metrics(out) == metrics(run)
    final = (json.loads((path / "summary.json").read_text())["final"] for path in (out, run))
    assert next(final) == next(final)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--set", "rollout.task=3"], "unknown setting 'rollout.task'"),
        (["run", "--set", "rollout.tasks=0"], "rollout.tasks=0"),
        (["run", "--preset", "huge"], "preset 'huge'"),
        (["run", "--miner", "magic", "--preset", "smoke"], "--miner 'magic'"),
        (["run", "--policy", "./none", "--preset", "smoke"], "'./none' that does not exist"),
        (["run", "--data", "none"], "data folder 'none'"),
        (["run", "--resume"], "without --out"),
        (["skills", "none"], "got none without config.json"),
        (["skills", "list", "none"], "got none without config.json"),
        (["skills", "diff", "none", "none"], "got none without config.json"),
        (["run", "--miner", "file", "--preset", "smoke"], "without skills"),
        (["run", "--skills", "x", "--preset", "smoke"], "--skills with --miner 'self'"),
        (["eval", "tiny", "--skills", "none"], "got none without config.json"),
        (["eval", "./none"], "'./none' that does not exist"),
        (["run", "--set", "optimizer.lr=.inf"], "optimizer.lr=inf"),
        (["run", "--preset", "webshop-paper"], "preset 'webshop-paper' for alfworld"),
        (["run", "--preset", "smoke", "--track", "paper"], "tracker 'paper'"),
        (["run", "--preset", "smoke", "--engine", "magic"], "or the address of a vLLM server"),
        (["run", "--preset", "smoke", "--set", "rollout.sleep=true"], "rollout.sleep with --engine 'hf'"),
        (["run", "--preset", "smoke", "--set", "env.style=compact"], "style 'compact' for ALFWorld"),
        (["run", "--preset", "smoke", "--set", "evaluation.splits=[foo]"], "evaluation.splits=['foo']"),
        (["eval", "tiny", "--preset", "smoke", "--set", "evaluation.splits=[foo]"], "no split to evaluate"),
        (
            ["play", "--policy", "tiny", "--temperature", "nan", "--set", "env.valid_games=6"],
            "temperature nan",
        ),
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


@pytest.mark.parametrize("text", ["{}", "[]", "{"])
def test_damaged_files_of_a_run_are_one_sentence(
    text: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    damaged = tmp_path / "run"
    shutil.copytree(run, damaged)
    for name, commands in (
        ("summary.json", (["compare", damaged], ["run", "--match", damaged, "--out", tmp_path / "x"])),
        ("config.json", (["eval", damaged / "model"], ["run", "--resume", "--out", damaged])),
    ):
        (damaged / name).write_text(text, encoding="utf-8")
        for command in commands:
            assert siri(monkeypatch, *command) == 2
            shown = capsys.readouterr().err
            assert shown.count("\n") == 1
            assert name in shown
    assert not (tmp_path / "x").exists()


def test_damaged_weights_are_one_sentence(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    shutil.copytree(run / "model", tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"xx")
    assert siri(monkeypatch, "eval", tmp_path / "model", "--preset", "smoke") == 2
    shown = capsys.readouterr().err
    assert "model.safetensors" in shown
    assert shown.count("\n") == 1


def test_nothing_is_overwritten(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    before = (run / "metrics.jsonl").read_bytes()
    assert siri(monkeypatch, "run", "--preset", "smoke", "--out", run) == 2
    assert "holds a run" in capsys.readouterr().err
    assert (run / "metrics.jsonl").read_bytes() == before
    (tmp_path / "file").write_text("mine")
    assert siri(monkeypatch, "run", "--preset", "smoke", "--out", tmp_path / "file") == 2
    assert (tmp_path / "file").read_text() == "mine"
    assert siri(monkeypatch, "run", "--preset", "smoke", "--out", tmp_path / "file" / "below") == 2


def test_the_model_acts_the_same_outside_siri(run: Path) -> None:
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    from siri.policies import HFPolicy
    from siri.types import Request, Sampling

    chat = [{"role": "user", "content": "You see a desk 1.\n\nYour task is to: put a mug in desk."}]
    [own] = HFPolicy.load(run / "model").generate([Request(chat)], Sampling(temperature=0, max_tokens=12))
    model = AutoModelForCausalLM.from_pretrained(run / "model")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(run / "model")
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")
    out = model.generate(**ids, max_new_tokens=12, do_sample=False)[0, ids["input_ids"].shape[1] :]
    assert tuple(out.tolist()) == own.completion_ids
    assert tokenizer.decode(out, skip_special_tokens=True) == own.text


@pytest.mark.skipif("ALFWORLD_DATA" not in os.environ, reason="needs ALFWORLD_DATA")
def test_real_games_train_and_evaluate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    data, out = os.environ["ALFWORLD_DATA"], tmp_path / "real"
    small = ["--set", "rollout.tasks=2", "--set", "evaluation.splits=[]", "--set", "env.max_steps=6"]
    assert siri(monkeypatch, "run", "--preset", "smoke", "--data", data, *small, "--out", out) == 0
    assert len(metrics(out)) > 2
    assert "base: plain" not in capsys.readouterr().out
    assert siri(monkeypatch, "eval", out / "model", "--split", "valid_seen", "--json") == 0
    assert json.loads(capsys.readouterr().out)["splits"]["valid_seen"]["n"] == 140


def test_a_damaged_game_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    from siri.envs.alfworld import generate_games

    games = tmp_path / "games"
    for split in ("train", "valid_seen", "valid_unseen"):
        generate_games(2, seed=0, split=split, scale=0.4, directory=games / split)
        target = games / "json_2.1.1" / split
        shutil.copytree(games / split / "json_2.1.1" / split, target)
    for path in (games / "json_2.1.1").rglob("game.tw-pddl"):
        path.write_bytes(path.read_bytes()[:5000])
    out = tmp_path / "out"
    assert siri(monkeypatch, "run", "--preset", "smoke", "--data", games, "--out", out) == 2
    error = capsys.readouterr().err
    assert error.startswith("siri: got")
    assert "game.tw-pddl" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_cleanly(name: str, tmp_path: Path) -> None:
    out = tmp_path / "cut"
    command = [sys.executable, "-m", "siri", "run", "--preset", "smoke", "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (out / "checkpoints").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(getattr(signal, name))
    shown, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "--resume" in shown
    assert error == ""


def test_an_interrupt_before_the_run_begins_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def interrupted(*given: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("siri.runs.records.Recipe.make_suite", interrupted)
    out = tmp_path / "out"
    assert siri(monkeypatch, "run", "--preset", "smoke", "--out", out) == 130
    assert capsys.readouterr().err == "siri: interrupted\n"
    assert not out.exists()
    assert siri(monkeypatch, "run", "--resume", "--out", out) == 2
    assert "left nothing: start it again" in capsys.readouterr().err


def test_a_dry_run_says_whether_the_first_prompt_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    for name, more in (("long", {}), ("short", {"max_position_embeddings": 256})):
        make("qwen25", tmp_path / name, **more)
    words = ("run", "--preset", "smoke", "--set", "env.style=window", "--dry-run", "--policy")
    capsys.readouterr()
    assert siri(monkeypatch, *words, tmp_path / "long") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "tokens of the 8,180 that the policy takes" in shown
    assert "rollout.max_tokens=12 leaves little room" in shown
    assert siri(monkeypatch, *words, tmp_path / "short") == 2
    assert "a policy that takes 244" in " ".join(capsys.readouterr().err.split())


def test_a_dry_run_says_what_it_needs_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    paper = ("run", "--preset", "paper", "--policy", "Qwen/Qwen2.5-7B-Instruct", "--dry-run")
    assert siri(monkeypatch, *paper, "--processes", "3") == 0
    shown = capsys.readouterr().out
    assert "7.616" in shown
    assert "128 episodes over 3 processes: some play one less" in " ".join(shown.split())
    assert siri(monkeypatch, "run", "--dry-run", "--preset", "smoke") == 0
    assert siri(monkeypatch, *paper, "--data", "none") == 2
    assert siri(monkeypatch, "run", "--dry-run", "--policy", "nobody/nothing") == 2
    assert siri(monkeypatch, "run", "--dry-run", "--engine", "magic") == 2
    for words, message in (
        (["magic"], "'magic'"),
        (["openai"], "--openai-model"),
        (["file"], "--skills"),
        (["file", "--skills", "none"], "none"),
    ):
        capsys.readouterr()
        assert siri(monkeypatch, "run", "--dry-run", "--preset", "smoke", "--miner", *words) == 2
        assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_asks_writer_and_server_once_where_it_is_told_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.policies.test_vllm_probe import WHOLE, serving
    from tests.skills.server import Answer, completion, server

    monkeypatch.setenv("OPENAI_API_KEY", "k")
    words: tuple[str, ...] = (
        "run",
        "--dry-run",
        "--preset",
        "smoke",
        "--miner",
        "openai",
        "--openai-model",
        "m",
    )
    with server(completion('{"skills": []}')) as (url, seen):
        assert siri(monkeypatch, *words, "--openai-base-url", url) == 0
        assert seen == []
        assert siri(monkeypatch, *words, "--openai-base-url", url, "--probe") == 0
        assert len(seen) == 1
        assert "model 'm' answered in" in " ".join(capsys.readouterr().out.split())
    with server(Answer(401, "{}")) as (url, seen):
        assert siri(monkeypatch, *words, "--openai-base-url", url, "--probe") == 2
        assert "http_401" in capsys.readouterr().err
    assert siri(monkeypatch, "run", "--probe", "--preset", "smoke") == 2
    with serving(WHOLE) as (url, seen):
        words = ("run", "--dry-run", "--preset", "smoke", "--engine", url)
        assert siri(monkeypatch, *words) == 0
        assert seen == []
        assert siri(monkeypatch, *words, "--probe") == 0
        assert seen == list(WHOLE)
        assert "model 'qwen', context 2,048 tokens" in " ".join(capsys.readouterr().out.split())
    assert siri(monkeypatch, *words, "--probe") == 2
    assert "fix: start it, or its address" in capsys.readouterr().err
    assert siri(monkeypatch, "run", "--dry-run", "--probe", "--preset", "smoke") == 0
    assert "nothing to ask" in capsys.readouterr().out
