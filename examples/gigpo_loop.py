"""GiGPO inside a loop of your own: siri's maths, your environment, model and optimizer.

The same three lines go into the loop of verl or TRL: one number a turn for its task, its episode and its
state, and the advantage of every turn comes back. Run it, in a few seconds:

    python examples/gigpo_loop.py
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from siri.algos import clipped_surrogate, gigpo_advantages

LEFT, RIGHT, TAKE, OPEN = range(4)
CELLS, STEPS, TASKS, GROUP = 6, 15, 8, 8


class Corridor:
    """Find the key, carry it to the door in the last cell, open it."""

    def __init__(self, key: int) -> None:
        self.key, self.place, self.carried = key, 0, False

    @property
    def state(self) -> int:
        """All that matters, as one number: GiGPO compares actions that were taken in the same state."""
        return (self.key * CELLS + self.place) * 2 + self.carried

    def step(self, action: int) -> tuple[float, bool]:
        """The reward, and whether the episode is over."""
        if action in (LEFT, RIGHT):
            self.place = min(max(self.place + (1 if action == RIGHT else -1), 0), CELLS - 1)
        self.carried = self.carried or (action == TAKE and self.place == self.key)
        won = action == OPEN and self.carried and self.place == CELLS - 1
        return (10.0 if won else 0.0), won


def play(
    model: nn.Module, tasks: list[int], generator: torch.Generator
) -> tuple[dict[str, Tensor], list[bool]]:
    """``GROUP`` episodes of each task; every turn's labels [N], and which episodes were won."""
    turns: dict[str, list[float]] = {
        name: [] for name in ("reward", "group", "episode", "state", "action", "logprob")
    }
    wins: list[bool] = []
    for group, key in enumerate(tasks):
        for _ in range(GROUP):
            world, won, left = Corridor(key), False, STEPS
            while left and not won:
                state = world.state
                with torch.no_grad():
                    logprobs = model(torch.tensor(state)).log_softmax(-1)
                action = int(torch.multinomial(logprobs.exp(), 1, generator=generator))
                reward, won = world.step(action)
                for name, value in zip(
                    turns, (reward, group, len(wins), state, action, float(logprobs[action])), strict=True
                ):
                    turns[name].append(value)
                left -= 1
            wins.append(won)
    found = {name: torch.tensor(values) for name, values in turns.items()}
    return {name: v if name in ("reward", "logprob") else v.long() for name, v in found.items()}, wins


def train(iterations: int = 40, *, seed: int = 0) -> list[float]:
    """Success rate of each iteration."""
    generator = torch.Generator().manual_seed(seed)
    model = nn.Embedding(2 * CELLS * CELLS, 4)
    nn.init.zeros_(model.weight)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.3)
    rates = []
    for _ in range(iterations):
        tasks = torch.randint(CELLS, (TASKS,), generator=generator).tolist()
        turns, wins = play(model, tasks, generator)
        advantages = gigpo_advantages(
            turns["reward"], group=turns["group"], episode=turns["episode"], anchor=turns["state"]
        )
        logprobs = model(turns["state"]).log_softmax(-1).gather(1, turns["action"][:, None])
        loss, _ = clipped_surrogate(  # [N, 1]: here a turn is one token
            logprobs,
            old_logprobs=turns["logprob"][:, None],
            advantages=advantages[:, None],
            mask=torch.ones_like(logprobs, dtype=torch.bool),
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        rates.append(sum(wins) / len(wins))
    return rates


if __name__ == "__main__":
    for number, rate in enumerate(train()):
        print(f"{number:3d}  {rate:.2f}")
