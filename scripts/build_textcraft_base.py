r"""Build the checkpoint of ``siri/policies/craft_base``: tokenizer, demonstrations, training.

    export OMP_NUM_THREADS=1
    python scripts/build_textcraft_base.py --out src/siri/policies/craft_base     # minutes of one core

Under the plain prompt the player knows how to look up a recipe, and mostly leaves something out: it fetches
what has to be made, asks for a family by its name, or crafts before it has what it needs. Then it tries
again, sometimes better. Under a skill it does what the text says, right or wrong. A fifth of the examples
sum up an episode that ended well. Goals are those of the training split; the words of all things are known.
"""

from __future__ import annotations

import random
from functools import cache
from typing import Any

from word_demos import Segment, main

from siri.envs.textcraft.env import Puzzle, TextCraft
from siri.envs.textcraft.language import CONDITIONS, STEPS, CraftSummaryPrompt, skill_text
from siri.envs.textcraft.recipes import Book, load_book
from siri.envs.textcraft.suite import goals, kind_of
from siri.policies.tiny import build_word_tokenizer
from siri.types import Task

GET, MAKE, CHOOSE = STEPS
DEPTH = (1, 2)
MOST = 16
"""Commands of one demonstration."""
PLAIN = 0.22
"""How often the player does all of it unasked."""
BETTER = 0.1
"""How often it does so after a failure."""


def words() -> list[str]:
    """Every word that an episode, a skill or a summary may hold, sorted."""
    book = load_book()
    texts = [
        "Crafting commands Goal : craft using get inventory Got Crafted minecraft _ , . > Task Skill ( ) [ ]"
    ]
    texts += ["Could not find enough items to craft a valid recipe for execute Wrong item format Inventory"]
    texts += [
        "You are not carrying anything Summarize as a skill",
        *CONDITIONS.values(),
        *STEPS,
        "When then it",
    ]
    texts += [*book.items, *map(str, range(130)), *CONDITIONS]
    texts += [recipe.text.replace(",", " ") for recipe in book.all()]
    return sorted({word for text in texts for word in text.split()})


def tokenizer() -> Any:
    """One token a word or sign."""
    return build_word_tokenizer(words(), signs=True)


class Player:
    """Crafts a goal, taking the steps that it is told to."""

    def __init__(self, puzzle: Puzzle, rng: random.Random) -> None:
        self.book: Book = load_book()
        self.puzzle = puzzle
        self.rng = rng
        self.env = TextCraft(max_steps=MOST)
        self.env.reset(options={"task": Task("t", "", "", "train", puzzle)})
        self.turns: list[tuple[str, str]] = []
        self.won = False

    def attempt(self, steps: tuple[str, ...]) -> None:
        """One try at the goal."""
        self._craft(self.puzzle.goal, steps)

    def _do(self, command: str) -> None:
        if self.won or len(self.turns) >= MOST:
            return
        text, _, self.won, _, _ = self.env.step(command)
        self.turns.append((command, text))

    def _craft(self, item: str, steps: tuple[str, ...]) -> None:
        recipe = best_recipe(self.book, item)
        chosen = []
        for need in recipe.needs:
            name = self.book.best(need) if CHOOSE in steps else need.name
            chosen.append(f"{need.count} {name}")
            while self.env.inventory.get(name, 0) < need.count and not self.won:
                before = len(self.turns)
                if name in self.book.recipes and MAKE in steps:
                    self._craft(name, steps)
                elif GET in steps:
                    self._do(f"get {need.count} {name}")
                if len(self.turns) == before or name not in self.env.inventory:
                    break
        self._do(f"craft {recipe.count} {item} using {', '.join(chosen)}")


def best_recipe(book: Book, item: str) -> Any:
    """The cheapest way to make an item."""
    return min(
        book.recipes[item], key=lambda recipe: sum(book.cost[book.best(need)] for need in recipe.needs)
    )


def needed(book: Book, item: str) -> tuple[str, ...]:
    """The steps without which a goal is not crafted."""
    found: set[str] = set()
    waiting = [item]
    while waiting:
        for need in best_recipe(book, waiting.pop()).needs:
            name = book.best(need)
            if name != need.name:
                found.add(CHOOSE)
            if name in book.recipes:
                found.add(MAKE)
                waiting.append(name)
            else:
                found.add(GET)
    return tuple(step for step in STEPS if step in found)


@cache
def targets() -> dict[str, list[str]]:
    """Goals of the training split by kind that take few commands."""
    book = load_book()
    found: dict[str, list[str]] = {kind: [] for kind in CONDITIONS}
    for goal in goals(book, depth=DEPTH)[0]:
        player = Player(Puzzle(goal, tuple(book.tree(goal))), random.Random(0))
        player.attempt(STEPS)
        if player.won:
            found[kind_of(book, goal)].append(goal)
    return found


def some(rng: random.Random, whole: tuple[str, ...]) -> tuple[str, ...]:
    """All but one or two of the steps."""
    left = list(whole)
    for _ in range(rng.choice((1, 1, 2))):
        if left:
            left.remove(rng.choice(left))
    return tuple(left)


def episode(rng: random.Random) -> list[Segment]:
    """One training example."""
    book = load_book()
    kind = rng.choice(list(CONDITIONS))
    goal = rng.choice(targets()[kind])
    tree = book.tree(goal)
    others = book.distractors(tree)
    shown = tree + rng.sample(others, min(len(others), rng.randint(0, 6)))
    rng.shuffle(shown)
    puzzle = Puzzle(goal, tuple(shown))
    player, mode = Player(puzzle, rng), rng.random()
    whole = needed(book, goal)
    if mode >= 0.8:
        player.attempt(whole)
        prompt = CraftSummaryPrompt.text(kind, f"craft {goal}", [command for command, _ in player.turns])
        return [("user", prompt, 0.0), ("assistant", skill_text(kind, whole), 1.0)]
    block = ""
    if mode < 0.4:
        steps = whole if rng.random() < PLAIN else some(rng, whole)
    else:
        # a skill may name steps that this goal does not need
        steps = tuple(s for s in STEPS if s in whole or rng.random() < 0.4)
        if rng.random() > 0.6:
            steps = some(rng, steps)
        if steps:
            block = f"\n\nSkill: {skill_text(kind, steps)}"
    while not player.won and len(player.turns) < MOST:
        before = len(player.turns)
        player.attempt(steps)
        if block == "":  # it tries something else, sometimes better
            steps = whole if rng.random() < BETTER else some(rng, whole)
        if rng.random() < 0.15:
            player._do("inventory")
        if len(player.turns) == before:
            break
        if len(player.turns) > 10 and rng.random() < 0.5:
            break
    segments: list[Segment] = [("user", puzzle.opening + block, 0.05)]
    for command, text in player.turns:
        segments += [("assistant", command, 1.0), ("user", text, 0.02)]
    return segments[:-1]


if __name__ == "__main__":
    main(__doc__, episode, tokenizer, layers=4, tokens=6e6, batch=3000)
