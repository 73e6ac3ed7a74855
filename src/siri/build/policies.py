"""Making a policy by the name of its weights and of its engine."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from siri.errors import ConfigError, SiriError, first_line
from siri.processes import Processes

if TYPE_CHECKING:
    from siri.config import RunConfig
    from siri.policies.words import Scene
    from siri.protocols import TrainablePolicy
    from siri.rollout.suite import Suite

__all__ = ["check_engine", "check_trains", "policy", "usual_preset"]


_SCENES = 32
"""Number of tasks from which the embedded policy learns the words of a new world."""


def check_engine(engine: str) -> None:
    """Refuse an engine that is neither hf, vllm nor the address of a vLLM server."""
    if engine not in ("hf", "vllm") and not engine.startswith(("http://", "https://")):
        raise ConfigError(
            f"got engine={engine!r}, expected 'hf', 'vllm' or the address of a vLLM server; fix: choose one"
        )


def usual_preset(name: str, *, env: str = "alfworld") -> str:
    """The default preset of a policy; embedded policies have their own."""
    from siri.policies.language import language_of

    return "pretrained" if language_of(name, env=env) is None else "embedded"


def policy(
    name: str,
    config: RunConfig,
    *,
    env: str = "alfworld",
    engine: str = "hf",
    suite: Suite | None = None,
    base_url: str | None = None,
) -> TrainablePolicy:
    """Make the policy ``name``, sampled by ``engine``.

    Args:
        name: ``"tiny"`` (the embedded policy of ``env``), ``"smollm2"``, a model folder, a GGUF file, a
            name on the Hub, or ``"openai:NAME"``: a hosted model, which plays but cannot be trained.
        config: configuration of the run; section ``rollout``, ``optimizer.shard`` for an engine in each
            process, and ``chat`` for a hosted model.
        env: the benchmark.
        engine: ``"hf"``, ``"vllm"``, or the address of a vLLM server, or of several, separated by commas.
        suite: the suite of your own world, whose words ``"tiny"`` then learns (``siri.policies.words``).
        base_url: endpoint of a hosted model; None means OpenAI's own.

    Raises:
        ConfigError: the policy cannot be loaded, or the engine cannot do what the configuration asks for.
    """
    from safetensors import SafetensorError

    from siri.policies import HFPolicy
    from siri.policies.chat import hosted_name
    from siri.policies.checkpoints import located
    from siri.policies.quiet import quiet_transformers
    from siri.policies.tiny import EMBEDDED, base_path

    foreign = name == "tiny" and env not in EMBEDDED
    check_engine(engine)
    hosted = hosted_name(name)
    if hosted is not None:
        return _hosted(hosted, config, engine, base_url)
    if base_url is not None:
        raise ConfigError(
            f"got base_url=... with policy={name!r}, expected a hosted model; fix: policy='openai:NAME'"
        )
    r, processes = config.rollout, Processes.current().size
    sleep = r.sleep
    more: dict[str, Any] = {
        "slots": r.slots,
        "max_context": r.max_context,
        "chat_template_kwargs": r.chat_template_kwargs,
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

                options = {}
                if r.engine_memory is not None:
                    options["kv_cache_memory_bytes"] = int(r.engine_memory * 2**30)
                return VLLMPolicy.load(
                    path,
                    engine_dtype=r.dtype,
                    hollow=config.optimizer.shard and processes > 1,
                    episodes=math.ceil(r.tasks * r.group_size / processes),
                    adapter_rank=config.lora.rank if config.lora.engine == "adapter" else 0,
                    sleep=sleep,
                    options=options,
                    **more,
                )
            if engine != "hf":
                if config.lora.rank and config.lora.engine == "adapter":
                    raise ConfigError(
                        "got lora.engine=adapter with vLLM servers, expected engine='vllm': servers are "
                        "given adapters merged; fix: lora.engine=merged"
                    )
                from siri.policies.vllm_server import VLLMServerPolicy

                hollow = config.optimizer.shard and processes > 1
                return VLLMServerPolicy.load(path, url=engine, hollow=hollow, transfer=r.transfer, **more)
            loaded = HFPolicy.load(path, plays=config.rollout.dtype, **more)
    except SiriError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ConfigError(
            f"got policy {name!r} that cannot be loaded ({first_line(error)}); fix: its path"
        ) from error
    if foreign and suite is not None:
        from siri.policies.words import at_home_in

        return at_home_in(_scenes(suite), loaded, seed=config.seed)
    return loaded


def check_trains(policy: str) -> None:
    """Refuse to train a hosted model, before time is spent.

    Raises:
        ConfigError: the policy has no weights here.
    """
    if policy.startswith("openai:"):
        raise ConfigError(
            f"got policy={policy[:60]!r} to train, expected one with weights: a hosted model can only be "
            "evaluated and measured; fix: a model folder or a name on the hub"
        )


def _hosted(model: str, config: RunConfig, engine: str, base_url: str | None) -> TrainablePolicy:
    from siri import doors
    from siri.policies.chat import ChatPolicy

    if engine != "hf":
        raise ConfigError(
            f"got engine={engine!r} with policy='openai:{model[:40]}', expected none: its endpoint samples; "
            "fix: leave it out"
        )
    chat = config.chat.model_dump(exclude={"reply_tokens"})
    return doors.policy(ChatPolicy(model, base_url=base_url, **chat))


def _scenes(suite: Suite) -> list[Scene]:
    """The beginnings of the first tasks of a suite."""
    from siri import doors
    from siri.policies.words import Scene

    found, env = [], doors.seat_of(suite.make_env)
    goals = tuple(dict.fromkeys(task.goal for tasks in suite.tasks.values() for task in tasks))
    for task in suite.split("train")[:_SCENES]:
        observation, info = env.reset(seed=0, options={"task": task})
        prompt = doors.prompted(suite.prompter, task, [], observation, info["admissible"])
        found.append(Scene(prompt, (*goals, observation), tuple(info["admissible"])))
    return found
