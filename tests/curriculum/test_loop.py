"""The three phases on real games with the real embedded policy, at the smallest size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from siri.algos import SiriObjective
from siri.build import run as compose
from siri.config import load_config
from siri.config.presets import preset
from siri.curriculum import Curriculum, Iteration, Phase
from siri.curriculum.iteration import remember
from siri.envs.alfworld import WindowPrompter, alfworld_suite
from siri.errors import MinerFault
from siri.models.scoring import score
from siri.policies import HFPolicy
from siri.policies.tiny import base_path
from siri.rollout.suite import Suite
from siri.runs import checkpoint
from siri.skills import SelfMiner
from siri.training.batches import collate
from siri.training.credit import advantages
from siri.training.rows import build_rows
from siri.types import Skill, SkillStatus, Task
from tests.smoke import LOOK, SMOKE, Silent, Writer, fresh, numbers, record, suite


def test_phases_follow_each_other_and_skills_are_internalised() -> None:
    run = fresh(Writer())
    iterations = record(run)
    phases = [i.phase for i in iterations]
    assert phases == sorted(phases, key=list(Phase).index)
    assert {Phase.WARMUP, Phase.MINING, Phase.INTERNALIZATION} == set(phases)
    assert run.state.phase is Phase.DONE
    for i in iterations:
        skill_arms = [t for g in i.groups for t in g.arm("skill")]
        assert bool(skill_arms) == (i.phase is not Phase.WARMUP)
        assert all(t.task.split == "train" for g in i.groups for t in g.trajectories)
        assert (i.metrics["int/scale"] > 0) == (i.phase is Phase.INTERNALIZATION)
    assert run.bank.get("right").status is SkillStatus.ACTIVE
    assert run.bank.get("right").uses > 0
    assert run.bank.get("right").skill.sources


def test_same_seed_same_numbers_other_seed_others() -> None:
    first, second = (record(fresh(SelfMiner.tiny()), 3) for _ in range(2))
    assert numbers(first) == numbers(second)
    assert [i.groups for i in first] == [i.groups for i in second]
    other = record(fresh(SelfMiner.tiny(), SMOKE.model_copy(update={"seed": 1})), 3)
    assert numbers(other) != numbers(first)


def test_an_interrupted_run_goes_on_to_the_same_end(tmp_path: Path) -> None:
    whole = fresh(Writer())
    expected = record(whole)
    for stop in (1, len(expected) - 1):
        part = fresh(Writer())
        record(part, stop)
        checkpoint.save(part, tmp_path / str(stop), extra={"note": stop})
        rest = fresh(Writer())
        assert checkpoint.restore(rest, checkpoint.latest(tmp_path / str(stop))) == {"note": stop}
        assert numbers(record(rest)) == numbers(expected[stop:])
        for a, b in zip(rest.policy.model.parameters(), whole.policy.model.parameters(), strict=True):
            assert torch.equal(a, b)
        assert rest.bank == whole.bank


def test_a_silent_miner_is_an_event_and_the_run_goes_on() -> None:
    iterations = record(fresh(Silent()))
    events = [event for i in iterations for event in i.events]
    assert "mining failed: no answer" in events
    assert any("no skill is active" in event for event in events)


def test_a_miner_that_stays_out_stops_the_run_when_asked() -> None:
    config = SMOKE.model_copy(update={"mining": SMOKE.mining.model_copy(update={"max_failures": 2})})
    run = fresh(Silent(), config)
    with pytest.raises(MinerFault, match="2 failed minings in a row"):
        record(run)
    assert run.state.failed_minings == 2


def test_an_evaluator_keeps_bad_ideas_out_of_the_rollouts() -> None:
    run = fresh(Writer())
    run.mining.screen = lambda skills: [None for _ in skills]
    iterations = record(run)
    assert run.bank.get("right").status is SkillStatus.RETIRED
    assert run.bank.get("right").uses == 0
    assert not any(t for i in iterations for g in i.groups for t in g.arm("skill"))


def test_new_skills_come_with_their_episodes() -> None:
    iterations = record(fresh(SelfMiner.tiny()), 4)
    assert all(t.success and t.arm == "plain" for i in iterations for t in i.mined)
    run = fresh(Writer())
    named = [t.id for i in record(run) for t in i.mined]
    assert set(run.bank.get("right").skill.sources) == set(named)
    assert len(named) == len(set(named)) > 0


@pytest.mark.parametrize("rule", ["confidence", "sequential"])
def test_an_interrupted_run_with_other_rules_goes_on_to_the_same_end(rule: str, tmp_path: Path) -> None:
    config = load_config(SMOKE, assignments=[f"validation.rule={rule}", "mining.capacity=2"])
    whole = fresh(Writer(), config)
    expected = record(whole)
    part = fresh(Writer(), config)
    record(part, 3)
    checkpoint.save(part, tmp_path)
    rest = fresh(Writer(), config)
    checkpoint.restore(rest, checkpoint.latest(tmp_path))
    assert numbers(record(rest)) == numbers(expected[3:])
    assert rest.bank == whole.bank
    assert rest.bank.capacity == 2


REPLAY = ["internalization={iterations: 3, warmup: 1}", "rollout.tasks=8"]


def test_wins_of_past_iterations_are_distilled_again_and_of_the_mining_phase_too() -> None:
    def played(replay: int) -> Iterator[tuple[Phase, int, int]]:
        """Phase, wins kept so far and rows of L_int that were learned, of each iteration."""
        run = fresh(Writer(), load_config(SMOKE, assignments=[*REPLAY, f"internalization.replay={replay}"]))
        for i in run:
            rl = sum(len(g.trajectories) for g in i.groups)
            yield i.phase, len(run.teaching.replay.rows({"right"})), int(i.metrics["learn/rows"]) - rl

    phases, kept, learned = zip(*played(100), strict=True)
    start = phases.index(Phase.INTERNALIZATION)
    assert kept[start - 1] > 0
    assert list(learned) == [0] * start + list(kept[start:])
    _, kept, once = zip(*played(0), strict=True)
    assert not any(kept)
    assert 0 < sum(once) < sum(learned)


def test_an_interrupted_run_with_replay_goes_on_to_the_same_end(tmp_path: Path) -> None:
    config = load_config(SMOKE, assignments=[*REPLAY, "internalization.replay=3"])
    whole = fresh(Writer(), config)
    expected = record(whole)
    part = fresh(Writer(), config)
    record(part, len(expected) - 2)
    assert part.teaching.replay.rows({"right"})
    checkpoint.save(part, tmp_path)
    rest = fresh(Writer(), config)
    checkpoint.restore(rest, checkpoint.latest(tmp_path))
    assert numbers(record(rest)) == numbers(expected[-2:])
    for a, b in zip(rest.policy.model.parameters(), whole.policy.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_no_retrieval_is_no_skill_arm() -> None:
    run = fresh(Writer(), load_config(SMOKE, assignments=["validation.retrieval=none"]))
    assert not any(t for i in record(run) for g in i.groups for t in g.arm("skill"))


@pytest.mark.parametrize(("share", "skilled"), [(0.5, 2), (0.25, 1), (0.0, 1), (0.7, 2), (1.0, 4)])
def test_the_share_of_a_group_that_sees_the_skill(share: float, skilled: int) -> None:
    config = load_config(
        SMOKE, assignments=[f"rollout.skill_share={share}", "warmup={successes: 0, max_iterations: 1}"]
    )
    run = fresh(Writer(), config)
    run.step()
    run.bank.add(Writer().mine([])[0])
    [first, *_] = run.step().groups
    assert (len(first.arm("plain")), len(first.arm("skill"))) == (4 - skilled, skilled)


def test_without_a_miner_it_is_gigpo_for_the_steps_asked() -> None:
    config = SMOKE.model_copy(update={"max_env_steps": 100})
    run = fresh(None, config)
    iterations = record(run)
    assert {i.phase for i in iterations} == {Phase.WARMUP}
    assert run.state.env_steps >= 100 > run.state.env_steps - iterations[-1].metrics["env/steps"]


def test_every_train_task_is_seen_once_an_epoch() -> None:
    run = fresh(None)
    seen = [task.id for k in range(4) for task in run.tasks(k)]
    assert sorted(seen) == sorted(t.id for t in suite().split("train"))
    assert [t.id for t in run.tasks(0) + run.tasks(1)] != [t.id for t in run.tasks(4) + run.tasks(5)]


@pytest.mark.parametrize("style", ["transcript", "window"])
def test_logprobs_of_the_learner_are_those_of_sampling(style: str) -> None:
    run = fresh(Writer())
    if style == "window":
        run.rollout.prompter = WindowPrompter()
    run.state.phase = Phase.MINING
    run.bank.add(Writer().mine([])[0])
    groups = run.rollout.play(run._plans(0))
    trajectories = [t for g in groups for t in g.trajectories]
    assert {t.arm for t in trajectories} == {"plain", "skill"}
    rows = build_rows(groups, advantages(groups, run.config.advantage, max_return=10.0))
    turns = sum(len(t.turns) for t in trajectories)
    assert len(rows) == (len(trajectories) if style == "transcript" else turns)
    for start in range(0, len(rows), 8):
        batch = collate(rows[start : start + 8], pad_id=0)
        with torch.no_grad():
            again = score(run.policy.model, batch).logprobs
        gap = (again - batch.old_logprobs)[batch.rl_mask].abs()
        assert gap.numel() > 0
        assert float(gap.max()) < 1e-4


def test_plain_ids_are_the_skill_ids_without_the_block() -> None:
    run = fresh(Writer())
    run.state.phase = Phase.MINING
    run.bank.add(Writer().mine([])[0])
    groups = run.rollout.play(run._plans(0))
    block = run.policy.tokenizer(
        run.suite.prompter.block([run.bank.get("right").skill]), add_special_tokens=False
    ).input_ids
    for trajectory in (t for g in groups for t in g.arm("skill")):
        for turn in trajectory.turns:
            x1, x0 = list(turn.prompt_ids), list(turn.plain_prompt_ids)
            assert any(
                x1[:n] + x1[n + len(block) :] == x0
                for n in range(len(x0) + 1)
                if x1[n : n + len(block)] == block
            )


def test_task_of_another_split_never_enters_the_pool() -> None:
    run = fresh(None)
    [plan, *_] = run._plans(0)
    groups = run.rollout.play([plan])
    assert isinstance(groups[0].task, Task)
    won = replace(groups[0].trajectories[0], success=True, task=suite().split("valid_seen")[0])
    with pytest.raises(ValueError, match="valid_seen"):
        remember([replace(groups[0], trajectories=(won,))], {}, keep=1)


def test_own_parts_of_a_few_lines_compose() -> None:
    """A custom environment, miner, validator and objective, each of at most ten lines."""

    class World:
        def reset(self, *, seed=None, options=None):
            self.left = 3
            return "Say go to desk 1.", {"admissible": [], "success": False, "anchor": 3, "valid": True}

        def step(self, action):
            self.left -= 1
            won = action.startswith("go")
            info = {"admissible": [], "success": won, "anchor": self.left, "valid": won}
            return "Again.", float(won), won, self.left == 0, info

    class Always:
        def observe(self, skill_id, plain, skilled):
            return SkillStatus.ACTIVE

    def double(batch, scores):
        return SiriObjective(kl=0.0)(batch, scores)

    tasks = [Task(str(n), LOOK, "say go", "train") for n in range(4)]
    own = Suite("own", World, {"train": tasks}, suite().prompter)
    run = Curriculum(
        own,
        HFPolicy.load(base_path(), slots=16),
        miner=Writer(),
        validator=Always(),
        objective=double,
        config=SMOKE,
    )
    iterations = record(run)
    assert run.state.phase is Phase.DONE
    assert any(i.metrics.get("arm/skill/success") is not None for i in iterations)
    assert run.bank.get("right").status is SkillStatus.ACTIVE
    assert run.bank.get("right").uses > 0


@cache
def gaps(peak: float) -> tuple[float, ...]:
    """int/prompt_gap of each phase-2 iteration on one kind, with one right skill that is never changed."""
    kind = "pick_heat_then_place_in_recep"
    text = "search the countertop first, take it, heat it with the microwave, then move it to the goal."
    skill = Skill("right", kind, "the task is to heat an object", text, "human", 0)

    class One:
        def mine(self, trajectories):
            return [skill]

    settings = [
        f"internalization={{peak: {peak}, warmup: 1, iterations: 7}}",
        "warmup={successes: 0, max_iterations: 0}",
        "mining={every: 100, max_iterations: 1, min_active: 1, min_iterations: 1}",
        "validation={n_eval: 1, activate: -1, retire: -1}",
        "rollout.tasks=6",
    ]
    torch.set_num_threads(1)
    games = alfworld_suite(train_games=24, valid_games=6, kinds=[kind], max_steps=20)
    config = load_config(preset("embedded"), assignments=settings)
    iterations = record(compose(games, HFPolicy.load(base_path()), One(), config))
    return tuple(i.metrics["int/prompt_gap"] for i in iterations if i.phase is Phase.INTERNALIZATION)


def test_internalisation_closes_the_gap_between_the_prompts() -> None:
    first, last = sum(gaps(3.0)[:2]) / 2, sum(gaps(3.0)[-2:]) / 2
    assert first > 0.03
    assert last < first / 2


def test_without_internalisation_the_gap_stays() -> None:
    assert sum(gaps(0.0)[-2:]) > 0.5 * sum(gaps(0.0)[:2])
    assert sum(gaps(0.0)[-2:]) > 2 * sum(gaps(3.0)[-2:])


class Cents:
    """A world whose rewards are a thousandth of what they were."""

    def __init__(self, world):
        self.world = world

    def reset(self, **options):
        return self.world.reset(**options)

    def step(self, action):
        text, reward, *rest = self.world.step(action)
        return text, 0.001 * reward, *rest


def test_small_rewards_learn_as_large_ones_where_the_suite_says_the_largest() -> None:
    whole = suite()
    cents = replace(whole, make_env=lambda: Cents(whole.make_env()))

    config = load_config(SMOKE, assignments=["rollout.group_size=8"])

    def learn(games: Suite) -> tuple[list[Iteration], float]:
        run = compose(games, HFPolicy.load(base_path(), slots=16), None, config)
        iterations = record(run, 2)
        return iterations, float(sum(p.detach().double().sum() for p in run.policy.model.parameters()))

    (large, before), (small, after) = learn(whole), learn(replace(cents, max_return=0.01))
    assert after == pytest.approx(before, abs=1e-3)
    assert any(i.metrics["policy/loss"] != 0 for i in large)
    for one, other in zip(large, small, strict=True):
        assert other.metrics["arm/plain/success"] == one.metrics["arm/plain/success"]
        assert other.metrics["policy/loss"] == pytest.approx(one.metrics["policy/loss"], abs=1e-4)
    unsaid, _ = learn(cents)
    assert all(i.metrics["policy/loss"] == 0 for i in unsaid)
    assert any("every advantage is 0" in event for i in unsaid for event in i.events)
    assert not any("every advantage" in event for i in large + small for event in i.events)
