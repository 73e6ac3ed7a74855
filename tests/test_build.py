"""Every setting is read by one builder, and means the same as the default of the part that it sets."""

from __future__ import annotations

import inspect
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import siri
from siri import build, config
from siri.algos import SiriObjective, gigpo_advantages, internalization_weights
from siri.config import RunConfig, load_config
from siri.config.presets import preset
from siri.errors import ConfigError, EnvironmentFault
from siri.policies.tiny import base_path
from siri.rollout import Rollout
from siri.runs import RunDirectory, execute
from siri.skills import ChatMiner, PairedValidator, Retriever, SelfMiner, SequentialValidator, SkillBank
from siri.testing import ScriptedEnvironment, scripted_suite
from siri.training.learner import Learner
from siri.training.replay import Replay
from siri.training.rows import build_rows
from tests.zoo import make

Readers = dict[str, set[str]]

SHARED = {
    "seed": "of everything",
    "rollout.slots": "of rollouts, evaluations and the policy's cache",
    "rollout.on_fault": "of environments in rollouts, of other parts in the loop",
    "rollout.max_tokens": "of rollouts and evaluations",
    "rollout.dtype": "of the policy, and compared with one that was made elsewhere",
    "rollout.sleep": "asked of the engine when it is loaded, of the learner, and in the loop",
    "env.style": "the prompter's, and the miner's who reads what it wrote",
    "evaluation.splits": "checked first, measured later",
    "rollout.chat_template_kwargs": "of the policy, and compared with one that was made elsewhere",
}
"""Settings that more than one part reads, and why."""

ELSEWHERE = {
    "lora.alpha": "with lora.rank",
    "lora.targets": "with lora.rank",
    "lora.engine": "with an engine of vLLM",
    "optimizer.importance_limit": "by RunConfig.importance_limit, which follows the precisions",
    "optimizer.recompute": "by RunConfig.recomputes, likewise",
    "rollout.engine_memory": "with an engine of vLLM",
    "rollout.transfer": "with servers of vLLM",
    "threads": "by the commands, before a policy is loaded",
}
"""Settings that are read under a condition that this run does not meet."""


class Spy:
    """A section of a configuration that notes which module reads which field."""

    def __init__(self, given: BaseModel, readers: Readers, prefix: str = "") -> None:
        self._given, self._readers, self._prefix = given, readers, prefix

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._given, name)
        if isinstance(value, BaseModel):
            return Spy(value, self._readers, f"{self._prefix}{name}.")
        if name in type(self._given).model_fields:
            self._note(name)
        return value

    def model_dump(self, **options: Any) -> dict[str, Any]:
        if "mode" not in options:  # in whole, for a file, nothing is read
            for name in options.get("include", type(self._given).model_fields):
                self._note(name)
        found: dict[str, Any] = self._given.model_dump(**options)
        return found

    def _note(self, name: str) -> None:
        module = sys._getframe(2).f_globals["__name__"]
        if module.startswith("siri.envs."):
            module = "siri.envs"  # each environment reads the section that they share
        self._readers[f"{self._prefix}{name}"].add(module)


def fields(section: type[BaseModel], prefix: str = "") -> set[str]:
    found = set()
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found |= fields(inner, f"{prefix}{name}.")
        else:
            found.add(f"{prefix}{name}")
    return found


def test_every_setting_has_a_reader_and_none_has_two(tmp_path: Path) -> None:
    settings = load_config(
        preset("smoke"),
        changes={
            "rollout": {"tasks": 2, "group_size": 2, "processes": True},
            "env": {"train_games": 4, "valid_games": 2, "max_steps": 4, "kinds": ["look_at_obj_in_light"]},
            "warmup": {"successes": 1000, "max_iterations": 2},
            "mining": {"max_iterations": 1, "min_iterations": 1, "every": 1, "max_failures": 3},
            "internalization": {"iterations": 1, "replay": 1},
            "validation.rule": "sequential",
        },
    )
    readers: Readers = defaultdict(set)
    spy: Any = Spy(settings, readers)
    suite = build.suite("alfworld", spy)
    policy = build.policy("tiny", spy)
    run = build.run(suite, policy, build.miner("self", spy), spy, objective=build.objective(spy))
    directory = RunDirectory(tmp_path / "run")
    directory.path.mkdir()
    execute(run, directory)
    shop: Any = Spy(load_config(preset("smoke", "webshop")), readers)
    build.suite("webshop", shop)
    build.miner("openai", shop, model="writer", base_url="http://127.0.0.1:9")
    embedding: Any = Spy(load_config(settings, changes={"validation.retrieval": "embedding"}), readers)
    with pytest.raises(ConfigError, match="without a model"):
        build.retriever(embedding)
    unread = fields(RunConfig) - set(readers)
    assert unread == set(ELSEWHERE)
    several = {name: sorted(found) for name, found in readers.items() if len(found) > 1}
    assert set(several) - set(SHARED) == set()


DIFFERENT = {
    ("OptimizerConfig", "Learner", "minibatches"): "a learner alone takes one step",
    ("MiningConfig", "ChatMiner", "temperature"): "None is the endpoint's own",
    ("MiningConfig", "ChatMiner", "timeout"): "of one call; the setting is of a whole mining",
    ("RolloutConfig", "Rollout", "on_fault"): "an object, which the setting names",
}
"""Defaults of parts that are not those of the settings, and why."""


@pytest.mark.parametrize(
    ("section", "parts"),
    [
        (config.OptimizerConfig, (SiriObjective, Learner)),
        (config.InternalizationConfig, (SiriObjective, Replay, build_rows, internalization_weights)),
        (config.ValidationConfig, (PairedValidator, SequentialValidator, Retriever)),
        (config.MiningConfig, (SelfMiner, ChatMiner, SkillBank)),
        (config.ChatConfig, (ChatMiner,)),
        (config.RolloutConfig, (Rollout,)),
        (config.AdvantageConfig, (gigpo_advantages,)),
    ],
)
def test_defaults_of_settings_and_parts_agree(
    section: type[BaseModel], parts: tuple[Callable[..., Any], ...]
) -> None:
    compared = 0
    for part in parts:
        for name, parameter in inspect.signature(part).parameters.items():
            if name not in section.model_fields or parameter.default is inspect.Parameter.empty:
                continue
            compared += 1
            agrees = parameter.default == section.model_fields[name].default
            known = (section.__name__, part.__name__, name) in DIFFERENT
            assert agrees != known, f"{part.__name__}({name}=...)"
    assert compared


def test_a_suite_with_other_splits_is_measured_on_its_own_unless_splits_were_chosen() -> None:
    own = siri.Suite.of(ScriptedEnvironment, tasks=["open the door"] * 8)
    assert build.fit_splits(own, preset("smoke")).evaluation.splits == ("valid",)
    for chosen in (["foo"], []):
        config = load_config(preset("smoke"), changes={"evaluation.splits": chosen})
        assert build.fit_splits(own, config) is config
    assert build.fit_splits(scripted_suite(), preset("smoke")) == preset("smoke")


@pytest.mark.parametrize(("answer", "said"), [(None, "got None from .*reset"), (ValueError("boom"), "boom")])
def test_an_environment_that_breaks_as_the_words_are_read_is_told_in_one_sentence(
    answer: object, said: str
) -> None:
    class Broken(ScriptedEnvironment):
        def reset(self, **given: object) -> object:  # type: ignore[override]
            if isinstance(answer, Exception):
                raise answer
            return answer

    own = siri.Suite.of(Broken, tasks=["open the door"] * 8)
    with pytest.raises(EnvironmentFault, match=said):
        build.policy("tiny", preset("smoke"), env="own", suite=own)


def test_a_language_model_begins_with_a_preset_of_its_own(tmp_path: Path) -> None:
    assert build.usual_preset("tiny") == build.usual_preset("tiny", env="own") == "embedded"
    assert build.usual_preset(str(base_path())) == "embedded"
    assert build.usual_preset("Qwen/Qwen2.5-0.5B-Instruct") == "pretrained"
    assert build.usual_preset(str(make("qwen25", tmp_path)), env="webshop") == "pretrained"
    for env in ("alfworld", "webshop", "textcraft", "own"):
        made, small = preset("pretrained", env), preset("embedded", env)
        assert made.optimizer.lr < small.optimizer.lr
        assert made.rollout.max_tokens > small.rollout.max_tokens
        assert made.evaluation.splits == small.evaluation.splits
        assert made.env == small.env
