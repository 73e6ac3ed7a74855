"""What the options --env, --policy and --miner name, made."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from siri.errors import ConfigError

__all__ = ["load_policy", "make_miner", "make_suite"]


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


def load_policy(name: str, slots: int, env: str = "alfworld", engine: str = "hf") -> Any:
    import torch
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
    if engine not in ("hf", "vllm"):
        raise ConfigError(f"got --engine {engine!r}, expected 'hf' or 'vllm'; fix: choose one")
    try:
        if engine == "vllm":
            from siri.policies.vllm import VLLMPolicy

            return VLLMPolicy.load(path, slots=slots)
        return HFPolicy.load(path, slots=slots)
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise ConfigError(f"got policy {name!r} that cannot be loaded ({first}); fix: its path") from error


def make_miner(name: str, policy: str, config: Any, base_url: str | None, model: str | None) -> Any:
    from siri.skills import ChatMiner, SelfMiner

    if name == "none":
        return None
    if name == "self":
        if config.env.style == "compact":
            return _shop_miner(config)
        if policy == "tiny" or config.env.style == "transcript":
            miner = SelfMiner.tiny(seed=config.seed)
            miner.max_skills = config.mining.max_skills
            return miner
        return SelfMiner(max_skills=config.mining.max_skills, seed=config.seed)
    if name == "openai":
        if model is None:
            raise ConfigError("got --miner openai without a model; fix: --openai-model NAME")
        return ChatMiner(model, base_url=base_url, max_skills=config.mining.max_skills, seed=config.seed)
    raise ConfigError(f"got --miner {name!r}, expected 'self', 'openai' or 'none'; fix: choose one")


def _shop_miner(config: Any) -> Any:
    """For the embedded shop policy: one episode at a time and a strict grammar."""
    from siri.envs.webshop.compact import SHOP_SKILL_GRAMMAR, CompactSummaryPrompt
    from siri.skills import SelfMiner

    return SelfMiner(
        prompt=CompactSummaryPrompt(),
        max_per_request=1,
        max_skills=config.mining.max_skills,
        samples=8,
        pattern=SHOP_SKILL_GRAMMAR,
        seed=config.seed,
    )
