"""What users' parts return, checked as it comes in: one sentence names the part and what is wrong with it.

Each function takes what came back and returns it in siri's own types, or raises the fault of that part.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from siri.errors import ConfigError, EnvironmentFault, MinerFault, PolicyFault
from siri.types import Completion, Info, Skill, SkillStatus

__all__ = ["completions", "mined", "reset", "state", "status", "step"]

_INFO = ("admissible", "success", "anchor", "valid")


def reset(found: object, name: str) -> tuple[str, Info]:
    """What ``Environment.reset`` returned."""
    if not isinstance(found, tuple) or len(found) != 2:
        raise EnvironmentFault(f"got {_short(found)} from {name}.reset, expected (observation, info)")
    observation, info = found
    return _observation(observation, name), _info(info, name)


def step(found: object, name: str) -> tuple[str, float, bool, bool, Info]:
    """What ``Environment.step`` returned."""
    if not isinstance(found, tuple) or len(found) != 5:
        raise EnvironmentFault(
            f"got {_short(found)} from {name}.step, expected (observation, reward, terminated, truncated, "
            "info)"
        )
    observation, reward, terminated, truncated, info = found
    try:
        value = float(reward)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise EnvironmentFault(f"got the reward {_short(reward)} from {name}.step, expected a finite number")
    return _observation(observation, name), value, bool(terminated), bool(truncated), _info(info, name)


def completions(found: object, count: int, name: str) -> list[Completion]:
    """What ``Policy.generate`` returned to ``count`` requests."""
    if not isinstance(found, Sequence) or len(found) != count:
        got = f"{len(found)} completions" if isinstance(found, Sequence) else _short(found)
        raise PolicyFault(f"got {got} from {name}, expected one for each of {count} requests")
    for completion in found:
        if not isinstance(completion, Completion) or not isinstance(completion.text, str):
            raise PolicyFault(f"got {_short(completion)} from {name}, expected a siri.types.Completion")
        if completion.logprobs and len(completion.logprobs) != len(completion.completion_ids):
            raise PolicyFault(
                f"got {len(completion.completion_ids)} token ids and {len(completion.logprobs)} log-probs in "
                f"a completion of {name}, expected one log-prob for each"
            )
    return list(found)


def mined(found: object, name: str) -> tuple[tuple[Skill, ...], int]:
    """What ``SkillMiner.mine`` returned: the skills in it, and how many items were none and were left out.

    A skill has texts that are str, a strategy that says something, and sources and prompts that are str.

    Raises:
        MinerFault: it is no list, or there are items and none of them is a skill.
    """
    if isinstance(found, str) or not isinstance(found, Sequence):
        raise MinerFault(f"got {_short(found)} from {name}, expected a list of siri.types.Skill")
    skills = [skill for item in found if (skill := _skill(item)) is not None]
    if found and not skills:
        raise MinerFault(
            f"got {_short(found[0])} among the skills of {name}, expected a siri.types.Skill whose texts are "
            "str and not empty"
        )
    return tuple(skills), len(found) - len(skills)


def _skill(item: object) -> Skill | None:
    if not isinstance(item, Skill):
        return None
    texts: tuple[object, ...] = (item.id, item.kind, item.condition, item.strategy, item.origin)
    if not all(isinstance(text, str) for text in texts) or not item.strategy.strip():
        return None
    named: list[tuple[str, ...]] = []
    for names in (item.sources, item.prompts):
        given: object = names
        if isinstance(given, str) or not isinstance(given, Iterable):
            return None
        read = tuple(given)
        if not all(isinstance(name, str) for name in read):
            return None
        named.append(read)
    return replace(item, sources=named[0], prompts=named[1])


def status(found: object, name: str) -> SkillStatus:
    """What ``Validator.observe`` returned."""
    if not isinstance(found, SkillStatus):
        raise ConfigError(f"got {_short(found)} from {name}.observe, expected a siri.types.SkillStatus")
    return found


def state(found: object, name: str) -> Mapping[str, Any]:
    """What ``Stateful.state_dict`` returned."""
    try:
        if not isinstance(found, Mapping):
            raise TypeError(f"a {type(found).__name__} is not a mapping")
        json.dumps(found, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"got a state of {name} that JSON cannot hold ({error}), expected plain data; fix: "
            f"{name}.state_dict() of str, int, float, bool, None, lists and dicts with str keys"
        ) from error
    return found


def _observation(found: object, name: str) -> str:
    if not isinstance(found, str):
        raise EnvironmentFault(f"got the observation {_short(found)} from {name}, expected str")
    return found


def _info(found: object, name: str) -> Info:
    missing = [key for key in _INFO if key not in found] if isinstance(found, Mapping) else [*_INFO]
    if missing:
        raise EnvironmentFault(f"got an info without {missing} from {name}, expected a siri.types.Info")
    info: Info = found  # type: ignore[assignment]
    return info


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
