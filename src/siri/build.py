"""The parts of a run, made by name and configuration: one door for Python, the command line and the study.

A suite, miner, validator or objective of one's own is named as ``siri.plugins`` says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from siri.config.loading import load_config
from siri.config.sections import EvaluationConfig
from siri.errors import ConfigError, SiriError
from siri.plugins import make_plugin
from siri.worlds import make_suite

if TYPE_CHECKING:
    from siri.algos import SiriObjective
    from siri.config import RunConfig
    from siri.curriculum import Curriculum
    from siri.policies.language import Language
    from siri.policies.words import Scene
    from siri.protocols import Objective, Policy, Progress, SkillMiner, TrainablePolicy, Validator
    from siri.rollout.suite import Suite
    from siri.skills import Ranking, SkillBank, SkillRetriever, SummaryPrompt
    from siri.types import Skill, SkillStatus, Task

__all__ = [
    "check_engine",
    "check_splits",
    "fit_splits",
    "miner",
    "objective",
    "policy",
    "retriever",
    "run",
    "shown_skills",
    "suite",
    "validator",
]


_SCENES = 32
"""Tasks whose first observation the embedded policy reads in a world of its own."""


def suite(name: str, config: RunConfig, *, data: str | Path | None = None) -> Suite:
    """The benchmark ``name`` as ``config.env`` has it.

    Args:
        name: one of ``siri.worlds.WORLDS``, an entry point of ``siri.suites``, or ``module:function``
            (:mod:`siri.worlds` says what it takes).
        config: of the run.
        data: the benchmark's data folder; without it, tasks are generated.

    Raises:
        ConfigError: there is no such benchmark, or its settings do not fit.
    """
    return make_suite(name, config, data=data)


def check_splits(suite: Suite, config: RunConfig) -> None:
    """Refuse a run that names splits to evaluate of which the suite has none; naming none is a choice.

    Raises:
        ConfigError: none of the splits to evaluate is the suite's.
    """
    splits = config.evaluation.splits
    if splits and not any(split in suite.tasks for split in splits):
        raise ConfigError(
            f"got evaluation.splits={list(splits)}, expected some of {sorted(suite.tasks)}; fix: name one"
        )


def fit_splits(suite: Suite, config: RunConfig) -> RunConfig:
    """The configuration, measured on the suite's own validation splits where nothing else was chosen.

    The default names those of ALFWorld, which an environment of one's own need not have. What differs from
    the default was chosen, and stays.
    """
    splits = config.evaluation.splits
    if splits != EvaluationConfig().splits or any(split in suite.tasks for split in splits):
        return config
    return load_config(
        config, changes={"evaluation.splits": [split for split in suite.tasks if split != "train"]}
    )


def check_engine(engine: str) -> None:
    """Refuse what is neither hf, vllm nor the address of a vLLM server."""
    if engine not in ("hf", "vllm") and not engine.startswith(("http://", "https://")):
        raise ConfigError(
            f"got engine={engine!r}, expected 'hf', 'vllm' or the address of a vLLM server; fix: choose one"
        )


def policy(
    name: str,
    config: RunConfig,
    *,
    env: str = "alfworld",
    engine: str = "hf",
    suite: Suite | None = None,
) -> TrainablePolicy:
    """The policy ``name``, sampled by ``engine``.

    Args:
        name: ``"tiny"`` (the embedded policy of ``env``), ``"smollm2"``, a model folder, a GGUF file, or a
            name on the hub.
        config: of the run: ``rollout.slots``, ``rollout.sleep`` and ``rollout.chat_template_kwargs``.
        env: the benchmark.
        engine: ``"hf"``, ``"vllm"``, or the address of a vLLM server.
        suite: of a world of one's own, in which ``"tiny"`` is made at home (``siri.policies.words``).

    Raises:
        ConfigError: it cannot be loaded, or the engine cannot do what the configuration asks for.
    """
    from safetensors import SafetensorError

    from siri.policies import HFPolicy
    from siri.policies.checkpoints import located
    from siri.policies.quiet import quiet_transformers
    from siri.policies.tiny import EMBEDDED, base_path

    foreign = name == "tiny" and env not in EMBEDDED
    check_engine(engine)
    sleep = config.rollout.sleep
    more: dict[str, Any] = {
        "slots": config.rollout.slots,
        "chat_template_kwargs": config.rollout.chat_template_kwargs,
    }
    if sleep and engine == "hf":
        raise ConfigError(
            "got rollout.sleep with engine='hf', expected an engine that sleeps; fix: engine='vllm'"
        )
    try:
        with quiet_transformers():
            home = "alfworld" if foreign else env
            path = str(base_path(home)) if name == "tiny" else located(name)
            if engine == "vllm":
                from siri.policies.vllm import VLLMPolicy

                return VLLMPolicy.load(path, sleep=sleep, **more)
            if engine != "hf":
                from siri.policies.vllm_server import VLLMServerPolicy

                return VLLMServerPolicy.load(path, url=engine, **more)
            loaded = HFPolicy.load(path, **more)
    except SiriError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ConfigError(
            f"got policy {name!r} that cannot be loaded ({_first_line(error)}); fix: its path"
        ) from error
    if foreign and suite is not None:
        from siri.policies.words import at_home_in

        return at_home_in(_scenes(suite), loaded, seed=config.seed)
    return loaded


def miner(
    name: str,
    config: RunConfig,
    *,
    embedded: Language | None = None,
    base_url: str | None = None,
    model: str | None = None,
    skills: str | Path | None = None,
    cache: Path | None = None,
) -> SkillMiner | None:
    """Who writes skills; ``self`` and ``openai`` read the same episodes in the same words.

    Args:
        name: ``"self"``, ``"openai"``, ``"file"``, ``"none"``, an entry point of ``siri.miners``, or
            ``module:function``.
        config: of the run.
        embedded: language of an embedded policy (``siri.policies.language``), which ``mining.form``
            "auto" then takes; None for every other policy.
        base_url: endpoint of a hosted writer.
        model: name of a hosted writer.
        skills: where the skills of ``"file"`` are.
        cache: folder for the answers of a hosted writer.

    Returns:
        The miner; None for ``"none"``.

    Raises:
        ConfigError: there is no such miner, or an argument is missing.
    """
    from siri.skills import ChatMiner, FileMiner, SelfMiner, WithRules

    if skills is not None and name != "file":
        raise ConfigError(f"got skills=... with miner={name!r}, expected none; fix: miner='file'")
    if name == "none":
        return None
    if name == "file":
        if skills is None:
            raise ConfigError("got miner='file' without skills, expected their path; fix: skills=PATH")
        return FileMiner(skills)
    m = config.mining
    form = (embedded or "json") if m.form == "auto" else m.form
    prompt, rules, pattern = (None, "", None) if form == "json" else _embedded_language(form)
    common: dict[str, Any] = {
        "seed": config.seed,
        "max_skills": m.max_skills,
        "max_per_request": m.max_per_request,
        "samples": m.samples,
        "temperature": m.temperature,
        "pattern": pattern,
        "reply_tokens": m.reply_tokens,
    }
    if name == "self":
        return SelfMiner(prompt=prompt, **common)
    if name == "openai":
        if model is None:
            raise ConfigError("got miner='openai' without a model, expected its name; fix: model=NAME")
        if prompt is not None:
            prompt = WithRules(prompt, rules)
        chat = config.chat.model_dump()
        common["reply_tokens"] = chat.pop("reply_tokens") or m.reply_tokens
        return ChatMiner(model, base_url=base_url, prompt=prompt, **common, **chat, cache=cache)
    known = ("self", "openai", "file", "none")
    made: SkillMiner = make_plugin("miner", "siri.miners", name, config, known=known)
    return made


def validator(config: RunConfig, name: str | None = None) -> Validator:
    """Who proves skills: what ``validation.rule`` names, or the plug-in ``name``.

    Args:
        config: of the run.
        name: an entry point of ``siri.validators``, or ``module:function``.

    Raises:
        ConfigError: there is no such validator.
    """
    if name is None:
        from siri.curriculum.parts import make_validator

        return make_validator(config.validation)
    made: Validator = make_plugin("validator", "siri.validators", name, config)
    return made


def retriever(config: RunConfig, validator: Validator | None = None) -> SkillRetriever:
    """Which skills a group is shown, as ``validation.retrieval`` has it; ``validator`` may set priorities."""
    from siri import doors
    from siri.curriculum.parts import make_retriever

    return make_retriever(config.validation, None if validator is None else doors.judge(validator))


@overload
def objective(config: RunConfig, name: None = None) -> SiriObjective: ...
@overload
def objective(config: RunConfig, name: str | None) -> Objective: ...
def objective(config: RunConfig, name: str | None = None) -> Objective:
    """The training loss: SIRI's with the configured coefficients, or the plug-in ``name``.

    SIRI's adds up with terms of your own: ``siri.objective(config) + my_term``.

    Args:
        config: of the run; sections ``optimizer`` and ``internalization``.
        name: an entry point of ``siri.objectives``, or ``module:function``.

    Raises:
        ConfigError: there is no such objective.
    """
    if name is not None:
        made: Objective = make_plugin("objective", "siri.objectives", name, config)
        return made
    from siri.algos import SiriObjective

    o, i = config.optimizer, config.internalization
    return SiriObjective(
        clip_low=o.clip_low,
        clip_high=o.clip_high,
        dual_clip=o.dual_clip,
        kl=o.kl,
        entropy=o.entropy,
        floor=i.floor,
        token_clip=i.token_clip,
        ratio=o.ratio,
        aggregation=o.aggregation,
        importance_limit=o.importance_limit,
    )


def run(
    suite: Suite,
    policy: Policy,
    miner: SkillMiner | None,
    config: RunConfig,
    *,
    objective: Objective | None = None,
    validator: Validator | None = None,
    recipe: str | None = None,
    advice: str | Path | None = None,
    progress: Progress | None = None,
) -> Curriculum:
    """The parts of a run, put together as configured.

    Args:
        suite: the benchmark.
        policy: what is trained.
        miner: who writes skills; None is GiGPO alone.
        config: of the run.
        objective: None makes the configured one.
        validator: None makes the configured one.
        recipe: a method of ``siri.recipes``, whose parts stand in for those that are None; its settings
            are those of ``config`` already.
        advice: YAML file with words for the recipe's teacher by kind of task, ``"*"`` for all others. The
            run then needs no miner, and has none.
        progress: told how far each part has come.

    Raises:
        ConfigError: none of the splits to evaluate is the suite's, two parts do not fit together, or the
            recipe does not get the words or skills that it needs.
    """
    from siri.curriculum import Curriculum
    from siri.recipes import Parts, method
    from siri.skills import StopAfter

    check_splits(suite, config)
    found = Parts()
    if recipe is not None:
        made = method(recipe)
        words = None if advice is None else _advice(Path(advice))
        found = made.parts(config, miner=miner is not None, advice=words)
        miner = miner if made.mines and words is None else found.miner
    elif advice is not None:
        raise ConfigError("got advice=... without a recipe, expected one with a teacher; fix: recipe='sdar'")
    limit = config.mining.max_failures
    return Curriculum(
        suite,
        policy,
        miner=miner,
        objective=objective or found.objective or globals()["objective"](config),
        validator=validator or found.validator,
        config=config,
        retriever=found.retriever,
        gate=found.gate,
        hooks=found.hooks,
        on_miner_fault=None if limit is None else StopAfter(limit),
        progress=progress,
    )


def shown_skills(
    bank: SkillBank, config: RunConfig, statuses: Sequence[SkillStatus] | None = None
) -> Callable[[Task], Sequence[Skill]]:
    """The skills that a task is shown when the skill arm is measured; by default the proven ones."""
    from siri.skills import PROVEN

    v = config.validation
    ranking, top_k = _ranking(config), None if v.retrieval == "all" else v.top_k
    records = [
        record for status in (PROVEN if statuses is None else statuses) for record in bank.records(status)
    ]
    return lambda task: tuple(record.skill for record in ranking(task, records)[:top_k])


def _advice(path: Path) -> dict[str, str]:
    """Words by kind of task."""
    from siri.strict_yaml import StrictYAMLError, load_strict

    try:
        found = load_strict(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, StrictYAMLError) as error:
        raise ConfigError(
            f"got advice {str(path)[-100:]} that cannot be read ({_first_line(error)}); fix: its path or YAML"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise ConfigError(
            f"got advice {str(path)[-100:]} that is no mapping of texts, expected kind: words; fix: its YAML"
        )
    return {str(kind): text for kind, text in found.items()}


def _ranking(config: RunConfig) -> Ranking:
    from siri.curriculum.parts import make_ranking

    return make_ranking(config.validation)


def _scenes(suite: Suite) -> list[Scene]:
    """How the first tasks of a suite begin."""
    from siri import doors
    from siri.policies.words import Scene

    found, env = [], doors.seat_of(suite.make_env)
    goals = tuple(dict.fromkeys(task.goal for tasks in suite.tasks.values() for task in tasks))
    for task in suite.split("train")[:_SCENES]:
        observation, info = env.reset(seed=0, options={"task": task})
        prompt = doors.prompted(suite.prompter, task, [], observation, info["admissible"])
        found.append(Scene(prompt, (*goals, observation), tuple(info["admissible"])))
    return found


def _embedded_language(language: Language) -> tuple[SummaryPrompt, str, str]:
    """Summary prompt, rules for another writer, and grammar of an embedded policy."""
    if language == "calls":
        from siri.envs.tools.language import TOOL_RULES, TOOL_SKILL_GRAMMAR, ToolSummaryPrompt

        return ToolSummaryPrompt(), TOOL_RULES, TOOL_SKILL_GRAMMAR
    if language == "compact":
        from siri.envs.webshop.compact import SHOP_RULES, SHOP_SKILL_GRAMMAR, CompactSummaryPrompt

        return CompactSummaryPrompt(), SHOP_RULES, SHOP_SKILL_GRAMMAR
    from siri.skills import EMBEDDED_RULES, TINY_SKILL_GRAMMAR, ActionSummaryPrompt

    return ActionSummaryPrompt(), EMBEDDED_RULES, TINY_SKILL_GRAMMAR


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
