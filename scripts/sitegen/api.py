"""The pages of every public name, and what counts as one."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache

import siri
from sitegen.markdown import code, table

__all__ = ["front_door", "page", "pages", "public", "rooms"]

NOT_FOR_USERS = ("siri.cli", "siri.curriculum.parts")
"""Packages whose ``__all__`` is for siri alone."""


@cache
def rooms() -> Mapping[str, tuple[str, ...]]:
    """Public names by module: those of every package, and of the modules that ``siri`` names."""
    found = {}
    names = [f"siri.{room}" for room in siri._ROOMS] + ["siri.worlds"]
    names += [
        module.name
        for module in pkgutil.walk_packages(siri.__path__, "siri.")
        if module.ispkg and not module.name.startswith(NOT_FOR_USERS)
    ]
    for name in sorted(set(names)):
        public = tuple(getattr(importlib.import_module(name), "__all__", ()))
        if public:
            found[name] = public
    return found


def public() -> list[str]:
    """Every public name, as it is imported."""
    return [f"{room}.{name}" for room, names in rooms().items() for name in names]


def front_door() -> Mapping[str, str]:
    """What ``import siri`` offers, with the home of each."""
    return {name: f"{home}.{name}" for name, home in sorted(siri._HOMES.items())}


def pages() -> Mapping[str, str]:
    """Paths below ``reference/api`` and their text."""
    return {"index.md": index(), **{f"{room}.md": page(room) for room in rooms()}}


def index() -> str:
    known = set(public())
    homeless = [home for home in front_door().values() if home not in known]
    parts = [
        "# API",
        "",
        "Every public name, read from the source when this page was built. A room is a package that can be",
        "imported on its own; `import siri` itself loads neither torch nor transformers.",
        "",
        table(
            ["room", "what it is"],
            ((f"[`{room}`]({room}.md)", first_line(room)) for room in rooms()),
        ),
        "",
        "## The front door",
        "",
        "The names that `import siri` offers. Each is loaded when it is first used.",
        "",
        table(
            ["name", "home"],
            ((code(f"siri.{name}"), f"[`{home}`][{home}]") for name, home in front_door().items()),
        ),
        "",
    ]
    for home in homeless:
        parts += [f"::: {home}", "    options:", "      heading_level: 3", ""]
    return "\n".join(parts)


def first_line(room: str) -> str:
    return (importlib.import_module(room).__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")


def page(room: str) -> str:
    text = (importlib.import_module(room).__doc__ or "").strip()
    parts = [f"# {room}", "", text, ""]
    for name in rooms()[room]:
        parts += [f"::: {room}.{name}", ""]
    return "\n".join(parts)
