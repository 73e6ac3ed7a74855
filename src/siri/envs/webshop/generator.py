"""A catalogue of our own in WebShop's file formats, so that everything works without downloads.

Products come in families of five near-duplicates that share brand, line and options and differ in one thing
each: an attribute, the material, the price or an option's values. The query finds the family; options,
bullets
and prices have to be read to find the item. Results on it are reported under its own name (``siri-shop-…``).
"""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from siri.envs.webshop.catalog import Catalog, load_catalog
from siri.envs.webshop.lexicon import BRANDS, CATEGORIES, CLAIMS, LINES, SHOE_SIZES, Category, Kind
from siri.envs.webshop.reward import normalize_color, option_reward
from siri.errors import ConfigError

__all__ = ["FILES", "SIZES", "bundled_catalog", "make_catalog", "write_catalog"]

FILES = ("items_shuffle.json", "items_ins_v2.json", "items_human_ins.json")
"""Names of the files of a catalogue: products, attributes, human instructions."""

SIZES: Mapping[str, int] = {"tiny": 60, "small": 1000, "large": 20_000}
"""Products of the bundled catalogues."""

FAMILY = 5
_FAMILIES_OF_A_KIND = 5
"""So few products share a query that a goal's product is not always on the first page of hits."""
_PURCHASES = 3
"""Most purchases that may satisfy a human-style goal, at any price."""
_SYNTHETIC_PURCHASES = 4
"""The same for synthetic goals, within their price: an instruction that leaves more open is not given."""
_DRAWS = 200
"""Most tries to draw such a human-style goal."""
_DEARER = (4500, 6500)
"""By how many cents the dear one of a family costs more."""
_INSTRUCTED = 0.415
_OPTION_COUNTS = ((0, 0.17), (1, 0.36), (2, 0.38), (3, 0.09))
_ASIN = "ABCDEFGHJKLMNPQRSTUVWXYZ0123456789"
_VISIBLE = 0.34
"""Share of a product's attributes that its title shows; the rest has to be read."""


@dataclass(frozen=True, slots=True)
class _Item:
    """One product before it is written down."""

    category: Category
    kind: Kind
    title: tuple[str, str, str, str]
    """Brand, line, claim, head nouns."""
    visible: tuple[str, ...]
    read: tuple[str, ...]
    """Attributes that only bullets and description tell."""
    material: str
    cents: int
    priced: Literal["single", "range", "missing"]
    options: Mapping[str, tuple[str, ...]]
    named: bool
    """Whether the title holds the search phrase."""
    marks: tuple[str, ...]
    """Attributes in which some sibling differs: an instruction names them."""

    @property
    def attributes(self) -> tuple[str, ...]:
        return (*self.visible, self.material, *self.read)


Files = tuple[list[dict[str, Any]], dict[str, dict[str, Any]], dict[str, list[dict[str, Any]]]]


def make_catalog(products: int = 1000, *, seed: int = 0, human: int | None = None) -> Files:
    """Products, attributes and human instructions, as the three official files hold them. Deterministic.

    Args:
        products: a multiple of five is rounded up to.
        seed: another seed, another catalogue.
        human: human-style instructions; by default one for every two products, and 120 at least.
    """
    if products < 1:
        raise ConfigError(f"got products={products}, expected at least 1; fix: raise it")
    rng = random.Random(f"mall-{seed}")
    families = math.ceil(products / FAMILY)
    kinds = [(c, c.kinds[n]) for n in range(8) for c in CATEGORIES][: max(1, families // _FAMILIES_OF_A_KIND)]
    most = 4 if products < 200 else 8
    made = [_family(rng, *kinds[n % len(kinds)], most) for n in range(families)]
    stock = [item for family in made for item in family]
    order = list(range(len(stock)))
    rng.shuffle(order)
    by_kind: dict[str, list[_Item]] = {}
    for item in stock:
        by_kind.setdefault(item.kind.query, []).append(item)
    asins = _asins(rng, len(stock))
    items, ins = [], {}
    for position in order[:products]:
        item, asin = stock[position], asins[position]
        items.append(_record(rng, item, asin))
        ins[asin] = _attributes(rng, item, by_kind[item.kind.query])
    told = max(120, products // 2) if human is None else human
    return items, ins, _human(rng, [(asins[n], stock[n]) for n in order[:products]], by_kind, told)


def write_catalog(
    folder: str | os.PathLike[str], products: int = 1000, *, seed: int = 0, human: int | None = None
) -> tuple[Path, Path, Path]:
    """Write the three files of :func:`make_catalog`; their paths, as ``load_catalog`` takes them."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    paths = (target / FILES[0], target / FILES[1], target / FILES[2])
    for path, content in zip(paths, make_catalog(products, seed=seed, human=human), strict=True):
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return paths


@lru_cache(maxsize=4)
def bundled_catalog(size: str = "small", *, seed: int = 0) -> Catalog:
    """A generated catalogue, loaded by the same loader as the official files; one copy per process.

    Args:
        size: ``tiny`` (60 products), ``small`` (1,000, the default without downloads) or ``large`` (20,000).
        seed: of products and prices.
    """
    if size not in SIZES:
        raise ConfigError(f"got catalogue {size!r}, expected one of {sorted(SIZES)}; fix: choose one")
    with tempfile.TemporaryDirectory() as folder:
        items, ins, human = write_catalog(folder, SIZES[size], seed=seed)
        return load_catalog(items, ins, human, seed=seed, name=f"siri-shop-{size}")


def _family(rng: random.Random, category: Category, kind: Kind, most: int) -> list[_Item]:
    """Five near-duplicates."""
    pool = [*category.adjectives, *category.features]
    attributes = rng.sample(pool, rng.randint(3, 5))
    spare = [a for a in pool if a not in attributes]
    if rng.random() < 0.6:
        attributes.append(rng.choice(category.uses))
    rng.shuffle(attributes)
    shown = max(1, int(len(attributes) * _VISIBLE))
    materials = rng.sample(category.materials, 2)
    heads = rng.sample(kind.heads, len(kind.heads))
    cents = round(100 * math.exp(rng.uniform(math.log(5), math.log(300))))
    changed, other = rng.choice([a for a in attributes if a not in category.uses]), rng.choice(spare)
    base = _Item(
        category=category,
        kind=kind,
        title=(rng.choice(BRANDS), rng.choice(LINES), rng.choice(CLAIMS), " ".join(heads)),
        visible=tuple(attributes[:shown]),
        read=tuple(attributes[shown:]),
        material=materials[0],
        cents=cents,
        priced=rng.choices(("single", "range", "missing"), (7, 2, 1))[0],
        options=_options(rng, category, kind, most),
        named=rng.random() < 0.85,
        marks=(changed, materials[0]),
    )
    swap = {changed: other}
    fewer = {name: _fewer(rng, values) for name, values in base.options.items()}
    return [
        base,
        replace(
            base,
            visible=tuple(swap.get(a, a) for a in base.visible),
            read=tuple(swap.get(a, a) for a in base.read),
            marks=(other, materials[0]),
        ),
        replace(base, material=materials[1], marks=(changed, materials[1])),
        replace(base, cents=cents + rng.randint(*_DEARER), priced="single"),
        replace(base, options=fewer),
    ]


def _options(rng: random.Random, category: Category, kind: Kind, most: int) -> dict[str, tuple[str, ...]]:
    count = rng.choices([n for n, _ in _OPTION_COUNTS], [w for _, w in _OPTION_COUNTS])[0]
    names = [name for name in category.options if kind.heads[-1] != "Shoes" or name != "size"]
    if kind.heads[-1] == "Shoes":
        names.append("size")
    chosen = [name for name in names if name in rng.sample(names, min(count, len(names)))]
    options = {}
    for name in chosen:
        values = category.options[name]
        if kind.heads[-1] == "Shoes" and name == "size":
            values = SHOE_SIZES
        wanted = min(len(values), rng.randint(2, most))
        options[name] = _distinct(rng, values, wanted) if name == "color" else _slice(rng, values, wanted)
    return options


def _slice(rng: random.Random, values: Sequence[str], count: int) -> tuple[str, ...]:
    chosen = set(rng.sample(range(len(values)), count))
    return tuple(value for n, value in enumerate(values) if n in chosen)


def _distinct(rng: random.Random, values: Sequence[str], count: int) -> tuple[str, ...]:
    """Values of different colours to the reward, but for the two blues now and then."""
    chosen: dict[object, list[str]] = {}
    for value in rng.sample(values, len(values)):
        chosen.setdefault(normalize_color(value), []).append(value)
    found = [group[0] for group in list(chosen.values())[:count]]
    if "navy blue" in found and rng.random() < 0.5:
        found.append("sky blue")
    return tuple(found[: max(count, 2)])


def _fewer(rng: random.Random, values: tuple[str, ...]) -> tuple[str, ...]:
    """Some of the values, at least one and never all."""
    kept = _slice(rng, values, max(1, len(values) // 2))
    return kept or values[:1]


def _asins(rng: random.Random, count: int) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < count:
        found["B0" + "".join(rng.choices(_ASIN, k=8))] = None
    return list(found)


def _title(item: _Item) -> str:
    brand, line, claim, heads = item.title
    first, *rest = heads.split()
    adjectives = [a for a in item.visible if a in item.category.adjectives]
    features = [a for a in item.visible if a in item.category.features]
    uses = [a for a in item.visible if a in item.category.uses]
    named = [item.kind.query] if item.named else []
    parts = [brand, line, claim, *named, first, *adjectives, *rest]
    if features:
        parts += ["with", " and ".join(features)]
    if uses:
        parts += ["for", *uses]
    return " ".join(_capital(word) for part in parts for word in part.split())


def _capital(word: str) -> str:
    return word if word in ("with", "and", "for") else word[:1].upper() + word[1:]


_OPENINGS = (
    "Meet the {line} {head} by {brand}, made for people who want something that lasts.",
    "The {line} {head} brings comfort and quality into every day.",
    "{brand} has made {query} for years, and the {line} is our best yet.",
    "Whether for yourself or as a present, this {head} is a reliable choice.",
)
_FILLERS = (
    "Every piece is checked by hand before it leaves our warehouse.",
    "Please allow small differences due to manual measurement.",
    "If there is any problem, contact our service team and we will answer within a day.",
    "Designed in a small workshop and tested by hundreds of customers.",
    "The package holds one item as shown in the pictures.",
    "Colors may look a little different on your screen.",
    "A thoughtful present for birthdays, holidays and anniversaries.",
)


def _record(rng: random.Random, item: _Item, asin: str) -> dict[str, Any]:
    brand, line, _, heads = item.title
    told = list(item.read)
    cut = rng.randint(0, len(told))
    words = {"line": line, "brand": brand, "query": item.kind.query, "head": heads.split()[0].lower()}
    description = [rng.choice(_OPENINGS).format(**words)]
    description += [f"It stands out by its {attribute}." for attribute in told[:cut]]
    description += [_chatter(rng, item), *rng.sample(_FILLERS, rng.randint(1, 4))]
    opening = _chatter(rng, item) if rng.random() < 0.5 else rng.choice(_FILLERS)
    bullets = [opening, f"Material: {item.material}, chosen with care and easy to live with."]
    bullets += [f"{attribute.title()}: a {words['head']} you can rely on." for attribute in told[cut:]]
    bullets += rng.sample(_FILLERS, rng.randint(0, 2))
    low = item.cents / 100
    pricing = {"single": f"${low:,.2f}", "range": f"${low:,.2f}${low * 1.08:,.2f}", "missing": None}
    options = {name: [{"value": value} for value in values] for name, values in item.options.items()}
    return {
        "asin": asin,
        "name": _title(item),
        "category": item.category.name,
        "query": item.kind.query,
        "product_category": item.kind.path,
        "full_description": "" if rng.random() < 0.05 and not cut else " ".join(description),
        "small_description": bullets,
        "pricing": pricing[item.priced],
        "customization_options": options or None,
        "images": [f"{asin}.jpg"],
    }


def _chatter(rng: random.Random, item: _Item) -> str:
    """Single words of attributes and options that the product may lack: what makes a search inexact."""
    category = item.category
    pool = sorted(
        {word for a in (*category.adjectives, *category.features, *category.uses) for word in a.split()}
    )
    values = sorted({value for group in category.options.values() for value in group})
    named, asked = rng.sample(pool, rng.randint(10, 26)), rng.sample(values, rng.randint(3, 11))
    return f"Customers write about {', '.join(named)}. Others asked us for {', '.join(asked)}."


def _attributes(rng: random.Random, item: _Item, others: Sequence[_Item]) -> dict[str, Any]:
    """Attributes, and for four products in ten an instruction that names those in which siblings differ."""
    row: dict[str, Any] = {"attributes": list(item.attributes)}
    if rng.random() < _INSTRUCTED:
        wanted = _wanted(rng, item, others)
        if _most_purchases(item, others, wanted) <= _SYNTHETIC_PURCHASES:
            row |= {"instruction": _instruction(item, wanted), "instruction_attributes": wanted}
    return row


def _most_purchases(item: _Item, others: Sequence[_Item], wanted: Sequence[str]) -> int:
    """Bound on the purchases that satisfy a synthetic goal, which asks for one value of each option."""
    found = 0
    for other in others:
        # above any bound that the goal may set; what has no price counts as 100 dollars
        dear = item.priced != "missing" and other.cents >= item.cents + _DEARER[0]
        if not dear and set(wanted) <= set(other.attributes) and item.options.keys() <= other.options.keys():
            found += math.prod(
                max(
                    sum(option_reward([mine], [(name, value)])[1] for mine in other.options[name])
                    for value in values
                )
                for name, values in item.options.items()
            )
    return found


def _wanted(rng: random.Random, item: _Item, others: Sequence[_Item]) -> list[str]:
    """Two to four attributes; more are named while another family has them all."""
    wanted = list(dict.fromkeys(item.marks))
    rest = [a for a in item.attributes if a not in wanted]
    rng.shuffle(rest)
    strangers = [other for other in others if other.title[:3] != item.title[:3]]
    while rest and (
        len(wanted) < 2 or any(set(wanted) <= set(o.attributes) for o in strangers) or rng.random() < 0.25
    ):
        wanted.append(rest.pop())
        if len(wanted) == 4:
            break
    return wanted


def _instruction(item: _Item, wanted: Sequence[str]) -> str:
    """``Find me <attributes> <query> [with …] [for …]``, as the official file words it."""
    front = [a for a in wanted if a in item.category.adjectives]
    after = [a for a in wanted if a in item.category.features or a in item.category.materials]
    uses = [a for a in wanted if a in item.category.uses]
    text = f"Find me {', '.join(front)} {item.kind.query}" if front else f"Find me {item.kind.query}"
    if after:
        text += f" with {', '.join(after)}"
    return text + (f" for {', '.join(uses)}" if uses else "")


def _purchases(others: Sequence[_Item], wanted: Sequence[str], values: Sequence[str]) -> int:
    """How many (product, option values) have all of ``wanted`` and satisfy ``values``, whatever they cost."""
    found = 0
    for item in others:
        if not set(wanted) <= set(item.attributes):
            continue
        for names in itertools.combinations(item.options, len(values)):
            for chosen in itertools.product(*[item.options[name] for name in names]):
                found += option_reward(chosen, values)[1] == len(values)
    return found


_ASKING = (
    "i am looking for {query} that are {first}, and also {second}",
    "i need {query} with {first} and {second}",
    "can you find me some {query}? they should have {first} and {second}",
    "looking for {first} {query}, must be {second}",
)


def _human(
    rng: random.Random,
    stock: Sequence[tuple[str, _Item]],
    by_kind: Mapping[str, Sequence[_Item]],
    count: int,
) -> dict[str, list[dict[str, Any]]]:
    """Templated instructions in the form of the crowd-sourced file: options are bare values."""
    found: dict[str, list[dict[str, Any]]] = {}
    for number in range(count):
        for _ in range(_DRAWS):
            asin, item = stock[rng.randrange(len(stock))]
            while not item.options and rng.random() < 0.95:
                asin, item = stock[rng.randrange(len(stock))]
            wanted = _wanted(rng, item, by_kind[item.kind.query])
            names = list(item.options)
            values = [rng.choice(item.options[name]) for name in names]
            if _purchases(by_kind[item.kind.query], wanted, values) <= _PURCHASES:
                break
        first, *second = wanted
        text = rng.choice(_ASKING).format(query=item.kind.query, first=first, second=" and ".join(second))
        if names:
            text += ", in " + " and ".join(f"{name} {v}" for name, v in zip(names, values, strict=True))
        row = {
            "asin": asin,
            "instruction": f"{text}.",
            "attributes": list(item.attributes),
            "options": [f"{name}: {v}" for name, v in zip(names, values, strict=True)],
            "instruction_attributes": wanted,
            "instruction_options": values,
            "assignment_id": f"assignment-{number}",
            "worker_id": "generator",
        }
        found.setdefault(asin, []).append(row)
    return found
