r"""Build the checkpoint of ``siri/policies/tools_base``: tokenizer, demonstrations, training.

    export OMP_NUM_THREADS=1
    python scripts/build_tools.py --out src/siri/policies/tools_base     # minutes of one core

Under the plain prompt the player calls some of the tools that a question needs, often too few, and then
answers with what it has. Under a skill it does what the text says, right or wrong. A fifth of the examples
summarise an episode that was answered rightly. Questions are made anew, about the things of every split: it
is to know their names, and nothing else of them. The training loop is that of ``build_tiny.py``.
"""

from __future__ import annotations

import random
from typing import Any

from word_demos import Segment, main

from siri.envs.tools.calculator import UNITS
from siri.envs.tools.env import ToolWorld
from siri.envs.tools.language import STEPS, ToolSummaryPrompt, skill_text
from siri.envs.tools.questions import COLORS, COLUMNS, ITEMS, KINDS, UNSEEN_ITEMS, Question, make_question
from siri.policies.tiny import build_word_tokenizer
from siri.types import Task

RIGHT = {
    "compute": (STEPS[3],),
    "convert": (STEPS[2],),
    "lookup": (STEPS[0],),
    "price": (STEPS[0], STEPS[3]),
    "measure": (STEPS[0], STEPS[2]),
    "compare": (STEPS[1],),
    "basket": (STEPS[1], STEPS[3]),
    "haul": (STEPS[0], STEPS[2], STEPS[3]),
}
"""What each kind of question needs."""
PLAIN = {kind: 0.3 if len(steps) > 1 else 0.45 for kind, steps in RIGHT.items()}
"""How often the player does all of it unasked."""


def words() -> list[str]:
    """Every word that an episode, a skill or a summary may hold, sorted."""
    texts = ["What is the of in ? How many coins do cost are Which costs more , or and Question: ( ) + - * /"]
    texts.append("calculator convert query answer Right. Wrong. error: nothing . > Task: Skill:")
    texts += [skill_text(kind, STEPS) for kind in KINDS]
    texts += [ToolSummaryPrompt.text(kind, "", ()) for kind in KINDS]
    texts += [*ITEMS, *UNSEEN_ITEMS, *COLORS, *COLUMNS, *UNITS, *map(str, range(1000)), *KINDS]
    return sorted({word for text in texts for word in text.split()})


def play(question: Question, steps: tuple[str, ...]) -> tuple[list[tuple[str, str]], bool]:
    """(call, what followed) of each turn, and whether the answer was right, when ``steps`` are done."""
    env = ToolWorld(max_steps=12)
    env.reset(options={"task": Task("t", "", "", "train", question)})
    calls = list(question.solution[:-1])
    queries = [call for call in calls if call.startswith("query")]
    wanted: list[str] = []
    for step in steps:
        if step == STEPS[0]:
            wanted += queries[:1]
        elif step == STEPS[1]:
            wanted += queries
        else:
            verb = "convert" if step == STEPS[2] else "calculator"
            wanted += [call for call in calls if call.startswith(verb)]
    turns: list[tuple[str, str]] = []
    known: list[str] = []
    for call in dict.fromkeys(wanted):
        text, *_ = env.step(call)
        turns.append((call, text))
        known.append(text.split()[0])
    if wanted and set(wanted) == set(calls):
        final = question.answer
    elif (known and not question.solution[0].startswith("query")) or (known and len(queries) < 2):
        final = known[-1]
    else:  # a comparison of which half is known, or nothing at all: a guess
        numbers = [word for word in question.text.split() if word.isdigit()]
        final = queries[0].split()[1] if len(queries) > 1 else numbers[0] if numbers else "red"
    text, *_, info = env.step(f"answer {final}")
    turns.append((f"answer {final}", text))
    return turns, info["success"]


def steps_of(rng: random.Random, kind: str, right: float) -> tuple[str, ...]:
    """All steps with probability ``right``; else some are missing, from the end."""
    whole = RIGHT[kind]
    if rng.random() < right:
        return whole
    if STEPS[1] in whole and rng.random() < 0.6:
        return (STEPS[0], *whole[1:]) if rng.random() < 0.3 else (STEPS[0],)
    return whole[: rng.randrange(len(whole))]


def episode(rng: random.Random) -> list[Segment]:
    """One training example."""
    kind, mode = rng.choice(KINDS), rng.random()
    question = make_question(rng, kind, (*ITEMS, *UNSEEN_ITEMS))
    if mode < 0.4:
        return told(question, steps_of(rng, kind, PLAIN[kind]), "")
    if mode < 0.8:
        steps = steps_of(rng, kind, 0.6)
        block = f"\n\nSkill: {skill_text(kind, steps)}" if steps else ""
        return told(question, steps, block)
    steps = RIGHT[kind]
    turns, _ = play(question, steps)
    prompt = ToolSummaryPrompt.text(kind, question.text, [call for call, _ in turns])
    return [("user", prompt, 0.0), ("assistant", skill_text(kind, steps), 1.0)]


def told(question: Question, steps: tuple[str, ...], block: str) -> list[Segment]:
    """The episode as segments."""
    segments: list[Segment] = [("user", question.text + block, 0.05)]
    for call, text in play(question, steps)[0]:
        segments += [("assistant", call, 1.0), ("user", text, 0.05)]
    return segments[:-1]


def tokenizer() -> Any:
    """One token a word."""
    return build_word_tokenizer(words())


if __name__ == "__main__":
    main(__doc__, episode, tokenizer)
