from __future__ import annotations

import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siri.errors import ConfigError, MissingExtra
from siri.skills import (
    EmbeddingRanking,
    EverythingRanking,
    NoSkills,
    Retriever,
    SkillBank,
    UpperConfidenceRanking,
    UtilityEstimator,
)
from siri.skills.retrieval import similarity
from siri.types import SkillStatus
from tests.skills.helpers import make_skill, make_task

CANDIDATE, ACTIVE, INTERNALIZED, RETIRED = SkillStatus


def bank_of(*rows):
    """Rows of (strategy, condition, status, uses)."""
    bank = SkillBank()
    for strategy, condition, status, uses in rows:
        skill = make_skill(strategy, condition=condition)
        assert bank.add(skill)
        for _ in range(uses):
            bank.observe(skill.id, plain=0.0, skilled=0.5, iteration=0)
        bank.set_status(skill.id, status, 0)
    return bank


def chosen(bank, seed=0, **kw):
    return [s.strategy for s in Retriever(**kw).select(bank, make_task(goal="heat some apple"), seed)]


def test_nothing_for_an_unknown_kind_or_retired_skills():
    bank = bank_of(("gone", "heat", RETIRED, 9), ("absorbed", "heat", INTERNALIZED, 9))
    assert chosen(bank) == []
    assert Retriever().select(bank, make_task("other")) == ()


def test_active_skills_by_similarity():
    bank = bank_of(
        ("far", "you clean a mug", ACTIVE, 8),
        ("near", "you heat an apple", ACTIVE, 8),
        ("mid", "you heat", ACTIVE, 8),
    )
    assert chosen(bank) == ["near", "mid"]
    assert chosen(bank, top_k=1) == ["near"]


def test_candidates_alone_and_one_is_finished_first():
    bank = bank_of(
        ("new", "heat", CANDIDATE, 0), ("begun", "heat", CANDIDATE, 5), ("undecided", "heat", CANDIDATE, 8)
    )
    assert chosen(bank, n_eval=8) == ["begun"]
    done = bank_of(("often", "heat", CANDIDATE, 20), ("less", "heat", CANDIDATE, 9))
    assert chosen(done, n_eval=8) == ["less"]


def test_candidates_and_active_skills_take_turns():
    bank = bank_of(("trial", "heat", CANDIDATE, 1), ("known", "heat", ACTIVE, 9))
    share = sum(chosen(bank, seed) == ["trial"] for seed in range(400)) / 400
    assert 0.4 < share < 0.6
    assert all(chosen(bank, seed, candidate_share=0.0) == ["known"] for seed in range(20))
    assert all(chosen(bank, seed, candidate_share=1.0) == ["trial"] for seed in range(20))


@given(st.permutations(range(6)), st.integers(0, 99))
def test_the_order_of_the_bank_does_not_matter(order, seed):
    rows = [(f"skill {'abcdef'[i]}", "heat", (CANDIDATE, ACTIVE)[i % 2], i) for i in range(6)]
    assert chosen(bank_of(*(rows[i] for i in order)), seed) == chosen(bank_of(*rows), seed)


def test_bad_settings_are_refused():
    for bad in ({"top_k": 0}, {"n_eval": 0}, {"candidate_share": 2.0}):
        with pytest.raises(ConfigError, match="expected"):
            Retriever(**bad)


def test_nothing_and_everything():
    bank = bank_of(("one", "heat", ACTIVE, 8), ("two", "cool it", ACTIVE, 9), ("new", "heat", CANDIDATE, 0))
    other = make_skill("three", kind="clean")
    bank.add(other)
    bank.set_status(other.id, ACTIVE, 0)
    assert NoSkills().select(bank, make_task()) == ()
    shown = chosen(bank, top_k=None, ranking=EverythingRanking(), candidate_share=0.0)
    assert sorted(shown) == ["one", "three", "two"]
    assert shown[-1] == "three"
    assert chosen(bank, top_k=None, ranking=EverythingRanking(), candidate_share=1.0) == ["new"]


@given(st.lists(st.lists(st.sampled_from([-0.5, 0.0, 0.5, 1.0]), max_size=4), min_size=1, max_size=6))
def test_upper_confidence_is_the_equation_of_d2skill(effects):
    bank = SkillBank(estimator=UtilityEstimator(n_eval=1, ema=0.5))
    names = [f"skill {'abcdef'[n]}" for n in range(len(effects))]
    for name, deltas in zip(names, effects, strict=True):
        skill = make_skill(name, condition="you heat an apple" if len(deltas) % 2 else "you heat")
        bank.add(skill)
        for delta in deltas:
            bank.observe(skill.id, plain=max(0, -delta), skilled=max(0, delta), iteration=0)
    task, total, scores = make_task(goal="heat some apple"), sum(map(len, effects)), {}
    for record in bank.records():
        deltas = effects[names.index(record.skill.strategy)]
        u = 0.0
        for n, delta in enumerate(deltas):
            u = delta if n == 0 else 0.5 * u + 0.5 * delta
        bonus = 0.05 * math.sqrt(math.log(max(2, 1 + total)) / (1 + len(deltas)))
        cosine = similarity(task, record.skill)
        scores[record.skill.strategy] = 0.1 * (cosine + 1) / 2 + 0.9 * (u + bonus)
    got = [record.skill.strategy for record in UpperConfidenceRanking()(task, bank.records())]
    assert sorted(got) == sorted(names)
    assert [scores[name] for name in got] == sorted(scores.values(), reverse=True)
    # equal utilities: what was tried less comes first
    again = SkillBank(estimator=UtilityEstimator(n_eval=1, ema=0.5))
    for name, uses in (("often", 9), ("seldom", 1)):
        skill = make_skill(name, condition="you heat")
        again.add(skill)
        for _ in range(uses):
            again.observe(skill.id, plain=0.0, skilled=0.5, iteration=0)
    assert UpperConfidenceRanking()(task, again.records())[0].skill.strategy == "seldom"


def test_upper_confidence_looks_at_the_likest_of_the_kind_only():
    bank = bank_of(
        ("near", "you heat an apple", ACTIVE, 0), ("mid", "you heat", ACTIVE, 0), ("far", "mug", ACTIVE, 9)
    )
    task = make_task(goal="heat some apple")
    assert [r.skill.strategy for r in UpperConfidenceRanking(among=2)(task, bank.records())] == [
        "near",
        "mid",
    ]
    assert UpperConfidenceRanking()(make_task("other"), bank.records()) == []
    with pytest.raises(ConfigError, match="among=0"):
        UpperConfidenceRanking(among=0)


def test_priorities_hand_out_the_groups():
    bank = bank_of(
        ("dull", "heat", CANDIDATE, 5), ("urgent", "heat", CANDIDATE, 1), ("done", "heat", CANDIDATE, 3)
    )
    wishes = {"dull": 0.5, "urgent": 2.0, "done": None}
    assert chosen(bank, priority=lambda r: wishes[r.skill.strategy]) == ["urgent"]
    assert chosen(bank, priority=lambda r: None) == []
    assert chosen(bank) == ["dull"]
    favoured = SkillBank()
    favoured.add(make_skill("first"))
    favoured.add(make_skill("better"), priority=1.0)
    assert chosen(favoured) == ["better"]
    assert chosen(favoured, priority=lambda r: 0.0) == ["better"]


def test_a_missing_package_or_folder_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtra, match="embedding"):
        EmbeddingRanking(tmp_path)


def test_embeddings_rank_by_meaning_of_the_model(tmp_path):
    package = pytest.importorskip("sentence_transformers")
    with pytest.raises(ConfigError, match="does not exist"):
        EmbeddingRanking(str(tmp_path / "none"))
    folder = tmp_path / "model"
    # a bag of words is a whole sentence-transformers model, and its cosines are known
    from sentence_transformers.sentence_transformer.modules import BoW

    words = ["heat", "apple", "cool", "mug", "lamp"]
    package.SentenceTransformer(modules=[BoW(vocab=words)], device="cpu").save(str(folder))
    ranking = EmbeddingRanking(folder)
    bank = bank_of(("use the lamp", "dark", ACTIVE, 8), ("heat the apple", "hot", ACTIVE, 8))
    assert chosen(bank, ranking=ranking) == ["heat the apple", "use the lamp"]
    assert ranking(make_task("other"), bank.records()) == []
    across = EmbeddingRanking(folder, across_kinds=True)
    assert len(across(make_task("other"), bank.records())) == 2
