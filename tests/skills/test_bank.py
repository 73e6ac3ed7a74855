from __future__ import annotations

import json
import os
import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import siri.storage
from siri.errors import CheckpointError, ConfigError
from siri.skills import SkillBank, SkillRecord, UtilityEstimator, bank_file
from siri.skills.bank import jaccard, normalize, skill_id, words
from siri.skills.stats import betting, running_utility
from siri.types import Skill, SkillStatus
from tests.skills.banks import banks
from tests.skills.helpers import HEAT, make_skill

CANDIDATE, ACTIVE, INTERNALIZED, RETIRED = SkillStatus


@given(banks())
def test_export_then_import_is_identity(bank):
    again = SkillBank.from_json(json.loads(json.dumps(bank.to_json())))
    assert again.records() == bank.records()
    assert again == bank


@given(st.tuples(*(banks(writer=w, free_text=False) for w in ("0", "1", "2"))))
@settings(max_examples=60)
def test_merge_is_commutative_associative_and_idempotent(three):
    a, b, c = three
    ab = a.merge(b)
    assert ab == b.merge(a)
    assert ab.merge(c) == a.merge(b.merge(c))
    assert a.merge(a) == a
    assert ab.merge(b) == ab
    for record in ab.records():
        key = record.skill.id
        parts = [bank.get(key) for bank in (a, b) if key in bank]
        assert record.uses == sum(part.uses for part in parts)
        assert record.status is max((p.status for p in parts), key=list(SkillStatus).index)
        assert all(set(p.skill.sources) <= set(record.skill.sources) for p in parts)


@given(banks())
def test_utilities_and_intervals_stay_in_range(bank):
    for record in bank.records():
        assert all(-1 <= u <= 1 for u in record.evidence.utilities)
        assert len(record.evidence.utilities) == record.uses
        assert -1 <= record.interval[0] <= record.interval[1] <= 1


@given(banks(), st.sampled_from(SkillStatus), st.integers(0, 99))
def test_a_status_is_never_taken_back(bank, status, iteration):
    order = list(SkillStatus)
    for record in bank.records():
        before = record.status
        if order.index(status) < order.index(before):
            with pytest.raises(ConfigError):
                bank.set_status(record.skill.id, status, iteration)
            assert bank.get(record.skill.id) == record
        else:
            bank.set_status(record.skill.id, status, iteration)
            assert bank.get(record.skill.id).status is status


def test_two_processes_with_one_name_are_told_so():
    banks = [SkillBank(writer="0") for _ in range(2)]
    for bank, rate in zip(banks, (0.0, 1.0), strict=True):
        bank.add(make_skill())
        bank.observe(make_skill().id, plain=0.0, skilled=rate, iteration=3)
    with pytest.raises(ConfigError, match="writer's name"):
        banks[0].merge(banks[1])
    with pytest.raises(ConfigError, match="different estimator"):
        SkillBank().merge(SkillBank(estimator=UtilityEstimator(n_eval=3)))


def test_merged_evidence_is_that_of_one_bank():
    """Two processes see every second group; together they know what one process would."""
    whole, halves, skill = SkillBank(), [SkillBank(writer=w) for w in "01"], make_skill()
    for bank in (whole, *halves):
        bank.add(skill)
    outcomes = [(i / 8, (i * 3 % 8) / 8) for i in range(8)]
    for i, (plain, skilled) in enumerate(outcomes):
        whole.observe(skill.id, plain=plain, skilled=skilled, iteration=i)
        halves[i % 2].observe(skill.id, plain=plain, skilled=skilled, iteration=i)
    merged, alone = halves[0].merge(halves[1]).get(skill.id), whole.get(skill.id)
    assert merged.evidence.deltas == alone.evidence.deltas
    assert merged.utility == alone.utility == running_utility(alone.evidence.deltas)
    assert merged.interval == alone.interval == betting(alone.evidence.deltas)


def test_save_and_load_keep_the_file_before(tmp_path):
    bank = SkillBank(capacity=3)
    bank.add(make_skill())
    path = tmp_path / "deep" / "bank.json"
    bank.save(path)
    assert [p.name for p in path.parent.iterdir()] == ["bank.json"]
    before = path.read_bytes()
    bank.observe(make_skill().id, plain=0.0, skilled=1.0, iteration=1)
    bank.save(path)
    assert SkillBank.load(path) == bank
    assert {p.name for p in path.parent.iterdir()} == {"bank.json", "bank.json.previous"}
    assert path.with_name("bank.json.previous").read_bytes() == before


def test_every_truncation_is_detected_and_the_previous_bank_is_still_there(tmp_path):
    bank = SkillBank()
    bank.add(make_skill())
    path = tmp_path / "bank.json"
    bank.save(path)
    old = SkillBank.load(path)
    bank.observe(make_skill().id, plain=0.25, skilled=1.0, iteration=1)
    bank.save(path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"the bank before it is whole: .*previous"):
            SkillBank.load(path)
    assert SkillBank.load(path.with_name("bank.json.previous")) == old


def test_a_write_cut_at_any_byte_leaves_the_old_file(tmp_path, monkeypatch):
    bank = SkillBank()
    bank.add(make_skill())
    path = tmp_path / "bank.json"
    bank.save(path)
    old = SkillBank.load(path)
    bank.observe(make_skill().id, plain=0.0, skilled=1.0, iteration=1)

    def crash(path):
        os.truncate(path, lengths[0])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(siri.storage, "flush", crash)
    lengths = [0]
    for lengths[0] in range(0, 1000, 7):
        with pytest.raises(CheckpointError, match="No space"):
            bank.save(path)
        assert SkillBank.load(path) == old
        assert [p.name for p in tmp_path.iterdir()] == ["bank.json"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [("microwave", "fridge", "checksum"), ('"schema": 2', '"schema": 9', "schema"), ("{", "[", "JSON")],
)
def test_damage_is_detected(tmp_path, old, new, message):
    bank = SkillBank()
    bank.add(make_skill())
    path = tmp_path / "bank.json"
    bank.save(path)
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(CheckpointError, match=message):
        SkillBank.load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"observations": [[0, "", 0, 2.0, 0.0]]},
        {"observations": [[0]]},
        {"status": "great"},
        {"skill": {}},
        {"since": 3},
        {"proof": "x"},
    ],
)
def test_malformed_rows_are_refused(change):
    bank = SkillBank()
    bank.add(make_skill())
    data = bank.to_json()
    body = {k: v for k, v in data.items() if k not in ("schema", "checksum")}
    body["skills"] = [{**body["skills"][0], **change}]
    with pytest.raises(CheckpointError, match="malformed"):
        SkillBank.from_json(bank_file.seal(body))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no readable"):
        SkillBank.load(tmp_path / "none.json")
    (tmp_path / "bank.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckpointError):
        SkillBank.load(tmp_path / "bank.json")
    with pytest.raises(CheckpointError, match="schema"):
        SkillBank.from_json([])


def test_a_bank_of_the_first_schema_is_read():
    skill = {**bank_file.record_to_json(SkillRecord(make_skill(created=2)))["skill"]}
    del skill["prompts"]
    row = {
        "skill": skill,
        "status": "active",
        "evidence": {"deltas": [0.5, -0.25], "utility": 0.1, "interval": [-1, 1], "below": 0},
        "activated_at": 7,
        "retired_at": None,
    }
    body = {"similarity": 0.9, "skills": [row]}
    checksum = bank_file._checksum(body)
    record = SkillBank.from_json({"schema": 1, "checksum": checksum, **body}).get(skill["id"])
    assert (record.status, record.activated_at) == (ACTIVE, 7)
    assert record.evidence.deltas == (0.5, -0.25)
    assert record.utility == pytest.approx(0.125)


def test_failed_save_keeps_the_old_file(tmp_path):
    bank = SkillBank()
    bank.add(make_skill())
    path = tmp_path / "bank.json"
    bank.save(path)
    before = path.read_bytes()
    bank.put([SkillRecord(make_skill("x", kind="clean", created=object()))])
    with pytest.raises(TypeError):
        bank.save(path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_duplicates_merge_within_a_kind():
    bank = SkillBank()
    assert bank.add(make_skill(sources=("b",)))
    assert not bank.add(make_skill(HEAT.upper().replace(",", "  ;"), sources=("a", "b"), prompts=("p",)))
    (record,) = bank.records()
    assert record.skill.sources == ("a", "b")
    assert record.skill.prompts == ("p",)
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
    bank.set_status(skill.id, RETIRED, 3, reason="harmful")
    assert not bank.add(skill)
    assert bank.counts() == {"candidate": 0, "active": 0, "internalized": 0, "retired": 1}
    with pytest.raises(ConfigError, match="final"):
        bank.set_status(skill.id, ACTIVE, 4)


def test_a_full_kind_evicts_the_least_promising_candidate_only():
    bank = SkillBank(capacity=2)
    first, second, third = (make_skill(text, created=i) for i, text in enumerate(("one", "two", "six")))
    assert bank.add(first)
    assert bank.add(second)
    assert bank.add(make_skill("elsewhere", kind="cool"))
    assert not bank.add(third)  # nothing speaks against the two
    assert third.id not in bank
    for _ in range(12):
        bank.observe(first.id, plain=1.0, skilled=0.0, iteration=1)
        bank.observe(second.id, plain=0.5, skilled=0.0, iteration=1)
    assert bank.get(first.id).interval[1] < bank.get(second.id).interval[1] < 1
    assert bank.add(third)
    assert (bank.get(first.id).status, bank.get(first.id).reason) == (RETIRED, "evicted")
    bank.set_status(second.id, ACTIVE, 2)
    bank.set_status(third.id, ACTIVE, 2)
    assert not bank.add(make_skill("last"))
    with pytest.raises(ConfigError, match="capacity"):
        SkillBank(capacity=0)


def test_one_id_one_text():
    bank = SkillBank()
    bank.add(Skill("x", "heat", "one", "thing", "human", 0))
    with pytest.raises(ConfigError, match="one text"):
        bank.add(Skill("x", "cool", "quite", "another", "human", 0))
    other = SkillBank()
    other.add(Skill("x", "cool", "quite", "another", "human", 0))
    with pytest.raises(ConfigError, match="one text"):
        bank.merge(other)


def test_statuses_are_stamped_once():
    bank, skill = SkillBank(), make_skill()
    bank.add(skill)
    bank.observe(skill.id, plain=0.0, skilled=1.0, iteration=4)
    bank.set_status(skill.id, ACTIVE, 4)
    bank.observe(skill.id, plain=0.0, skilled=1.0, iteration=5)
    bank.set_status(skill.id, ACTIVE, 5)
    bank.set_status(skill.id, INTERNALIZED, 7)
    bank.set_status(skill.id, RETIRED, 9, reason="evicted")
    record = bank.get(skill.id)
    assert record.since == ((ACTIVE, 4), (INTERNALIZED, 7), (RETIRED, 9))
    assert (record.activated_at, record.retired_at, record.proof) == (4, 9, (4, "", 0))
    before, after = record.evidence.since(record.proof)
    assert [o.iteration for o in before] == [4]
    assert [o.iteration for o in after] == [5]


def test_a_new_estimator_measures_anew():
    bank, skill = SkillBank(), make_skill()
    bank.add(skill)
    for delta in (1.0, 0.0, 0.0):
        bank.observe(skill.id, plain=0.0, skilled=delta, iteration=0)
    assert bank.get(skill.id).utility == pytest.approx(1 / 3)
    bank.estimator = UtilityEstimator(n_eval=1, ema=0.5)
    assert bank.get(skill.id).utility == pytest.approx(0.25)
    copy = SkillBank()
    copy.adopt(bank)
    assert copy == bank
    copy.observe(skill.id, plain=0.0, skilled=1.0, iteration=1)
    assert copy != bank


def test_ids_do_not_depend_on_case_or_the_process():
    assert skill_id("heat", "When A: B.") == skill_id("heat", "when a:  b") == "a638f66e6a"
    assert len(skill_id("heat", "x")) == 10
    assert normalize("  A, b_c\n3! ") == "a b c 3"


@given(st.text(), st.text())
def test_equal_texts_have_equal_ids_and_no_others(a, b):
    assume(normalize(a) != normalize(b))
    assert skill_id("k", a) != skill_id("k", b)
    assert skill_id("k", a) == skill_id("k", a.upper().lower()) or normalize(a) != normalize(
        a.upper().lower()
    )


def test_it_shows_itself_and_its_skills_cannot_write_markup():
    bank = SkillBank()
    assert repr(bank) == "SkillBank(empty)"
    evil = 'use <script>alert(1)</script> & "go" \x1b]0;x\x07 \u202e'
    bank.add(make_skill(evil, condition="it is <b>dark</b>", kind="<img src=x>"))
    bank.add(make_skill("use the lamp", kind="look"))
    bank.set_status(make_skill("use the lamp", kind="look").id, SkillStatus.ACTIVE, 1)
    assert repr(bank) == "SkillBank(1 candidate, 1 active)"
    page = bank._repr_html_()
    assert page.count("<tr>") == 3
    assert not re.search(r"<(?!/?(?:table|thead|tbody|tr|th|td|p)>)", page)
    assert "&lt;img src=x&gt;" in page
    assert not re.search("[\x00-\x1f\u202a-\u202e]", page)
    assert page.index("use the lamp") < page.index("alert")
