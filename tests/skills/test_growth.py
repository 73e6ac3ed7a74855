"""The bank's indices change nothing: twins and utilities are, to the bit, those of comparing everything."""

from __future__ import annotations

import itertools
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from siri.skills import SkillBank, UtilityEstimator
from siri.skills.bank import skill_id
from siri.skills.history import Prefix
from siri.skills.likeness import Likeness, jaccard, normalize, words
from siri.skills.stats import shrink_toward, utilities
from siri.types import Skill, SkillStatus

TEXTS = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=30).map(" ".join)
LONG = st.sets(st.integers(0, 40), min_size=15, max_size=32).map(lambda s: " ".join(f"w{n}" for n in s))


def skill(text, kind="k", created=0):
    return Skill(skill_id(kind, f"When x: {text}"), kind, "x", text, "self", created)


def twin_by_comparing_all(bank, new):
    """As it was computed before there was an index."""
    same_kind = bank.records(kind=new.kind)
    for record in same_kind:
        if normalize(record.skill.text) == normalize(new.text):
            return record.skill.id
    scored = [(jaccard(words(r.skill.text), words(new.text)), r.skill.id) for r in same_kind]
    close = [(score, key) for score, key in scored if score > bank.similarity]
    return max(close)[1] if close else None


@settings(max_examples=60)
@given(
    texts=st.lists(TEXTS | LONG, min_size=1, max_size=25),
    similarity=st.sampled_from([0.0, 0.3, 0.5, 0.8, 0.9, 0.95, 1.0]),
    data=st.data(),
)
def test_twins_are_those_found_by_comparing_all(texts, similarity, data):
    bank = SkillBank(similarity=similarity)
    for n, text in enumerate(texts):
        near = data.draw(st.permutations(text.split())) if n % 3 == 0 else text.split()
        for variant in (text, " ".join([*near, "new"]), " ".join(near[1:] or ["z"])):
            new = skill(variant, kind=f"k{n % 2}", created=n % 5)
            assert bank.duplicate_of(new) == twin_by_comparing_all(bank, new)
            bank.add(new)
    again = SkillBank.from_json(json.loads(json.dumps(bank.to_json())))
    assert again == bank
    assert bank.counts() == {s.value: len(bank.records(s)) for s in SkillStatus}


def test_a_text_can_be_replaced_and_taken_out():
    index = Likeness()
    index.add("a", "use the lamp")
    index.add("a", "use the oven")
    index.add("b", "Use the oven!")
    assert index.equal("use the oven") == ["a", "b"]
    assert index.equal("use the lamp") == []
    index.discard("a")
    index.discard("a")
    assert index.near("use the oven", 0.5) == [(1.0, "b")]


OBSERVATIONS = st.lists(
    st.tuples(st.integers(0, 4), st.floats(0, 1), st.floats(0, 1), st.integers(0, 3)), max_size=40
)


def measured_again(bank):
    """Utilities of every skill from all observations, as before anything was kept."""
    e = bank.estimator
    found = {}
    for kind in {r.skill.kind for r in bank.records()}:
        family = bank.records(kind=kind)
        raw = {
            r.skill.id: utilities((o.delta for o in r.evidence.observations), n_eval=e.n_eval, ema=e.ema)
            for r in family
        }
        for key, history in raw.items():
            peers = [raw[r.skill.id][-1] for r in family if r.uses and r.skill.id != key]
            rest = sum(peers)
            found[key] = tuple(
                shrink_toward(u, n=n, target=(u + rest) / (1 + len(peers)), strength=e.shrink)
                for n, u in enumerate(history, start=1)
            )
    return found


@settings(max_examples=80)
@given(seen=OBSERVATIONS, shrink=st.sampled_from([0.0, 1.0, 3.5]), late=st.booleans())
def test_utilities_are_those_of_measuring_everything_again(seen, shrink, late):
    bank = SkillBank(estimator=UtilityEstimator(n_eval=3, shrink=shrink))
    names = []
    for n in range(5):
        new = skill(f"w{n}", kind=f"k{n % 2}", created=3 - n)
        bank.add(new)
        names.append(new.id)
    before = []
    for n, (who, plain, skilled, iteration) in enumerate(seen):
        returned = bank.observe(names[who], plain=plain, skilled=skilled, iteration=iteration if late else n)
        assert returned == bank.get(names[who])
        before.append((returned, None if n % 4 else tuple(returned.evidence.utilities), measured_again(bank)))
    after = measured_again(bank)
    for record in bank.records():
        assert tuple(record.evidence.utilities) == after[record.skill.id]
        assert [o.key for o in record.evidence.observations] == sorted(
            o.key for o in record.evidence.observations
        )
    # what was read stays what it was, whether or not it was looked at then
    for record, read, expected in before:
        assert tuple(record.evidence.utilities) == expected[record.skill.id]
        assert read is None or read == expected[record.skill.id]
    copy = SkillBank()
    copy.adopt(bank)
    assert copy == bank
    if names and seen:
        copy.observe(names[0], plain=0.0, skilled=1.0, iteration=99)
        assert {r.skill.id: tuple(r.evidence.utilities) for r in bank.records()} == after


def test_a_skill_that_moves_to_another_kind_leaves_its_family():
    bank = SkillBank(estimator=UtilityEstimator(n_eval=1, shrink=1.0))
    for name in ("a", "b"):
        bank.add(skill(name))
        bank.observe(skill(name).id, plain=0.0, skilled=1.0 if name == "a" else 0.0, iteration=1)
    moved = bank.get(skill("a").id)
    bank.put([type(moved)(Skill(moved.skill.id, "other", "x", "a", "self", 0), evidence=moved.evidence)])
    assert {r.skill.id: tuple(r.evidence.utilities) for r in bank.records()} == measured_again(bank)
    assert bank.duplicate_of(skill("a")) is None


def test_the_first_items_of_a_list_that_grows():
    items = [1, 2, 3]
    first = Prefix(items, 2)
    items.append(4)
    assert (list(first), first[-1], first[:1], first[-5:], len(first)) == ([1, 2], 2, (1,), (1, 2), 2)
    assert first == (1, 2)
    assert first != (1, 3)
    assert first != 3
    assert hash(first) == hash((1, 2))
    assert repr(first) == "(1, 2)"
    assert [*itertools.islice(first, 1)] == [1]


def test_the_cost_of_one_more_does_not_grow():
    """Operations of the interpreter, counted: a bank 32 times as large takes at most twice as many."""
    from benchmarks.growth import COUNTED, count

    for name in COUNTED:
        small, large = count(name, 125), count(name, 4000)
        assert large <= 2 * small, (name, small, large)
