"""A language model of your own writes the skills; whatever can be called will do.

python examples/own_miner.py [RUN]
"""

from __future__ import annotations

import json
import sys

import siri
from siri.skills import ChatWriter
from siri.testing import check_miner
from siri.types import Message


def my_llm(messages: list[Message], seed: int) -> str:  # noqa: ARG001 (yours may honour the seed)
    """Stands in for a model: reads the episodes in the last message, and answers with JSON.

    Put your own here, for instance a local pipeline, or any client's call with ``messages`` as they are.
    """
    goal = messages[-1]["content"].splitlines()[0]
    heat = "heat" in goal or "hot" in goal
    skill = {
        "condition": "the task is to heat an object" if heat else "the task is to put an object somewhere",
        "strategy": f"search the countertop first, take it, {'heat it with the microwave, ' if heat else ''}"
        "then move it to the goal.",
    }
    return f"Here is what I learnt:\n```json\n{json.dumps([skill])}\n```"


def main(out: str = "runs/miner") -> siri.Run:
    """Check the miner against its contract, then train with it."""
    miner = ChatWriter(my_llm, origin="my-llm", samples=2)
    check_miner(miner)
    run = siri.train("alfworld", miner=miner, out=out, config=siri.preset("smoke"))
    print(run)
    for record in run.skills.records():
        print(f"{record.status.value} {record.utility:+.2f} ({record.skill.origin}) {record.skill.text}")
    return run


if __name__ == "__main__":
    main(*sys.argv[1:])
