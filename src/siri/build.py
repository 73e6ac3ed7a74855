"""What the options --env, --policy and --miner name, made."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from siri.errors import ConfigError, SiriError

__all__ = ["check_engine", "load_policy", "make_miner", "make_suite"]


def make_suite(config: Any, env: str, data: str | None) -> Any:
    e = config.env
    if env == "webshop":
        from siri.envs.webshop import webshop_suite

        return webshop_suite(
            data,
            style=e.style,
            size=e.catalog,
            products=e.products,
            human=e.human,
            max_steps=e.max_steps,
            history=e.history,
            layout=e.splits,
            shuffle_seed=e.shuffle_seed,
            seed=e.games_seed,
            kinds=e.kinds,
            valid_goals=e.valid_goals,
            rewards=e.rewards,
        )
    if env != "alfworld":
        raise ConfigError(f"got --env {env!r}, expected 'alfworld' or 'webshop'; fix: choose one")
    from siri.envs.alfworld import alfworld_suite

    return alfworld_suite(
        data,
        max_steps=e.max_steps,
        style=e.style,
        history=e.history,
        train_games=e.train_games,
        valid_games=e.valid_games,
        scale=e.scale,
        seed=e.games_seed,
        kinds=e.kinds,
    )


def check_engine(engine: str) -> None:
    """Refuse what is neither hf, vllm nor the address of a vLLM server."""
    if engine not in ("hf", "vllm") and not engine.startswith(("http://", "https://")):
        raise ConfigError(
            f"got --engine {engine!r}, expected 'hf', 'vllm' or the address of a vLLM server; fix: choose one"
        )


def load_policy(
    name: str, slots: int, env: str = "alfworld", engine: str = "hf", *, sleep: bool = False
) -> Any:
    import torch
    from safetensors import SafetensorError
    from transformers.utils import logging

    from siri.policies import HFPolicy
    from siri.policies.tiny import base_path

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    path: str | Path = base_path(env) if name == "tiny" else name
    local = name.startswith((".", "/", "~")) or name.count("/") > 1
    if local and not Path(name).is_dir():
        raise ConfigError(f"got model folder {name!r} that does not exist; fix: its path")
    check_engine(engine)
    if sleep and engine == "hf":
        raise ConfigError(
            "got rollout.sleep with --engine hf, expected an engine that sleeps; fix: --engine vllm"
        )
    try:
        if engine == "vllm":
            from siri.policies.vllm import VLLMPolicy

            return VLLMPolicy.load(path, slots=slots, sleep=sleep)
        if engine != "hf":
            from siri.policies.vllm_server import VLLMServerPolicy

            return VLLMServerPolicy.load(path, url=engine, slots=slots)
        return HFPolicy.load(path, slots=slots)
    except SiriError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"got policy {name!r} that cannot be loaded ({first}); fix: its path") from error


def make_miner(
    name: str,
    config: Any,
    *,
    embedded: bool,
    endpoint: tuple[str | None, str | None] = (None, None),
    skills: Any = None,
    cache: Path | None = None,
) -> Any:
    """The miner that ``--miner`` names; ``self`` and ``openai`` read the same episodes in the same words.

    Args:
        name: self, openai, file or none.
        config: of the run.
        embedded: the policy speaks the language of the embedded one.
        endpoint: base URL and model of a hosted writer.
        skills: where the skills of ``file`` are.
        cache: folder for the answers of a hosted writer.
    """
    from siri.skills import ChatMiner, FileMiner, SelfMiner, WithRules

    m = config.mining
    prompt, rules, pattern = _embedded_language(config.env.style) if embedded else (None, "", None)
    common: dict[str, Any] = {
        "seed": config.seed,
        "max_skills": m.max_skills,
        "max_per_request": m.max_per_request,
        "samples": m.samples,
        "temperature": m.temperature,
        "pattern": pattern,
    }
    if skills is not None and name != "file":
        raise ConfigError(f"got --skills with --miner {name}; fix: --miner file")
    if name == "none":
        return None
    if name == "file":
        if skills is None:
            raise ConfigError("got --miner file without skills; fix: --skills PATH")
        return FileMiner(skills)
    if name == "self":
        return SelfMiner(prompt=prompt, **common)
    if name != "openai":
        raise ConfigError(
            f"got --miner {name!r}, expected 'self', 'openai', 'file' or 'none'; fix: choose one"
        )
    base_url, model = endpoint
    if model is None:
        raise ConfigError("got --miner openai without a model; fix: --openai-model NAME")
    if prompt is not None:
        prompt = WithRules(prompt, rules)
    return ChatMiner(
        model, base_url=base_url, prompt=prompt, **common, **config.chat.model_dump(), cache=cache
    )


def _embedded_language(style: str) -> tuple[Any, str, str]:
    """Summary prompt, rules for another writer, and grammar of the embedded policies."""
    if style == "compact":
        from siri.envs.webshop.compact import SHOP_RULES, SHOP_SKILL_GRAMMAR, CompactSummaryPrompt

        return CompactSummaryPrompt(), SHOP_RULES, SHOP_SKILL_GRAMMAR
    from siri.skills import EMBEDDED_RULES, TINY_SKILL_GRAMMAR, ActionSummaryPrompt

    return ActionSummaryPrompt(), EMBEDDED_RULES, TINY_SKILL_GRAMMAR
