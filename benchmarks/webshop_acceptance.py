"""What the bundled WebShop catalogues are like, measured: ``python benchmarks/webshop_acceptance.py``.

Prints, for each size and kind of goals: scores of the oracle and of the naive agent on every goal, ranks
of the
goal's product when its instruction is searched, how many purchases satisfy a goal, and lengths of texts.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
from pathlib import Path

from siri.envs.webshop import (
    Catalog,
    Goal,
    Product,
    SearchIndex,
    build_goals,
    bundled_catalog,
    naive,
    oracle,
    play,
    reward,
    shared_index,
)


def ranks(index: SearchIndex, goals: list[Goal]) -> list[int]:
    """Rank from 0 of each goal's product when its instruction is searched; 1,000 when it is no hit."""
    found = []
    for goal in goals:
        hits = [index.catalog.products[n].asin for n in index.search(goal.instruction.lower())]
        found.append(hits.index(goal.asin) if goal.asin in hits else 1000)
    return found


def purchases(catalog: Catalog, goals: list[Goal]) -> list[int]:
    """How many (product, as many option values as the goal names) satisfy each goal."""
    of_query: dict[str, list[Product]] = {}
    for product in catalog.products:
        of_query.setdefault(product.query, []).append(product)
    counts = []
    for goal in goals:
        found = 0
        for product in of_query[goal.query]:
            bare = reward(product, goal)
            if bare.attributes < 1 or not bare.price:
                continue
            for names in itertools.combinations(product.options, len(goal.options)):
                for values in itertools.product(*[product.options[name] for name in names]):
                    found += reward(product, goal, options=dict(zip(names, values, strict=True))).total == 1
        counts.append(found)
    return counts


def share(found: list[int], below: int) -> str:
    """Share of ranks below a bound."""
    return f"{sum(rank < below for rank in found) / len(found):.1%}"


def verdicts(found: list[int], best: float, poor: tuple[float, float], counts: list[int]) -> list[str]:
    """The acceptance lines that a catalogue misses, each with what was found; empty when all hold.

    ``best`` is the oracle's success, ``poor`` the naive agent's (task score, success), both of them
    as played; ``counts`` are purchases that satisfy each goal.
    """
    ten = sum(rank < 10 for rank in found) / len(found)
    fifty = sum(rank < 50 for rank in found) / len(found)
    many = sum(count > 3 for count in counts) / len(counts)
    lines = (
        (best == 1, f"oracle succeeds on {best:.1%}, asked 100 %"),
        (40 <= poor[0] <= 65, f"naive agent scores {poor[0]:.1f}, asked 40 to 65"),
        (poor[1] < 0.1, f"naive agent succeeds on {poor[1]:.1%}, asked below 10 %"),
        (0.6 <= ten <= 0.85, f"top 10 {ten:.1%}, asked 60 to 85 %"),
        (fifty >= 0.98, f"top 50 {fifty:.1%}, asked 98 %"),
        (
            many <= 0.02 and max(counts) <= 4,
            f"{many:.1%} of {len(counts)} goals have over 3 purchases, at most {max(counts)}; asked about 3 "
            f"(here: 4 for one goal in 50, never more)",
        ),
    )
    return [text for holds, text in lines if not holds]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="where to write the table")
    parser.add_argument("--purchases", type=int, default=1000, help="goals whose purchases are counted")
    args = parser.parse_args()
    heads = ("catalogue", "goals", "oracle", "naive", "top 10", "top 50", "purchases per goal")
    lines = [
        "# The bundled WebShop catalogues",
        "",
        "`benchmarks/webshop_acceptance.py`; task score / success.",
        "",
    ]
    lines += [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    missed: list[str] = []
    for size, human in itertools.product(("tiny", "small"), (False, True)):
        catalog = bundled_catalog(size)
        goals, index = build_goals(catalog, human=human), shared_index(catalog)
        best, poor = play(oracle, catalog, goals, index=index), play(naive, catalog, goals, index=index)
        found = ranks(index, goals)
        some = random.Random(0).sample(goals, min(args.purchases, len(goals)))
        counts = sorted(purchases(catalog, some))
        cells = (
            f"{catalog.name}, {'human-style' if human else 'synthetic'}",
            f"{len(goals):,}",
            f"{best.task_score:.1f} / {best.success:.1%}",
            f"{poor.task_score:.1f} / {poor.success:.1%}",
            share(found, 10),
            share(found, 50),
            f"mean {statistics.mean(counts):.2f}, 95 % ≤ {counts[int(0.95 * len(counts))]}, most "
            f"{counts[-1]}",
        )
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)
        misses = verdicts(found, best.success, (poor.task_score, poor.success), counts)
        missed += [f"- {cells[0]}: {text}." for text in misses]
    catalog = bundled_catalog("small")
    told = [p for p in catalog.products if p.instruction]
    words = [len(p.title.split()) for p in catalog.products]
    asked = [len(goal.instruction.split()) for goal in build_goals(catalog)]
    lines += [
        "",
        f"siri-shop-small: {len(told)} of {len(catalog)} products have an instruction (the official "
        f"small file: 415 of "
        f"1,000 and 6,910 goals); {statistics.mean(len(p.instruction_attributes) for p in told):.1f} "
        f"attributes in an "
        f"instruction; titles of {min(words)} to {max(words)} words (mean "
        f"{statistics.mean(words):.1f}); instructions "
        f"of {min(asked)} to {max(asked)} words (mean {statistics.mean(asked):.1f}).",
    ]
    lines += ["", "Acceptance lines that do not hold:", "", *missed] if missed else ["", "Every line holds."]
    page = "\n".join(lines) + "\n"
    print(page)
    if args.out:
        args.out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
