"""What is in a run, finished or not: its numbers, its skills, its episodes, its policy.

    python examples/read_run.py RUN      # without RUN, a small one is trained first

Draws success.svg where matplotlib is installed.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

import siri


def main(path: str | None = None) -> siri.Run:
    """Open a run and look around."""
    run = siri.Run.open(path) if path else siri.train("alfworld", out="runs/small", preset="smoke")
    print(run)
    print("phases:", *(phase.value for phase in run.phases))
    for number, event in run.events:
        print(f"  {number:3d}  {event}")

    for record in run.skills.records():
        print(f"{record.status.value:12} utility {record.utility:+.2f}  {record.skill.text}")
        for episode in run.sources(skill=record.skill.id)[:1]:
            print("    from:", episode.goal, "→", ", ".join(episode.actions[:4]), "…")

    print("again:", run.evaluate("valid_unseen", seeds=2))
    if find_spec("matplotlib"):
        draw(run)
    return run


def draw(run: siri.Run) -> None:
    """Success of both arms in training, over environment steps."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(layout="constrained")
    for arm in ("plain", "skill"):
        name = f"arm/{arm}/success"
        if name in run.metrics:
            axes.plot(*run.curve(name), label=arm)
    axes.set(xlabel="environment steps", ylabel="success in training")
    axes.legend()
    figure.savefig("success.svg")
    plt.close(figure)


if __name__ == "__main__":
    main(*sys.argv[1:])
