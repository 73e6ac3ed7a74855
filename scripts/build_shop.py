r"""Build the checkpoint of ``siri/policies/shop_base``: tokenizer, demonstrations, training, evaluation.

    export OMP_NUM_THREADS=1
    python scripts/build_shop.py --out src/siri/policies/shop_base
    python scripts/build_shop.py --out src/siri/policies/shop_base --eval

The training loop, Muon on the matrices and AdamW on the rest, is that of ``build_tiny.py``.
"""

from __future__ import annotations

import argparse
import random
from functools import lru_cache
from pathlib import Path
from queue import Full
from typing import Any

import torch
from build_tiny import Example, train
from shop_demos import DO, NOISE, OPTIONS, SUMMARY, Plan, Worlds, episode, skill_plan, skill_text, words

from siri.policies.tiny import build_word_tokenizer

_CHUNK = 512


class Encoder:
    """Segments to token ids and loss weights."""

    def __init__(self) -> None:
        self.tokenizer = build_word_tokenizer(words())
        marks = self.tokenizer.get_vocab()
        self.user, self.assistant, self.end = (
            marks[mark] for mark in ("<|user|>", "<|assistant|>", "<|im_end|>")
        )
        self.ids = lru_cache(maxsize=200_000)(self._ids)

    def _ids(self, text: str) -> list[int]:
        found = list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        if self.tokenizer.unk_token_id in found:
            raise ValueError(f"got a word outside the vocabulary in {text!r}, expected words() to hold it")
        return found

    def example(self, segments: list[tuple[str, str, str]], *, stage: int) -> Example:
        """Token ids and their weights as targets."""
        ids: list[int] = []
        weights: list[float] = []
        watch, verb = (0.1, 1.0) if stage == 1 else (0.02, 2.0)
        for role, text, how in segments:
            piece = self.ids(text)
            if role == "user":
                ids += [self.user, *piece]
                weights += [0.0, *[watch] * len(piece)]
                continue
            ids += [self.assistant, *piece, self.end]
            table = {DO: [verb, *[1.0] * len(piece)], NOISE: [0.0] * (len(piece) + 1)}
            weights += [0.0, *({SUMMARY: [1.0] * (len(piece) + 1)} | table)[how]]
        return ids, weights


def produce(queue: Any, seed: int, total: int, stage_2: float, begin: float) -> None:
    """Worker: chunks of examples, until the trainer has had ``total`` tokens."""
    torch.set_num_threads(1)
    encoder, worlds, made, chunk = Encoder(), Worlds(seed), 0, 0
    while made < total * 1.1:
        rng = random.Random(f"{seed}-{chunk}")
        chunk += 1
        progress = begin + (1 - begin) * made / total
        stage = 1 if progress < stage_2 else 2
        examples = [
            encoder.example(episode(rng, worlds, progress=progress), stage=stage) for _ in range(_CHUNK)
        ]
        made += sum(len(ids) for ids, _ in examples)
        while True:
            try:
                queue.put((examples, progress), timeout=5)
                break
            except Full:
                continue


def report(folder: Path, count: int) -> None:
    """Success under the plain prompt, a right skill and a wrong one, on validation goals of the bundled
    shop.
    """
    from siri.envs.webshop import WebShop, build_goals, bundled_catalog, split_goals
    from siri.envs.webshop.compact import CompactPrompter, CompactShop
    from siri.policies import HFPolicy
    from siri.rollout import GroupPlan, Rollout
    from siri.types import Sampling, Skill, Task

    catalog = bundled_catalog("small")
    goals = build_goals(catalog)
    policy = HFPolicy.load(folder, slots=64)
    rollout = Rollout(
        lambda: CompactShop(WebShop(catalog, goals)),
        CompactPrompter(),
        policy,
        sampling=Sampling(max_tokens=16),
        slots=64,
    )
    rng = random.Random(0)
    texts = {
        "plain": {},
        "right": {kind: skill_text(kind, skill_plan(rng, kind, right=True)) for kind in OPTIONS},
        "wrong": {kind: skill_text(kind, Plan(False, False, (), False, ())) for kind in OPTIONS},
    }
    valid = split_goals(len(goals))["valid"]
    print("| prompt | " + " | ".join([*OPTIONS, "all"]) + " |\n|" + "---|" * (len(OPTIONS) + 2))
    for name, skills in texts.items():
        plans = []
        for number in list(valid)[:count]:
            kind = goals[number].category
            condition, _, strategy = skills.get(kind, "").removeprefix("When ").partition(": ")
            shown = (Skill(f"{name}-{kind}", kind, condition, strategy, "human", 0),) if skills else ()
            task = Task(str(number), kind, goals[number].instruction, "valid", number)
            plans.append(GroupPlan(task, plain=not shown, skilled=bool(shown), skills=shown, seed=number))
        episodes = [t for group in rollout.play(plans) for t in group.trajectories]
        cells = []
        for kind in OPTIONS:
            won = [t.success for t in episodes if t.task.kind == kind]
            cells.append(f"{sum(won) / max(1, len(won)):.3f}")
        cells.append(f"**{sum(t.success for t in episodes) / len(episodes):.3f}**")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tokens", type=float, default=9e6)
    parser.add_argument("--batch", type=int, default=5000, help="padded tokens in a batch")
    parser.add_argument("--lr", type=float, default=0.02)
    parser.add_argument("--stage2", type=float, default=0.45, help="share of tokens before stage 2")
    parser.add_argument("--init", help="checkpoint to continue")
    parser.add_argument("--begin", type=float, default=0.0, help="where in the curriculum to begin (0 to 1)")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--eval", action="store_true", help="measure the checkpoint in --out; train nothing")
    parser.add_argument("--count", type=int, default=500, help="validation goals")
    args = parser.parse_args()
    if args.eval:
        torch.set_num_threads(args.threads)
        report(args.out, args.count)
    else:
        train(args, build_word_tokenizer(words()), produce)


if __name__ == "__main__":
    main()
