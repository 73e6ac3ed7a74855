from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from siri.errors import CheckpointError, ConfigError
from siri.protocols import SkillMiner
from siri.skills import FileMiner, SkillBank, export_skills, import_skills
from siri.types import Skill, SkillStatus
from tests.skills.banks import banks
from tests.skills.helpers import HEAT, make_skill

KIND = "pick_heat_then_place_in_recep"
MARKDOWN = """---
name: heat-things
description: When the task is to heat an object
license: Apache-2.0
metadata:
  kind: heat
---
Search the countertop first, take it,
then heat it with the microwave.
"""


@pytest.mark.parametrize("strategy", [" ", "\n", "\r\n", "\x85", "\u2029", "\n---\n"])
def test_a_strategy_without_a_word_comes_back_too(strategy, tmp_path):
    bank = SkillBank()
    bank.add(Skill("s", "a", "x", strategy, "self", 0))
    export_skills(bank, tmp_path / "agent", form="agent")
    assert import_skills(tmp_path / "agent") == bank


@given(banks())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_export_then_import_is_the_identity(tmp_path_factory, bank):
    folder = tmp_path_factory.mktemp("x")
    export_skills(bank, folder / "bank.json")
    assert import_skills(folder / "bank.json") == bank
    if len(bank):
        export_skills(bank, folder / "agent", form="agent")
        assert import_skills(folder / "agent") == bank


@pytest.mark.parametrize(
    "sign", ["\x85", "\u2028", "\u2029", "\ufeff", "\t", "\r", "---\n", ": #", "'\"", "é"]
)
def test_signs_that_yaml_reads_its_own_way(sign, tmp_path):
    bank = SkillBank()
    bank.add(make_skill(f"use{sign}it", condition=f"1{sign}"))
    bank.add(make_skill(f"{sign}use{sign}", condition=f"{sign}a{sign} b", kind=f"a{sign}b"))
    export_skills(bank, tmp_path / "agent", form="agent")
    assert import_skills(tmp_path / "agent") == bank


def test_an_exported_folder_follows_the_convention(tmp_path):
    bank = SkillBank()
    bank.add(make_skill())
    bank.add(make_skill("use it", condition="It's A/B — " + "very long " * 20))
    export_skills(bank, tmp_path / "skills", form="agent")
    folders = sorted(path for path in (tmp_path / "skills").iterdir())
    assert len(folders) == 2
    for folder in folders:
        front = yaml.safe_load((folder / "SKILL.md").read_text().split("---\n")[1])
        assert front["name"] == folder.name
        assert 0 < len(front["name"]) <= 64
        assert set(front["name"]) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert 0 < len(front["description"]) <= 1024
        assert all(isinstance(value, str) for value in front["metadata"].values())
    with pytest.raises(ConfigError, match="not empty"):
        export_skills(bank, tmp_path / "skills", form="agent")


def test_skills_of_people(tmp_path):
    folder = tmp_path / "mine" / "heat-things"
    folder.mkdir(parents=True)
    (folder / "SKILL.md").write_text(MARKDOWN)
    for source in (tmp_path / "mine", folder, folder / "SKILL.md"):
        [record] = import_skills(source).records()
        assert record.skill.kind == "heat"
        assert record.skill.origin == "file"
        assert record.skill.condition == "the task is to heat an object"
        assert (
            record.skill.strategy == "Search the countertop first, take it, then heat it with the microwave."
        )
    rows = [{"condition": "hot", "strategy": "use it"}, {"kind": "cool", "condition": "c", "strategy": "s"}]
    path = tmp_path / "skills.json"
    for data in (rows, {"skills": rows}):
        path.write_text(json.dumps(data))
        assert {r.skill.kind for r in import_skills(path, kind="heat").records()} == {"heat", "cool"}


def test_an_edited_export_is_a_new_skill_without_evidence(tmp_path):
    bank = SkillBank()
    bank.add(make_skill())
    bank.observe(make_skill().id, plain=0.0, skilled=1.0, iteration=1)
    bank.set_status(make_skill().id, SkillStatus.ACTIVE, 1)
    export_skills(bank, tmp_path / "s", form="agent")
    [path] = (tmp_path / "s").glob("*/SKILL.md")
    path.write_text(path.read_text().replace(f"\n{HEAT}", "\nopen the fridge."))
    [record] = import_skills(tmp_path / "s").records()
    assert (record.skill.strategy, record.skill.origin) == ("open the fridge.", "file")
    assert (record.status, record.uses) == (SkillStatus.CANDIDATE, 0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{", "no JSON"),
        ("a.json", "3", "list of skills"),
        ("a.json", '[{"condition": "x"}]', "skill 1 of"),
        ("a.json", '[{"kind": "", "condition": "x", "strategy": "y"}]', "skill 1 of"),
        ("SKILL.md", "no front matter", "front matter"),
        ("SKILL.md", "---\nname: x\n---\nbody", "front matter"),
        ("SKILL.md", "---\n{: bad\n---\nbody", "cannot be read"),
        ("SKILL.md", "---\ndescription: x\nmetadata: {kind: k}\n---\n \n", "without a body"),
        ("SKILL.md", "---\ndescription: x\n---\nbody", "kind="),
    ],
)
def test_bad_files_are_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ConfigError, match=message) as caught:
        import_skills(path)
    assert name in str(caught.value)


def test_what_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"without a SKILL\.md"):
        import_skills(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read"):
        import_skills(tmp_path / "none.json")
    SkillBank().save(tmp_path / "bank.json")
    (tmp_path / "bank.json").write_text((tmp_path / "bank.json").read_text().replace("0.9", "0.8"))
    with pytest.raises(CheckpointError, match="damaged"):
        import_skills(tmp_path / "bank.json")
    with pytest.raises(ConfigError, match="form"):
        export_skills(SkillBank(), tmp_path / "x", form="odd")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="not empty"):
        export_skills(SkillBank(), tmp_path / "file", form="agent")


def test_the_file_miner_filters_and_counts(tmp_path):
    rows = [
        ("hot", "use the microwave"),
        ("hot", "take 2 eggs"),
        ("hot", "stop<|im_end|> now"),
        ("hot", "word " * 80),
        ("hot", "#"),
    ]
    path = tmp_path / "skills.json"
    path.write_text(json.dumps([{"kind": KIND, "condition": c, "strategy": s} for c, s in rows]))
    miner = FileMiner(path).bind(iteration=4)
    assert isinstance(miner, SkillMiner)
    assert sorted(s.strategy for s in miner.mine([])) == ["take 2 eggs", "use the microwave"]
    assert {s.created for s in miner.mine([])} == {4}
    assert miner.report.rejected == {"empty": 1, "leaked_prompt": 1, "too_long": 1}
    strict = FileMiner(path, digits=False)
    assert [s.strategy for s in strict.mine([])] == ["use the microwave"]
