"""What a policy itself would have encoded: its own sessions, replayed turn by turn."""

from __future__ import annotations

from siri.policies.encoding import Encoder, Transcript
from siri.protocols import Prompter
from siri.types import Request, Shown, Trajectory


def replayed(
    trajectory: Trajectory, shown: tuple[Shown, ...], prompter: Prompter, encoder: Encoder
) -> list[tuple[int, ...]]:
    """The prompt of every turn, with ``shown`` in its block."""
    old, out = None, []
    for k, turn in enumerate(trajectory.turns):
        past = trajectory.turns[:k]
        seen = past[:1] + past[1 + turn.hidden :]
        request = Request(prompter.messages(trajectory.task, seen, turn.observation, turn.admissible, shown))
        [prompt] = encoder.encode([request], [old])
        out.append(tuple(prompt.ids))
        old = Transcript(request, prompt, turn.text, turn.completion_ids)
    return out
