"""Skills of the embedded policy of the world of tools."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from siri.envs.tools import KINDS, tools_suite
from siri.envs.tools.language import STEPS, TOOL_SKILL_GRAMMAR, ToolSummaryPrompt, skill_text
from siri.policies.tiny import base_path
from siri.types import StopReason, Trajectory, Turn


@given(kind=st.sampled_from(KINDS), steps=st.lists(st.sampled_from(STEPS), min_size=1, max_size=4))
def test_skills_are_of_the_grammar(kind: str, steps: list[str]) -> None:
    assert re.fullmatch(TOOL_SKILL_GRAMMAR, skill_text(kind, steps))


def test_a_summary_shows_the_calls_that_were_carried_out() -> None:
    task = tools_suite(train_tasks=8, valid_tasks=8).split("train")[3]
    turns = tuple(
        Turn(task.source.text, (), action, action, action != "dance", 0.0, ())
        for action in ("query lamp price", "dance", "answer 3")
    )
    episode = Trajectory("t", task, "plain", (), turns, True, StopReason.SUCCESS)
    [message] = ToolSummaryPrompt().messages([episode])
    assert message["content"] == (
        f"Task: price question .\n{task.source.text}\n> query lamp price\n> answer 3\nSummarize as a skill."
    )


def test_the_embedded_policy_knows_every_word() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base_path("tools"))
    suite = tools_suite(train_tasks=40, valid_tasks=40)
    assert suite.expert is not None
    texts = [skill_text(kind, STEPS) for kind in KINDS]
    for tasks in suite.tasks.values():
        for task in tasks:
            solution = suite.expert.demonstrate(task) or ()
            texts += [
                task.source.text,
                *solution,
                ToolSummaryPrompt.text(task.kind, task.source.text, solution),
            ]
            texts += [value for row in task.source.table.values() for value in row.values()]
    for text in texts:
        assert tokenizer.unk_token_id not in tokenizer(text, add_special_tokens=False)["input_ids"], text
