"""Writers of advice: what they read, whom they advise, and the laws of the seam."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from siri.errors import ConfigError, MinerFault
from siri.processes import Processes
from siri.skills import Analyses, ChatWriter, Reflections, Rubric, SelfMiner
from siri.testing import ScriptedPolicy
from siri.types import Group, StopReason, Trajectory
from tests.training.hand import TASK, make_trajectory, make_turn


def played(name: str, *, won: bool, turns: int = 2, seed: int = 5) -> Trajectory:
    made = make_trajectory(name, *(make_turn((n,)) for n in range(turns)), success=won)
    return replace(made, seed=seed, stop=StopReason.SUCCESS if won else StopReason.STEP_LIMIT)


def group(*outcomes: bool, prefix: str = "t") -> Group:
    return Group(TASK, tuple(played(f"{prefix}{n}", won=won) for n, won in enumerate(outcomes)))


class Says:
    """A writer's function that keeps what it was asked."""

    def __init__(self, answer):
        self.answer, self.asked, self.seeds = answer, [], []

    def __call__(self, messages, seed):
        self.asked.append("\n".join(m["content"] for m in messages))
        self.seeds.append(seed)
        return self.answer(self.asked[-1])


def guide(asked: str) -> str:
    return "Do: open it first. Avoid: waiting." if "two lists" in asked else "1. It looked. 2. It took it."


def test_reflections_are_of_mixed_groups_and_their_guide_is_for_all_of_the_group() -> None:
    says = Says(guide)
    mixed, won, lost = (
        group(True, False, False),
        group(True, True, prefix="w"),
        group(False, False, prefix="l"),
    )
    written = Reflections(ChatWriter(says, origin="judge")).write([won, mixed, lost])
    assert set(written.advice) == {(t.id, None) for t in mixed.trajectories}
    [text] = {a.text for texts in written.advice.values() for a in texts}
    assert text == "Do: open it first. Avoid: waiting."
    [told] = next(iter(written.advice.values()))
    assert (told.origin, told.sources) == ("judge", ("t0", "t1", "t2"))
    assert written.requests == len(says.asked) == 4
    assert sum("Outcome: failure" in asked for asked in says.asked) == 2
    assert "succeeded:\n1. It looked" in says.asked[-1]
    assert "failed:\n1. It looked" in says.asked[-1]
    assert written.samples == ()
    assert Reflections(ChatWriter(says)).write([won, lost]).advice == {}


def test_an_attempt_that_was_not_written_on_leaves_the_others() -> None:
    says = Says(lambda asked: "" if "Outcome: success" in asked else guide(asked))
    written = Reflections(ChatWriter(says)).write([group(True, False)])
    assert len(written.advice) == 2
    assert "succeeded:\nnone" in says.asked[-1]
    silent = Reflections(ChatWriter(Says(lambda asked: ""))).write([group(True, False)])
    assert silent.advice == {}


def test_names_of_trajectories_name_keys_and_nothing_else() -> None:
    one, two = Says(guide), Says(guide)
    first = Reflections(ChatWriter(one)).write([group(True, False)])
    second = Reflections(ChatWriter(two)).write([group(True, False, prefix="other")])
    assert (one.asked, one.seeds) == (two.asked, two.seeds)
    assert [a[0].text for a in first.advice.values()] == [a[0].text for a in second.advice.values()]
    assert set(second.advice) == {("other0", None), ("other1", None)}
    # what is written on a group does not depend on the others that a process has
    three = Says(guide)
    Reflections(ChatWriter(three)).write([group(True, False, prefix="b"), group(True, False)])
    assert set(one.seeds) <= set(three.seeds)
    later = Reflections(ChatWriter(four := Says(guide)))
    later.bind(ScriptedPolicy(lambda messages: "x"), iteration=3)
    later.write([group(True, False)])
    assert set(four.seeds).isdisjoint(one.seeds)


@pytest.mark.parametrize("adviser", [Reflections, Analyses])
def test_processes_write_together_what_one_writes(adviser) -> None:
    def answer(asked: str, seed: int) -> str:
        return f'{{"episode_skill": "seed {seed}"}}' if "episode_skill" in asked else f"seed {seed}"

    def written(groups):
        return adviser(ChatWriter(lambda messages, seed: answer(messages[-1]["content"], seed))).write(groups)

    groups = [group(n % 2 == 0, n % 3 == 0, False, prefix=f"g{n}-") for n in range(5)]
    groups = [
        replace(g, trajectories=tuple(replace(t, seed=n) for t in g.trajectories))
        for n, g in enumerate(groups)
    ]
    parts = [written(Processes(rank, 2).share(groups)) for rank in range(2)]
    whole = written(groups)
    assert {**parts[0].advice, **parts[1].advice} == whole.advice
    assert len({a[0].text for a in whole.advice.values()}) > 2
    assert parts[0].requests + parts[1].requests == whole.requests


def test_the_policys_own_reflections_are_samples_with_rewards() -> None:
    from siri.policies import HFPolicy
    from siri.policies.tiny import base_path

    policy = HFPolicy.load(base_path(), slots=4)
    graded = []

    def grader(pairs):
        graded.extend(pairs)
        return [2.0, None, 1.0][: len(pairs)]

    def written():
        made = Reflections(SelfMiner(reply_tokens=6, temperature=1.0), grader=grader)
        made.bind(policy.snapshot(), iteration=1)
        return made.write([group(True, False, False)])

    first = written()
    assert first.samples
    for sample in first.samples:
        assert len(sample.completion_ids) == len(sample.logprobs) > 0
        assert sample.prompt_ids
    assert len({sample.group for sample in first.samples}) == 1
    assert {sample.reward for sample in first.samples} <= {2.0, None, 1.0, 0.0}
    assert first.tokens_out > 0
    assert first == written()  # equal snapshot, groups, iteration and seed


def test_analyses_advise_every_trajectory_and_the_turns_that_were_named() -> None:
    def answer(asked: str) -> str:
        won = "Outcome: success" in asked
        steps = {"1": "look  there", "9": "beyond the end", "0": "before", "x": "no number"}
        return json.dumps(
            {"summary": "s", "episode_skill": "go on" if won else "avoid it", "step_skills": steps}
        )

    written = Analyses(ChatWriter(Says(answer))).write([group(True, True), group(False, prefix="l")])
    assert {key: texts[0].text for key, texts in written.advice.items()} == {
        ("t0", None): "go on",
        ("t0", 0): "look there",
        ("t1", None): "go on",
        ("t1", 0): "look there",
        ("l0", None): "avoid it",
        ("l0", 0): "look there",
    }
    assert written.requests == 3


def test_an_analysis_has_five_steps_at_most_and_nonsense_is_no_advice() -> None:
    many = json.dumps({"episode_skill": 3, "step_skills": {str(n): f"step {n}" for n in range(1, 9)}})
    long = Group(TASK, (played("t", won=True, turns=8),))
    written = Analyses(ChatWriter(Says(lambda asked: f"Sure!\n```json\n{many}\n```"))).write([long])
    assert sorted(written.advice) == [("t", n) for n in range(5)]
    for odd in ("", "no idea", "[1, 2]", '{"episode_skill": ', '{"step_skills": [1]}'):
        assert Analyses(ChatWriter(Says(lambda asked, odd=odd: odd))).write([long]).advice == {}
    with pytest.raises(ConfigError, match="steps=-1"):
        Analyses(ChatWriter(Says(guide)), steps=-1)


def test_a_rubric_reads_one_digit() -> None:
    marks = iter(["3", "Score: 1.", "excellent", "2"])
    rubric = Rubric(ChatWriter(Says(lambda asked: next(marks))))
    assert rubric([(played("t", won=True), f"note {n}") for n in range(4)]) == [3.0, 1.0, None, 2.0]


def test_an_outage_is_a_fault_and_nothing_is_changed() -> None:
    def out(messages, seed):
        raise TimeoutError("late")

    groups = [group(True, False)]
    for adviser in (Reflections(ChatWriter(out)), Analyses(ChatWriter(out))):
        with pytest.raises(MinerFault, match="late"):
            adviser.write(groups)
    assert groups == [group(True, False)]


def test_the_budget_of_a_hosted_writer_travels_with_checkpoints() -> None:
    from siri.skills import ChatMiner

    spent = Analyses(ChatMiner("m", base_url="http://127.0.0.1:9/v1"))
    spent.writer.hosted.ledger.claim(3)
    again = Analyses(ChatMiner("m", base_url="http://127.0.0.1:9/v1"))
    again.load_state_dict(json.loads(json.dumps(spent.state_dict())))
    assert again.writer.hosted.ledger.spent == spent.writer.hosted.ledger.spent
    plain = Analyses(ChatWriter(Says(guide)))
    assert plain.state_dict() == {}
