"""rollouts.jsonl: what is kept of a run, its bound, and that a resume changes nothing."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from siri.config import load_config
from siri.curriculum import Curriculum, Iteration
from siri.curriculum.notes import sampled
from siri.runs import Recipe, Run, RunDirectory, execute, occupied
from tests.smoke import SMOKE, Writer, fresh, numbers, suite

CONFIG = load_config(
    SMOKE, changes={"episodes.groups": 1, "episodes.evaluation": 2, "internalization.level": "group"}
)


def carried_out(path: Path, config=CONFIG, *, resume: bool = False, stop_after: int | None = None) -> Run:
    """A run in a folder; with ``stop_after``, dead without a word after so many reports."""
    directory, recipe = RunDirectory(path), Recipe(config, miner="python:Writer")
    seen = list[Iteration]()

    def report(iteration: Iteration, seconds: float) -> None:
        seen.append(iteration)
        if len(seen) == stop_after:
            raise Killed

    with occupied(directory, recipe, resume=resume), suppress(Killed):
        execute(fresh(Writer(), config), directory, resume=resume, report=report)
    return Run.open(path, suite=suite())


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return carried_out(tmp_path_factory.mktemp("kept") / "run")


def test_groups_are_whole_and_say_what_training_made_of_them(run: Run) -> None:
    assert [group.iteration for group in run.groups] == list(range(len(run.metrics["env/steps"])))
    for group in run.groups:
        assert len(group.episodes) == CONFIG.rollout.group_size
        assert {e.task.id for e in group.episodes} == {group.episodes[0].task.id}
        for episode in group.episodes:
            assert episode.turns
            assert all(turn.tokens and turn.advantage is not None for turn in episode.turns)
        skilled = [e for e in group.episodes if e.arm == "skill"]
        assert bool(group.block) == bool(skilled)
        assert "search the desk first" in group.block or not skilled
    taught = [
        (episode, turn)
        for episode in run.episodes(arm="skill")
        for turn in episode.turns
        if turn.taught is not None
    ]
    for _, turn in taught:
        assert turn.taught is not None
        sizes = {len(turn.taught.pieces), len(turn.taught.weights), len(turn.taught.before)}
        assert sizes == {turn.tokens} == {len(turn.taught.after)}
        assert max(turn.taught.before) <= 0 >= max(turn.taught.after)


def test_evaluations_have_every_outcome_and_some_episodes(run: Run) -> None:
    final = run.summary.stages["final"]
    [row] = [r for r in run.evaluations if (r.stage, r.split, r.arm) == ("final", "valid_seen", "plain")]
    assert len(row.outcomes) == final["valid_seen"]["plain"].n
    assert sum(o.success for o in row.outcomes) == final["valid_seen"]["plain"].successes
    assert len(row.episodes) == 2
    ends = {o.task: o.success for o in row.outcomes}
    assert all(ends[e.task.id] is e.success for e in row.episodes)
    assert {e.stage for e in run.episodes(stage="final")} == {"final"}


def test_episodes_are_found_by_what_they_are(run: Run) -> None:
    every = run.episodes()
    assert set(run.episodes(success=True)) | set(run.episodes(success=False)) == set(every)
    assert all(e.iteration == 0 for e in run.episodes(iteration=0))
    assert run.episodes(kind="no such kind") == ()
    skills = {name for e in every for name in e.skills}
    for name in skills:
        assert set(run.episodes(skill=name)) == {e for e in every if name in e.skills}


def test_prompts_are_made_again_from_what_was_kept(run: Run) -> None:
    """The prompter gives for the kept words what it gave for the episode; the same as in memory."""
    prompter = suite().prompter
    group = run.groups[-1]
    again = fresh(Writer(), CONFIG)
    place = group.place
    for iteration in again:
        if iteration.index == group.iteration:
            break
    for kept, played in zip(group.episodes, iteration.groups[place].trajectories, strict=True):
        assert (kept.id, kept.arm, kept.seed) == (played.id, played.arm, played.seed)
        turns = [turn.turn() for turn in kept.turns]
        for n, turn in enumerate(played.turns):
            before = prompter.messages(played.task, played.turns[:n], turn.observation, turn.admissible)
            state = (kept.turns[n].observation, kept.turns[n].admissible)
            assert prompter.messages(kept.task, turns[:n], *state) == before


def test_nothing_that_is_computed_changes() -> None:
    without = load_config(CONFIG, changes={"episodes.groups": 0})
    runs: list[Curriculum] = [fresh(Writer(), CONFIG), fresh(Writer(), without)]
    kept, none = (list(run) for run in runs)
    # the one figure that is of the kept groups alone
    own = [replace(i, metrics={k: v for k, v in i.metrics.items() if k != "arm/skill/uptake"}) for i in kept]
    assert numbers(own) == numbers(none)
    assert any("arm/skill/uptake" in i.metrics for i in kept)
    assert all(i.kept for i in kept)
    assert not any(i.kept for i in none)


@pytest.mark.parametrize("after", [1, 3, 5])
def test_kill_and_resume_leaves_the_same_file(run: Run, tmp_path: Path, after: int) -> None:
    path = tmp_path / "run"
    carried_out(path, stop_after=after)
    with (path / "rollouts.jsonl").open("ab") as file:
        file.write(b'{"schema": 1, "type": "group", "itera')
    assert Run.open(path).episodes()  # readable as it lies
    carried_out(path, resume=True)
    assert (path / "rollouts.jsonl").read_bytes() == run.directory.rollouts.read_bytes()


def test_uptake_is_what_the_model_says_of_both_prompts() -> None:
    """Against the equation, computed from single passes of the model as it was before the update."""
    run = fresh(Writer(), CONFIG)
    for _ in range(20):
        model = deepcopy(run.policy.model).eval()
        iteration = run.step()
        if "arm/skill/uptake" in iteration.metrics:
            break
    [kept] = iteration.kept
    gains = []
    for trajectory, notes in zip(kept.group.trajectories, kept.notes, strict=True):
        for turn, note in zip(trajectory.turns, notes, strict=True):
            if trajectory.arm != "skill" or turn.prompt_ids == turn.plain_prompt_ids:
                assert note.uptake is None
                continue
            own = []
            for prompt in (turn.prompt_ids, turn.plain_prompt_ids):
                ids = torch.tensor([[*prompt, *turn.completion_ids]])
                with torch.no_grad():
                    logits = model(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
                own.append(logits[range(len(turn.completion_ids)), list(turn.completion_ids)])
            gain = [float(g) for g, a in zip(own[0] - own[1], turn.action_mask, strict=True) if a]
            assert note.uptake == pytest.approx(sum(gain) / len(gain), abs=1e-4)
            gains += gain
    assert iteration.metrics["arm/skill/uptake"] == pytest.approx(sum(gains) / len(gains), abs=1e-4)


def test_the_size_is_bounded_and_late_iterations_have_their_share(tmp_path: Path) -> None:
    small = load_config(CONFIG, changes={"episodes.megabytes": 0.03, "episodes.groups": 2})
    run = carried_out(tmp_path / "run", small)
    lines = run.directory.rollouts.read_bytes().splitlines(keepends=True)
    groups = [line for line in lines if json.loads(line)["type"] == "group"]
    assert 0 < sum(map(len, groups)) <= 30_000
    assert len(groups) < 2 * len(run.metrics["env/steps"])


def test_lines_of_a_later_version_and_damaged_ones_are_left_out(tmp_path: Path, run: Run) -> None:
    shutil.copytree(run.path, tmp_path / "copy")
    copy = Run.open(tmp_path / "copy")
    with copy.directory.rollouts.open("a") as file:
        file.write('{"schema": 99, "type": "group"}\n{"schema": 1, "type": "group"}\n[1]\nnonsense\n')
    assert copy.episodes() == run.episodes()


def test_groups_are_chosen_by_the_seed_alone() -> None:
    assert sampled(3, 16, keep=2, seed=0) == sampled(3, 16, keep=2, seed=0)
    assert len({sampled(k, 16, keep=2, seed=0) for k in range(20)}) > 5
    assert sampled(0, 1, keep=5, seed=0) == (0,)
    assert sampled(0, 4, keep=0, seed=0) == ()


def test_what_was_distilled_is_noted_token_by_token(tmp_path: Path) -> None:
    """With a gate that takes every skill rollout: the tokens of each, in words, around the update."""
    run = fresh(Writer(), CONFIG)
    run.teaching.gate = replace(run.teaching.gate, chosen=lambda _, trajectory: trajectory.arm == "skill")
    directory = RunDirectory(tmp_path / "run")
    with occupied(directory, Recipe(CONFIG, miner="python:Writer")):
        execute(run, directory)
    opened = Run.open(tmp_path / "run")
    phases = [phase.value for phase in opened.phases]
    taught = [
        (episode, turn) for episode in opened.episodes(arm="skill") for turn in episode.turns if turn.taught
    ]
    assert taught
    for episode, turn in taught:
        assert episode.iteration is not None
        assert phases[episode.iteration] == "internalization"
        assert turn.taught is not None
        assert "".join(turn.taught.pieces).startswith(turn.text)
        assert len(turn.taught.weights) == turn.tokens
    assert any(turn.taught.before != turn.taught.after for _, turn in taught if turn.taught)
