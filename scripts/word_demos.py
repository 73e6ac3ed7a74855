"""What the embedded policies of words have in common: examples, and the process that makes them.

Used by ``build_tools.py``, ``build_textcraft_base.py`` and ``build_babyai_base.py``; the training loop is
that of ``build_tiny.py``.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from queue import Full
from typing import Any

import torch
from build_tiny import Example, train

Segment = tuple[str, str, float]
"""(role, text, weight as a target)."""
Demonstrate = Callable[[random.Random], list[Segment]]
_CHUNK = 1024


class Encoder:
    """Segments to token ids and loss weights."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        vocabulary: dict[str, int] = tokenizer.get_vocab()
        self.user, self.assistant, self.end = map(
            vocabulary.__getitem__, ("<|user|>", "<|assistant|>", "<|im_end|>")
        )
        self.ids = lru_cache(maxsize=200_000)(self._ids)

    def _ids(self, text: str) -> list[int]:
        found = list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        if self.tokenizer.unk_token_id in found:
            raise ValueError(f"got a word outside the vocabulary in {text!r}, expected words() to hold it")
        return found

    def example(self, segments: list[Segment]) -> Example:
        """Token ids and their weights as targets."""
        ids: list[int] = []
        weights: list[float] = []
        for role, text, weight in segments:
            piece = self.ids(text)
            if role == "user":
                ids += [self.user, *piece]
                weights += [0.0, *[weight] * len(piece)]
            else:
                ids += [self.assistant, *piece, self.end]
                weights += [0.0, *[weight] * (len(piece) + 1)]
        return ids, weights


def produce(
    demonstrate: Demonstrate,
    tokenizer: Callable[[], Any],
    queue: Any,
    seed: int,
    total: int,
    stage_2: float,  # noqa: ARG001 (there is one stage)
    begin: float,
) -> None:
    """Worker: chunks of examples, until the trainer has had ``total`` tokens."""
    torch.set_num_threads(1)
    encoder, made, chunk = Encoder(tokenizer()), 0, 0
    while made < total * 1.1:
        rng = random.Random(f"{seed}-{chunk}")
        chunk += 1
        examples = [encoder.example(demonstrate(rng)) for _ in range(_CHUNK)]
        made += sum(len(ids) for ids, _ in examples)
        while True:
            try:
                queue.put((examples, begin + (1 - begin) * made / total), timeout=5)
                break
            except Full:
                continue


def main(
    description: str | None, demonstrate: Demonstrate, tokenizer: Callable[[], Any], **defaults: Any
) -> None:
    """Command line of a script that builds such a policy.

    Args:
        description: of the script.
        demonstrate: makes one example; a function of a module, as another process calls it.
        tokenizer: makes the tokenizer; the same holds for it.
        defaults: of the options.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tokens", type=float, default=1.8e6)
    parser.add_argument("--batch", type=int, default=1500, help="padded tokens in a batch")
    parser.add_argument("--lr", type=float, default=0.02)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--stage2", type=float, default=1.0)
    parser.add_argument("--init", help="checkpoint to continue")
    parser.add_argument("--begin", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.set_defaults(**defaults)
    train(parser.parse_args(), tokenizer(), partial(produce, demonstrate, tokenizer))
