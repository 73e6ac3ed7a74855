"""The page of results says what the committed runs say."""

from __future__ import annotations

import pytest
from benchmarks.study.__main__ import ARCHIVE, PAGES
from benchmarks.study.arms import asked
from benchmarks.study.claims import EXPECTATIONS, QUESTIONS, Difference, Level
from benchmarks.study.finished import Finished, Runs
from benchmarks.study.page import BLOCKS, bare, fill


def runs_of(levels: dict[str, list[float]]) -> Runs:
    """Runs of `rare` whose curves are flat, one a seed."""
    return Runs(
        [
            Finished(
                arm=arm,
                regime="rare",
                seed=seed,
                seconds=0.0,
                evaluations=[
                    {"benchmark": "generated", "kind": "all", "env_steps": step, "plain_success": height}
                    for step in range(6)
                ],
                training=[],
                skills=[],
            )
            for arm, heights in levels.items()
            for seed, height in enumerate(heights)
        ]
    )


def test_the_pages_say_what_the_committed_runs_say() -> None:
    runs, texts = Runs.unpack(ARCHIVE), [page.read_text(encoding="utf-8") for page in PAGES]
    for text in texts:
        assert text == fill(text, runs), "fix: python -m benchmarks.study report --committed"
    for name in BLOCKS:
        assert f"<!-- study: {name} -->" in "".join(texts)


def test_a_block_that_there_is_not_is_an_error() -> None:
    with pytest.raises(KeyError):
        fill("<!-- study: nothing -->\n<!-- study end -->", Runs(()))


@pytest.mark.parametrize(
    ("first", "verdict"),
    [
        ([0.50, 0.51, 0.52, 0.51], "held"),
        ([0.30, 0.31, 0.32, 0.31], "refuted"),
        ([0.30, 0.41, 0.52, 0.41], "not decided"),
        # the bootstrap excludes 0 and t does not
        ([0.40, 0.42, 0.50, 0.41], "not decided"),
        # two seeds that happen to be close
        ([0.500, 0.501], "not decided"),
        ([0.50], "not decided"),
        ([], "not run"),
    ],
)
def test_a_difference_is_established_by_both_intervals(first: list[float], verdict: str) -> None:
    runs = runs_of({"siri": first, "gigpo": [0.4] * 4})
    assert Difference("siri", "gigpo").verdict(runs) == verdict


@pytest.mark.parametrize(
    ("first", "verdict"),
    [
        ([0.401, 0.402, 0.399, 0.400], "held"),
        ([0.45, 0.46, 0.47, 0.46], "refuted"),
        ([0.41, 0.42, 0.38, 0.40], "not decided"),
    ],
)
def test_arms_are_near_where_the_intervals_are_within_the_bound(first: list[float], verdict: str) -> None:
    runs = runs_of({"rlsd": first, "grpo_turns": [0.4] * 4})
    assert Difference("rlsd", "grpo_turns", bound=0.01, near=True).verdict(runs) == verdict


def test_a_level_is_refuted_where_its_interval_lies_outside() -> None:
    runs = runs_of({"siri": [0.50, 0.51, 0.52, 0.51]})
    assert Level("siri", 0.5, 0.6).verdict(runs) == "held"
    assert Level("siri", 0.6, 0.7).verdict(runs) == "refuted"
    assert Level("siri", 0.512, 0.6).verdict(runs) == "not decided"
    assert Level("siri", 0.5, 0.6).verdict(runs_of({"siri": [0.50, 0.51]})) == "not decided"


def test_what_is_asked_are_arms_of_the_study() -> None:
    every = [claim for _, claims in EXPECTATIONS for claim in claims] + [claim for _, claim in QUESTIONS]
    for claim in every:
        names = [claim.arm] if isinstance(claim, Level) else [claim.first, claim.second]
        for name in names:
            assert asked(name, claim.regime), f"{name} is not run in {claim.regime}"


def test_numbers_are_written_as_the_page_writes_them() -> None:
    assert (bare(0.12349), bare(0.1, sign=True), bare(-0.0204, sign=True)) == (".123", "+.100", "−.020")


def test_writers_are_shown_with_what_they_cost() -> None:
    runs = runs_of({"siri": [0.5, 0.6], "openai_smollm2": [0.4, 0.4], "openai": [0.5]})
    for seed, proven in ((0, "active"), (1, "retired")):
        run = runs.of["rare", "openai_smollm2", seed]
        run["writer"] = {"requests": 10 + seed, "tokens": 2_000 + 1_000 * seed}
        run["skills"] = [{"status": "candidate"}, {"status": proven}]
    runs.of["rare", "openai", 0]["writer"] = {"requests": 7, "tokens": 0}
    rows = [[cell.strip() for cell in line.split("|")] for line in BLOCKS["writers"](runs).splitlines()]
    own, other, scripted = rows[2:]
    assert own[3:] == ["2", "0.0", "0.0", "–", "–", ".550", "–", ""]
    assert other[3:8] == ["2", "2.0", "0.5", "10", "2,500"]
    assert other[8].startswith(".400")
    assert other[9].startswith("−.150 [")
    assert scripted[6:8] == ["7", "–"]
