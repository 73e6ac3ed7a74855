"""Every recipe runs; what it asks for is asked for; and its lessons are those of the method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given as over
from hypothesis import settings as laws
from hypothesis import strategies as st

from siri import build, recipes
from siri.config import RunConfig, load_config
from siri.curriculum import Curriculum
from siri.curriculum.hooks import Hooks
from siri.errors import ConfigError
from siri.policies import HFPolicy
from siri.policies.tiny import base_path
from siri.recipes import METHODS, Method, Parts, policy_loss, siri_both
from siri.recipes.d2skill import credit as bonus
from siri.recipes.ucob import lessons
from siri.skills import ChatWriter, Reflections, SelfMiner, SkillBank
from siri.training.experience import Experience, experience_of
from siri.training.lessons import Lesson
from siri.types import Group, Skill, SkillStatus, Task
from tests.smoke import LOOK, SMOKE, Writer, suite
from tests.training.hand import TASK, given, make_trajectory, make_turn

ADVICE = f"{LOOK}: search the desk first, take it, then use the desklamp.\n"
AT_ONCE = {
    "warmup.successes": 0,
    "warmup.max_iterations": 0,
    "validation.n_eval": 1,
    "mining.max_iterations": 9,
}


def own() -> Method:
    """A recipe of a user's."""
    return Method("own", "nowhere", "changes nothing", lambda config, words: Parts(), mines=False)


def settings(name: str, **more: object) -> RunConfig:
    return load_config(SMOKE, changes={**METHODS[name].settings, **more})


def composed(name: str, config: RunConfig, **parts) -> Curriculum:
    policy = HFPolicy.load(base_path(), slots=16)
    return build.run(suite(), policy, parts.pop("miner", Writer()), config, recipe=name, **parts)


@pytest.mark.parametrize("name", METHODS)
def test_every_recipe_runs_three_iterations(name: str) -> None:
    run = composed(name, settings(name, **AT_ONCE))
    found = [run.step() for _ in range(3)]
    assert len(found) == 3
    text = METHODS[name].text
    if text == "words":
        assert found[-1].metrics["teacher/known"] > 0
        assert found[-1].metrics["teacher/gap"] != 0
    if text == "skills":
        assert "arm/skill/success" in found[-1].metrics
    if name in ("skill0", "skillrl"):
        assert "arm/plain/success" not in found[-1].metrics
    assert found[-1].metrics["learn/steps"] > 0


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.text == "words"])
def test_given_words_need_no_miner_and_no_skill_arm(name: str, tmp_path: Path) -> None:
    file = tmp_path / "advice.yaml"
    file.write_text(ADVICE)
    run = composed(name, settings(name), miner=None, advice=file)
    metrics = run.step().metrics
    assert metrics["teacher/known"] == 1.0
    assert "arm/skill/success" not in metrics


def adviser_says(messages, seed: int) -> str:
    """What a strong writer would answer to GRSD's and to OPID's requests, in the policy's words."""
    asked = messages[-1]["content"]
    if '"episode_skill"' in asked:
        return '{"episode_skill": "search the desk first.", "step_skills": {"2": "use the desklamp."}}'
    return "search the desk first, take it, then use the desklamp."


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.writer])
def test_a_methods_own_writer_reads_failures_and_nobody_else_reads_it(name: str) -> None:
    told = []

    def writer(messages, seed):
        told.append(messages[-1]["content"])
        return adviser_says(messages, seed)

    config = settings(name, **{"rollout.group_size": 8})
    run = composed(name, config, miner=ChatWriter(writer), advice="own")
    found = [run.step() for _ in range(3)]
    assert any("Outcome: failure" in text for text in told)
    assert sum(i.metrics["writer/requests"] for i in found) == len(told)
    advised = [i.metrics for i in found if i.metrics["teacher/known"] > 0]
    assert advised
    assert all(m["teacher/gap"] != 0 for m in advised)
    if name == "grsd":
        assert all(m["writer/loss"] == 0.0 for m in advised)  # nobody grades, so nobody is trained
        mixed = [len({t.success for t in g.trajectories}) == 2 for g in found[0].groups]
        assert (found[0].metrics["teacher/known"] > 0) == any(mixed)
    else:
        assert all(m["teacher/known"] == 1.0 for m in advised)
    # no bank, no rollout: every episode was plain, and so is the state that a checkpoint keeps
    assert len(run.bank) == 0
    turns = [turn for i in found for g in i.groups for t in g.trajectories for turn in t.turns]
    assert all(turn.prompt_ids == turn.plain_prompt_ids for turn in turns)
    assert "adviser" in run.stateful


def test_a_graded_reflection_trains_the_policy_as_a_writer() -> None:
    """GRSD's loss, in the same steps; a composition of one's own over the recipe's credit."""
    from siri.algos import WriterSurrogate
    from siri.recipes.grsd import credit

    config = settings("grsd", **{"rollout.group_size": 8, "rollout.tasks": 4})

    def grader(pairs):
        return [float(len(text) % 4) for _, text in pairs]

    def played(weight: float) -> list[dict[str, float]]:
        writer = Reflections(SelfMiner(reply_tokens=8, temperature=1.0), grader=grader)
        run = Curriculum(
            suite(),
            HFPolicy.load(base_path(), slots=16),
            miner=None,
            objective=policy_loss(config) + weight * WriterSurrogate(),
            hooks=Hooks(advise=writer, credit=credit),
            config=config,
        )
        return [dict(run.step().metrics) for _ in range(2)]

    ours, silent = played(5.0), played(0.0)
    assert ours[0]["writer/rewarded"] > 2
    assert ours[0]["env/steps"] == silent[0]["env/steps"]
    assert ours[0]["learn/grad_norm"] != silent[0]["learn/grad_norm"]


def test_siri_as_a_recipe_is_siri() -> None:
    ours = [composed("siri", SMOKE).step().metrics for _ in range(1)]
    plain = build.run(suite(), HFPolicy.load(base_path(), slots=16), Writer(), SMOKE).step().metrics
    assert ours == [plain]


@pytest.mark.parametrize("path", sorted(Path(recipes.__file__).parent.glob("*.py")), ids=lambda p: p.stem)
def test_a_method_fits_into_sixty_lines(path: Path) -> None:
    if path.stem in METHODS:
        source = path.read_text(encoding="utf-8")
        assert len(source.splitlines()) <= 60
        assert METHODS[path.stem].paper in source
        assert "Deviations" in source or path.stem in ("self_imitation",)


def test_names_and_summaries() -> None:
    assert list(METHODS) == [
        "siri", "siri_both", "siri_adaptive", "self_imitation", "gigpo", "grpo", "skill_sd", "sdar", "rlsd",
        "grsd", "agent_opsd", "opid", "ucob", "skill0", "d2skill", "skillrl",
    ]  # fmt: skip
    for method in METHODS.values():
        assert method.summary
        assert not method.summary.endswith(".")
    assert recipes.method("tests.recipes.test_recipes:own").name == "own"


@pytest.mark.parametrize(
    ("name", "parts", "words"),
    [
        ("sdar", {"miner": None}, "without words for its teacher"),
        ("ucob", {"miner": None}, "without a miner"),
        ("gigpo", {"advice": "ADVICE"}, "asks no teacher"),
        ("sadr", {}, "got recipe='sadr', expected 'siri'"),
        ("tests.recipes.test_recipes:suite", {}, "makes a Suite"),
        ("sdar", {"advice": "nowhere.yaml"}, "cannot be read"),
        (None, {"advice": "ADVICE"}, "without a recipe"),
        ("sdar", {"advice": "own"}, "no writer of its own"),
        ("grsd", {"advice": "own"}, "Writer, which writes skills only"),
        ("opid", {"advice": "own", "miner": None}, "no miner for the writer"),
        ("tests.recipes.test_recipes:composed", {}, "cannot be called without arguments"),
        ("sdar", {}, "got internalization.peak=3 with recipe 'sdar', whose loss has no term"),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(name, parts, words: str, tmp_path: Path) -> None:
    file = tmp_path / "advice.yaml"
    file.write_text(ADVICE)
    options = {key: file if value == "ADVICE" else value for key, value in parts.items()}
    with pytest.raises(ConfigError, match=words) as caught:
        composed(name, SMOKE, **options)
    assert len(str(caught.value)) <= 300


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "without words"),
        ("put: ' '", "without words"),
        (
            "lookk: search the desk first.",
            "got advice for .'lookk'., expected some of .'look_at_obj_in_light'",
        ),
        ("put: [a]", "not a mapping"),
        ("- put", "not a mapping"),
        ("put: [a", "cannot be read"),
        ("put: a\nput: b", "twice"),
    ],
)
def test_words_for_nobody_are_refused(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "advice.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        composed("sdar", settings("sdar"), miner=None, advice=file)
    assert len(str(caught.value)) <= 300
    file.write_text("lookk: not asked for.\n'*': search the desk first.")
    assert composed("sdar", settings("sdar"), miner=None, advice=file)


@pytest.mark.parametrize("name", METHODS)
def test_what_is_distilled_has_a_term_where_it_is_configured(name: str) -> None:
    config = settings(name, **{"internalization.peak": 2.0})
    if name in ("siri", "siri_both", "siri_adaptive", "gigpo", "grpo", "self_imitation", "ucob"):
        assert build.method_parts(name, config, miner=Writer())
    else:
        with pytest.raises(ConfigError, match=r"fix: internalization\.peak=0"):
            build.method_parts(name, config, miner=Writer())


def test_configuration_goes_over_the_recipe() -> None:
    assert SMOKE.advantage.omega == 1.0
    assert settings("sdar").advantage.omega == 0.0
    assert settings("sdar", **{"advantage.omega": 0.5}).advantage.omega == 0.5


def states(turns: Mapping[int, tuple[str, bool, float]], seed: int = 0) -> Experience:
    """One state, one turn an episode: arm, valid, return (at most 1). Two of four tokens are the action."""
    made = []
    for number, (arm, valid, value) in turns.items():
        turn = make_turn((number, 5), (1, 2, 3, 4), plain=(number,), reward=value, valid=valid)
        masked = replace(turn, action_mask=(False, True, True, False))
        made.append(make_trajectory(str(number), masked, arm=arm))  # type: ignore[arg-type]
    groups = [Group(TASK, tuple(made), ("k",))]
    return experience_of(
        groups, given(groups), iteration=0, phase="warmup", seed=seed, gamma=0.95, max_return=1.0
    )


def test_ucob_in_numbers() -> None:
    x = states({
        1: ("plain", True, 1.00),
        2: ("plain", True, 0.70),
        3: ("skill", True, 0.97),
        4: ("skill", False, 0.0),
        5: ("skill", True, 0.55),
    })  # fmt: skip
    found = list(lessons(x))
    assert [(lesson.response, lesson.prompt, lesson.side) for lesson in found] == [
        (0, 4, "skill"),
        (0, 1, "skill"),
    ]
    assert found[0].weight == pytest.approx((2, 4, 4, 2))
    assert found[1].weight == pytest.approx((1.5, 3, 3, 1.5), abs=1e-6)
    only = states(
        {1: ("plain", True, 0.0), 2: ("plain", True, 0.0), 3: ("skill", True, 1.0), 4: ("skill", True, 0.0)}
    )
    taught = [(lesson.response, lesson.prompt, lesson.side) for lesson in lessons(only)]
    assert taught == [(2, 0, "plain"), (2, 1, "plain")]
    assert list(lessons(states({1: ("plain", True, 1.0), 2: ("skill", True, 1.0)}))) == []


def test_ucob_favours_no_arm_in_a_tie() -> None:
    """Swapping the arms swaps the sides, over seeds: the published rule gives every tie to the plain arm."""
    sides = {"plain": 0, "skill": 0}
    for seed in range(40):
        x = states({1: ("plain", True, 1.0), 2: ("skill", True, 1.0), 3: ("plain", True, 0.0)}, seed=seed)
        sides[next(iter(lessons(x))).side] += 1
    assert min(sides.values()) >= 10


def test_a_lesson_of_ucob_reaches_the_rows_of_a_plain_turn() -> None:
    """Its skill prompt is that of the policy, with the skills of the group."""
    run = composed("ucob", settings("ucob", **AT_ONCE))
    run.step()
    seen = []
    hooks = run.teaching.hooks
    teach = hooks.teach

    def everything(x: Experience) -> list[Lesson]:
        seen.append(x)
        plain = [n for n in range(len(x.base)) if not x.turns.skill[n]]
        return [Lesson(n, n, "skill", 1.0) for n in plain[:3]]

    assert teach is not None
    object.__setattr__(hooks, "teach", everything)
    run.step()
    metrics = run.step().metrics
    assert any(group.skills for group in seen[-1].groups)
    assert metrics["view/loss"] > 0


def wins_of(*episodes: tuple[str, bool]) -> list[int]:
    """The episodes of one group that ``siri_both`` teaches: (arm, won)."""
    made = [
        make_trajectory(str(n), make_turn((n + 1,)), make_turn((n + 1, 2)), arm=arm, success=won)  # type: ignore[arg-type]
        for n, (arm, won) in enumerate(episodes)
    ]
    groups = [Group(TASK, tuple(made), ("k",))]
    values = given(groups, [1.5, -1.0] * len(made))
    x = experience_of(groups, values, iteration=0, phase="warmup", seed=0, gamma=0.95)
    found = list(siri_both.lessons(x, most=1.2))
    assert all((each.prompt, each.side, each.mask) == (each.response, "plain", None) for each in found)
    assert [each.weight for each in found] == pytest.approx([1.2, 0.0] * (len(found) // 2))
    return [each.response // 2 for each in found[::2]]


def test_the_lessons_of_siri_both() -> None:
    plain, skill = ("plain", True), ("skill", True)
    lost, failed = ("plain", False), ("skill", False)
    assert wins_of(plain, lost, skill, failed) == [0, 2]
    assert wins_of(plain, plain, skill, failed) == [0, 1]  # the plain arm needs no skill here
    assert wins_of(plain, plain, skill, skill) == []
    assert wins_of(lost, lost, skill, skill) == [2, 3]
    assert wins_of(plain, plain) == []
    assert wins_of(skill, failed) == [0]  # nothing to compare it with
    assert wins_of(lost, failed) == []


def test_a_win_is_replayed_before_its_skill_is_proven() -> None:
    run = composed("siri_adaptive", settings("siri_adaptive", **{"validation.n_eval": 8}))
    found = [run.step() for _ in range(4)]
    assert found[-1].metrics["bank/active"] == 0
    assert any(lot.skills for i in found for lot in i.replayed)


def test_the_bonus_of_d2skill_is_the_treatment_effect() -> None:
    plain = [make_trajectory(str(n), make_turn((1,)), success=n == 0) for n in range(2)]
    skill = [
        make_trajectory(f"s{n}", make_turn((1, 5), plain=(1,)), arm="skill", success=n == 0) for n in range(2)
    ]
    groups = [Group(TASK, (*plain, *skill), ("k",))]
    x = experience_of(groups, given(groups, 0.0), iteration=0, phase="mining", seed=0, gamma=1.0)
    assert bonus(x).tolist() == [0.0] * 4 + [0.5, 0.5, -0.5, -0.5]


def test_skills_are_withdrawn_in_thirds_of_the_run() -> None:
    config = settings("skill0", **{"internalization.iterations": 7})
    assert (config.warmup.max_iterations, config.mining.max_iterations) == (0, 1)
    bank = SkillBank()
    for n in range(8):
        bank.add(Skill(f"s{n}", "put", f"number {n} is asked for", f"do it {n} times", "human", 0))
        bank.set_status(f"s{n}", SkillStatus.ACTIVE, 0)
    shown = METHODS["skill0"].parts(config, miner=True).retriever
    task = Task("t", "put", "put it there", "train")
    counts = [len(shown.select(bank, task, iteration=k)) for k in range(12)]
    assert counts == [6] * 3 + [3] * 3 + [0] * 6


def test_a_withdrawn_skill_leaves_the_rollouts() -> None:
    run = composed("skill0", settings("skill0", **{"internalization.iterations": 2}))
    arms = [{t.arm for g in run.step().groups for t in g.trajectories} for _ in range(4)]
    assert arms[-1] == {"plain"}
    assert {"skill"} in arms[:-1]


def test_trust_summarises_the_effects_as_d2skill_does() -> None:
    trust = METHODS["d2skill"].parts(settings("d2skill"), miner=True).validator
    bank = SkillBank()
    bank.add(Skill("s", "put", "it is asked for", "do it", "human", 0))
    trust.begin(0, bank)
    assert bank.get("s").status is SkillStatus.ACTIVE
    for plain, skilled in (([False] * 4, [True] * 4), ([True] * 4, [False] * 4), ([False] * 4, [True] * 4)):
        trust.observe("s", plain, skilled)
    assert bank.get("s").utility == 0.5 * (0.5 * 1.0 - 0.5) + 0.5


def test_a_recipe_without_a_teacher_costs_nothing() -> None:
    torch.set_num_threads(1)
    metrics = composed("gigpo", settings("gigpo")).step().metrics
    assert not [name for name in metrics if name.startswith(("teacher/", "credit/", "view/"))]


@st.composite
def played_states(draw: st.DrawFn) -> dict[int, tuple[str, bool, float]]:
    size = draw(st.integers(1, 7))
    one = st.tuples(
        st.sampled_from(["plain", "skill"]), st.booleans(), st.integers(0, 20).map(lambda n: n / 20)
    )
    return {n: draw(one) for n in range(1, size + 1)}


@laws(max_examples=60, deadline=None)
@over(played_states(), st.integers(0, 5))
def test_the_laws_of_ucobs_lessons(turns: dict[int, tuple[str, bool, float]], seed: int) -> None:
    x = states(turns, seed=seed)
    found = list(lessons(x))
    assert len(found) <= 2  # two a state, and there is one state
    values = [value for _, valid, value in turns.values() if valid]
    if len(set(values)) <= 1:
        assert found == []
    for lesson in found:
        best, worse = (list(turns.values())[n] for n in (lesson.response, lesson.prompt))
        assert (best[1], worse[1]) == (True, True)  # invalid turns are out
        assert best[2] == max(values)
        assert best[2] - worse[2] > 0.05 - 1e-6
        assert lesson.side != best[0]
    ordered = sorted(found, key=lambda lesson: list(turns.values())[lesson.prompt][2])
    weights = [lesson.weight[0] for lesson in ordered]  # type: ignore[index]
    assert weights == sorted(weights, reverse=True)  # never smaller for a larger gap


@laws(max_examples=40, deadline=None)
@over(played_states())
def test_swapping_the_arms_swaps_the_sides(turns: dict[int, tuple[str, bool, float]]) -> None:
    other = {"plain": "skill", "skill": "plain"}
    swapped = {n: (other[arm], valid, value) for n, (arm, valid, value) in turns.items()}
    one, two = (list(lessons(states(part))) for part in (turns, swapped))
    assert [(a.response, a.prompt, other[a.side]) for a in one] == [
        (b.response, b.prompt, b.side) for b in two
    ]
