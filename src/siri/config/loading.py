"""Reading settings: a file, a mapping and ``section.key=value`` over a base, validated at once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from siri.config.sections import RunConfig
from siri.errors import ConfigError

__all__ = ["differences", "load_config", "parse_config"]


def load_config(
    base: RunConfig,
    *,
    file: Path | None = None,
    changes: Mapping[str, Any] | None = None,
    assignments: Sequence[str] = (),
) -> RunConfig:
    """``base`` changed by a YAML or JSON file, by a mapping of sections, then by ``section.key=value``.

    Args:
        base: a preset, or any configuration.
        file: mapping of sections to settings.
        changes: the same in Python; a key may be a dotted path (``{"rollout.tasks": 8}``).
        assignments: each ``section.key=value`` with a YAML value.

    Raises:
        ConfigError: a file that cannot be read, an unknown key or an impossible value.
    """
    data = base.model_dump()
    if file is not None:
        try:
            read = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(
                f"got config file {file} that cannot be read ({error}); fix: its YAML"
            ) from error
        if not isinstance(read, Mapping):
            raise ConfigError(f"got {type(read).__name__} in {file}, expected a mapping of sections")
        _merge(data, read)
    for path, value in (changes or {}).items():
        _merge(data, _nested(path, value))
    for assignment in assignments:
        path, sign, value = assignment.partition("=")
        if not sign or not path:
            raise ConfigError(f"got setting {assignment!r}, expected key=value; fix: e.g. rollout.tasks=8")
        try:
            leaf: Any = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"got value {value!r} for {path}, expected a YAML value") from error
        _merge(data, _nested(path, leaf))
    return parse_config(data)


def parse_config(data: Mapping[str, Any]) -> RunConfig:
    """Validate plain data; a ``ConfigError`` names the first key that is wrong."""
    try:
        return RunConfig.model_validate_json(json.dumps(data))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise ConfigError(
                f"got unknown setting {key!r}, expected a field of siri.config.RunConfig; fix: its spelling"
            ) from None
        raise ConfigError(f"got {key}={first['input']!r}: {first['msg']}; fix: change {key}") from None
    except TypeError as error:
        raise ConfigError(
            f"got a value that is no plain data ({error}), expected numbers and words"
        ) from None


def differences(configs: Sequence[RunConfig]) -> dict[str, tuple[Any, ...]]:
    """The settings that are not equal in all ``configs``: dotted path → the value in each."""
    flat = [_flat(config.model_dump(mode="json")) for config in configs]
    paths = dict.fromkeys(path for settings in flat for path in settings)
    rows = {path: tuple(settings.get(path) for settings in flat) for path in paths}
    return {path: row for path, row in rows.items() if any(value != row[0] for value in row)}


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in data.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def _nested(path: str, value: Any) -> dict[str, Any]:
    """``{"a": {"b": value}}`` for the path ``a.b``."""
    *outer, last = path.split(".")
    leaf: dict[str, Any] = {last: value}
    for key in reversed(outer):
        leaf = {key: leaf}
    return leaf


def _merge(data: dict[str, Any], change: Mapping[str, Any]) -> None:
    for key, value in change.items():
        if isinstance(value, Mapping) and isinstance(data.get(key), dict):
            _merge(data[key], value)
        else:
            data[key] = value
