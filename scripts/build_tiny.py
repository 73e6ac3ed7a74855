r"""Build the checkpoint of ``siri/policies/tiny_base``: tokenizer, demonstrations, training, evaluation.

    export OMP_NUM_THREADS=1
    python scripts/build_tiny.py --out first --tokens 9.7e6
    python scripts/build_tiny.py --init first --begin 0.45 --seed 1 --tokens 8e6 \
        --out src/siri/policies/tiny_base
    python scripts/build_tiny.py --out src/siri/policies/tiny_base --eval

    python scripts/build_tiny.py --init src/siri/policies/tiny_base --begin 0.6 --seed 2 --tokens 2e6 \
        --lr 0.01 --right 0.015 --out rare   # benchmarks/study: plain success rare on three kinds

The second run, with a fresh learning rate, is what teaches the policy to notice its target. The shipped
checkpoint is seed 0 and 1 of these; its first run knew neither generated rooms nor refused commands yet.

Two stages: even weights first, then more weight on the verb of each action. Muon on the matrices, AdamW on
the rest (AdamW alone does not learn to copy names in this budget).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import random
import time
from functools import lru_cache, partial
from pathlib import Path
from queue import Full
from typing import Any

import torch
from tiny_demos import SUMMARY, episode
from tiny_eval import report
from tiny_explorer import CHOOSE, DO, FIRST, NOISE
from tiny_worlds import Worlds
from transformers import SeedOssForCausalLM

from siri.policies.tiny import build_model, build_tokenizer

Example = tuple[list[int], list[float]]
_CHUNK = 512
_STAGE_2 = 0.45


class Encoder:
    """Segments to token ids and loss weights."""

    def __init__(self) -> None:
        self.tokenizer = build_tokenizer()
        marks = self.tokenizer.get_vocab()
        self.user, self.assistant, self.end = (
            marks[mark] for mark in ("<|user|>", "<|assistant|>", "<|im_end|>")
        )
        self.ids = lru_cache(maxsize=200_000)(self._ids)

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def example(self, segments: list[tuple[str, str, str]], *, stage: int) -> Example:
        """Token ids and their weights as targets."""
        ids: list[int] = []
        weights: list[float] = []
        watch = 0.1 if stage == 1 else 0.02
        verb = 1.0 if stage == 1 else 2.5
        free = 0.5 if stage == 1 else 0.3
        for index, (role, text, how) in enumerate(segments):
            piece = self.ids(text)
            if role == "user":
                ids += [self.user, *piece]
                weights += [0.0, *[watch if index else 0.01] * len(piece)]
                continue
            ids += [self.assistant, *piece, self.end]
            rest = len(piece)
            table = {
                DO: [verb, *[1.0] * rest],
                CHOOSE: [verb, *[free] * rest],
                FIRST: [verb, 1.0, *[free] * (rest - 1)],
                NOISE: [0.0] * (rest + 1),
                SUMMARY: [1.0] * (rest + 1),
            }
            weights += [0.0, *table[how]]
        return ids, weights


def produce(
    queue: Any, seed: int, total: int, stage_2: float, begin: float, right: float | None = None
) -> None:
    """Worker: chunks of examples, until the trainer has had ``total`` tokens."""
    torch.set_num_threads(1)
    encoder, worlds, made, chunk = Encoder(), Worlds(seed), 0, 0
    while made < total * 1.1:
        rng = random.Random(f"{seed}-{chunk}")
        chunk += 1
        progress = begin + (1 - begin) * made / total
        stage = 1 if progress < stage_2 else 2
        examples = [
            encoder.example(episode(rng, worlds, progress=progress, right=right), stage=stage)
            for _ in range(_CHUNK)
        ]
        made += sum(len(ids) for ids, _ in examples)
        while True:
            try:
                queue.put((examples, progress), timeout=5)
                break
            except Full:
                continue


def batches(examples: list[Example], size: int, rng: random.Random) -> list[list[Example]]:
    """Batches of about ``size`` padded tokens of similar length, in random order."""
    out: list[list[Example]] = [[]]
    for example in sorted(examples, key=lambda e: len(e[0])):
        if len(example[0]) * (len(out[-1]) + 1) > size and out[-1]:
            out.append([])
        out[-1].append(example)
    rng.shuffle(out)
    return out


def collate(batch: list[Example]) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ids and weights."""
    width = max(len(ids) for ids, _ in batch)
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    weights = torch.zeros(len(batch), width)
    for row, (tokens, weight) in enumerate(batch):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        weights[row, : len(weight)] = torch.tensor(weight)
    return ids, weights


def train(args: argparse.Namespace, tokenizer: Any = None, producer: Any = produce) -> None:
    """One run; saves to ``args.out`` at the end and every 1.5 M tokens."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    tokenizer = tokenizer or build_tokenizer()
    fresh = build_model(tokenizer, layers=args.layers)
    model = SeedOssForCausalLM.from_pretrained(args.init) if args.init else fresh
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    muon = torch.optim.Muon(matrices, lr=args.lr, weight_decay=0.01)
    adam = torch.optim.AdamW(others, lr=3e-3, weight_decay=0.0, betas=(0.9, 0.98))
    total = int(args.tokens)
    queue: Any = mp.get_context("spawn").Queue(maxsize=4)
    worker = mp.get_context("spawn").Process(
        target=producer, args=(queue, args.seed, total, args.stage2, args.begin), daemon=True
    )
    worker.start()
    rng, seen, saved, step, start = random.Random(args.seed), 0, 0, 0, time.time()
    running, wanted = 0.0, 0
    while seen < total:
        examples, _ = queue.get()
        for batch in batches(examples, args.batch, rng):
            ids, weights = collate(batch)
            seen += sum(len(e[0]) for e in batch)
            scale = min(1.0, (step + 1) / 30, max(0.02, (1 - seen / total) / 0.6))
            muon.param_groups[0]["lr"] = args.lr * scale
            adam.param_groups[0]["lr"] = 3e-3 * scale
            hidden = model.model(input_ids=ids[:, :-1]).last_hidden_state
            targets, weight = ids[:, 1:], weights[:, 1:]
            picked = weight > 0
            logits = model.lm_head(hidden[picked])
            loss = torch.nn.functional.cross_entropy(logits, targets[picked], reduction="none")
            loss = (loss * weight[picked]).sum() / weight.sum().clamp(min=1.0)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            muon.step()  # type: ignore[no-untyped-call]
            adam.step()
            model.zero_grad(set_to_none=True)
            step += 1
            running += float(loss.detach())
            wanted += 1
            if step % 50 == 0:
                print(
                    f"{step} {seen / 1e6:.2f}M loss {running / wanted:.4f} {time.time() - start:.0f}s",
                    flush=True,
                )
                running, wanted = 0.0, 0
        if seen - saved > 1.5e6:
            save(model, tokenizer, args.out)
            saved = seen
    worker.terminate()
    save(model, tokenizer, args.out)
    print(f"trained {seen} tokens in {time.time() - start:.0f} s")


def save(model: Any, tokenizer: Any, out: Path) -> None:
    """An ordinary transformers folder."""
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(out)
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    config["rope_theta"] = config["rope_parameters"]["rope_theta"]  # where transformers 4 looks for it
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tokenizer.save_pretrained(out)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tokens", type=float, default=9.7e6)
    parser.add_argument("--batch", type=int, default=5000, help="padded tokens in a batch")
    parser.add_argument("--lr", type=float, default=0.02)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--stage2", type=float, default=_STAGE_2, help="share of tokens before stage 2")
    parser.add_argument("--init", help="checkpoint to continue")
    parser.add_argument("--begin", type=float, default=0.0, help="where in the curriculum to begin (0 to 1)")
    parser.add_argument(
        "--right", type=float, help="exact share of plain attempts that use the right station"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--eval", action="store_true", help="measure the checkpoint in --out; train nothing")
    parser.add_argument(
        "--games", default="generated", help='"generated", "generated-large", "worlds", or a folder'
    )
    parser.add_argument("--count", type=int, default=100, help="episodes per kind and row")
    parser.add_argument("--limit", type=int, default=25, help="steps per episode")
    parser.add_argument("--show", type=int, default=0, help="kinds of which to print one episode")
    args = parser.parse_args()
    if args.eval:
        torch.set_num_threads(args.threads)
        report(args.out, games=args.games, count=args.count, limit=args.limit, show=args.show)
    else:
        train(args, producer=partial(produce, right=args.right))


if __name__ == "__main__":
    main()
