from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siri.errors import CheckpointError, ConfigError
from siri.skills.bank import Evidence, SkillBank, jaccard, normalize, skill_id, words
from siri.types import Skill, SkillStatus
from tests.skills.helpers import HEAT, make_skill

texts = st.text(min_size=1, max_size=30)
evidence = st.builds(
    Evidence,
    deltas=st.lists(st.floats(-1, 1), max_size=5).map(tuple),
    utility=st.floats(-1, 1),
    interval=st.tuples(st.floats(-1, 0), st.floats(0, 1)),
    below=st.integers(0, 3),
)


@st.composite
def banks(draw):
    bank = SkillBank()
    for condition, strategy, kind in draw(
        st.lists(st.tuples(texts, texts, st.sampled_from("ab")), max_size=6)
    ):
        key = skill_id(kind, f"When {condition}: {strategy}")
        skill = Skill(key, kind, condition, strategy, "self", draw(st.integers(0, 9)), ("t",))
        if bank.add(skill):
            status = draw(st.sampled_from(SkillStatus))
            bank.update(key, status, draw(evidence), draw(st.integers(0, 99)))
    return bank


@given(banks())
def test_export_then_import_is_identity(bank):
    again = SkillBank.from_json(json.loads(json.dumps(bank.to_json())))
    assert again.records() == bank.records()
    assert again == bank


def test_save_and_load(tmp_path):
    bank = SkillBank()
    bank.add(make_skill())
    path = tmp_path / "deep" / "bank.json"
    bank.save(path)
    bank.save(path)
    assert SkillBank.load(path) == bank
    assert [p.name for p in path.parent.iterdir()] == ["bank.json"]


def test_every_truncation_is_detected(tmp_path):
    bank = SkillBank()
    bank.add(make_skill())
    path = tmp_path / "bank.json"
    bank.save(path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            SkillBank.load(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [("microwave", "fridge", "checksum"), ('"schema": 1', '"schema": 9', "schema"), ("{", "[", "JSON")],
)
def test_damage_is_detected(tmp_path, old, new, message):
    bank = SkillBank()
    bank.add(make_skill())
    path = tmp_path / "bank.json"
    bank.save(path)
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(CheckpointError, match=message):
        SkillBank.load(path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no readable"):
        SkillBank.load(tmp_path / "none.json")
    (tmp_path / "bank.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckpointError):
        SkillBank.load(tmp_path / "bank.json")
    with pytest.raises(CheckpointError, match="schema"):
        SkillBank.from_json([])


def test_failed_save_keeps_the_old_file(tmp_path):
    bank = SkillBank()
    bank.add(make_skill())
    path = tmp_path / "bank.json"
    bank.save(path)
    before = path.read_bytes()
    bank.add(make_skill("x", kind="clean", sources=(object(),)))
    with pytest.raises(TypeError):
        bank.save(path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_duplicates_merge_within_a_kind():
    bank = SkillBank()
    assert bank.add(make_skill(sources=("a",)))
    assert not bank.add(make_skill(HEAT.upper().replace(",", "  ;"), sources=("a", "b")))
    (record,) = bank.records()
    assert record.skill.sources == ("a", "b")
    assert record.skill.strategy == HEAT
    assert bank.add(make_skill(kind="cool"))


def test_close_texts_merge_and_distant_ones_do_not():
    bank = SkillBank(similarity=0.9)
    bank.add(make_skill("a b c d e f g h i j k l m n o p"))
    close = make_skill("a b c d e f g h i j k l m n o p q")
    assert 0.9 < jaccard(words(close.text), words(bank.records()[0].skill.text)) < 1
    assert not bank.add(close)
    assert bank.add(make_skill("a b c d e f g h i j"))


def test_a_duplicate_of_a_retired_skill_does_not_return():
    bank, skill = SkillBank(), make_skill()
    bank.add(skill)
    bank.update(skill.id, SkillStatus.RETIRED, Evidence(), 3)
    assert not bank.add(skill)
    assert bank.counts() == {"candidate": 0, "active": 0, "retired": 1}
    with pytest.raises(ConfigError, match="final"):
        bank.update(skill.id, SkillStatus.ACTIVE, Evidence(), 4)


def test_one_id_one_text():
    bank = SkillBank()
    bank.add(Skill("x", "heat", "one", "thing", "human", 0))
    with pytest.raises(ConfigError, match="one text"):
        bank.add(Skill("x", "cool", "quite", "another", "human", 0))


def test_update_stamps_iterations_once():
    bank, skill = SkillBank(), make_skill()
    bank.add(skill)
    bank.update(skill.id, SkillStatus.ACTIVE, Evidence((0.5,), 0.5), 4)
    bank.update(skill.id, SkillStatus.ACTIVE, Evidence((0.5, 0.5), 0.5), 5)
    bank.update(skill.id, SkillStatus.RETIRED, Evidence(), 9)
    record = bank.get(skill.id)
    assert (record.activated_at, record.retired_at, record.uses) == (4, 9, 0)
    assert skill.id in bank
    assert len(bank) == 1


def test_ids_do_not_depend_on_case_or_the_process():
    assert skill_id("heat", "When A: B.") == skill_id("heat", "when a:  b") == "a638f66e6a"
    assert len(skill_id("heat", "x")) == 10
    assert normalize("  A, b_c\n3! ") == "a b c 3"
