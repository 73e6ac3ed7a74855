"""Small catalogues, written by hand, for the tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from siri.envs.webshop import Catalog, Goal, Product, SearchIndex, Session, load_catalog


def record(asin: str = "B000000001", **changes: Any) -> dict[str, Any]:
    """A product as the official file holds it."""
    return {
        "asin": asin,
        "name": "Acme Canvas Shoes",
        "category": "fashion",
        "query": "Canvas Shoes ",
        "product_category": "Shoes › Men › Sneakers",
        "full_description": "A shoe.",
        "small_description": ["Rubber sole.", "Machine wash."],
        "pricing": "$19.99",
        "customization_options": {
            "Color": [{"value": "Navy Blue"}],
            "Size": [{"value": " 8/9 "}, {"value": "10"}],
        },
        "images": ["x.jpg"],
        **changes,
    }


def write(folder: Path, items: Any, ins: Any = None, human: Any = None) -> tuple[Path, Path, Path | None]:
    """The three files; a str is written as it is."""
    paths = []
    for name, content in (
        ("items.json", items),
        ("ins.json", {} if ins is None else ins),
        ("human.json", human),
    ):
        if content is None:
            paths.append(None)
            continue
        path = folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        paths.append(path)
    return paths[0], paths[1], paths[2]


def load(folder: Path, items: Any, ins: Any = None, human: Any = None, **options: Any) -> Catalog:
    return load_catalog(*write(folder, items, ins, human), **options)


def product(**changes: Any) -> Product:
    """A product, ready made."""
    fields: dict[str, Any] = {
        "asin": "B000000001",
        "title": "Acme Canvas Shoes",
        "category": "fashion",
        "query": "canvas shoes",
        "product_category": "Shoes › Men › Sneakers",
        "description": "",
        "bullets": (),
        "price_text": "$19.99",
        "price": 19.99,
        "options": {},
        "attributes": ("rubber sole",),
    }
    return Product(**{**fields, **changes})


def goal(**changes: Any) -> Goal:
    """A goal for it."""
    fields: dict[str, Any] = {
        "asin": "B000000001",
        "name": "Acme Canvas Shoes",
        "category": "fashion",
        "query": "canvas shoes",
        "product_category": "Shoes › Men › Sneakers",
        "base": "Find me canvas shoes with rubber sole",
        "attributes": ("rubber sole",),
        "price_upper": 40.0,
        "options": (),
    }
    return Goal(**{**fields, **changes})


def session(*products: Product, wanted: Goal | None = None, **options: Any) -> Session:
    return Session(SearchIndex.build(Catalog(tuple(products))), wanted or goal(), **options)
