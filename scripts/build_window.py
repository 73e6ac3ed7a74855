r"""Build tests/golden/policy: a tiny policy that speaks the papers' window prompts, for the golden runs.

    OMP_NUM_THREADS=1 python scripts/build_window.py --out tests/golden/policy

The embedded policies speak transcripts and pages of their own; in windows every answer of theirs is malformed
and no episode succeeds, so a recorded run would be of zeros. This one knows by heart the few tasks that the
golden runs play, the well-formed answer to each window, and three kinds of mistakes. It makes fewer of them
where the prompt shows a skill. It is good for nothing else.

The committed one was made once, at commit 8a6f82b. With another one, every golden value in windows changes.
"""

from __future__ import annotations

import argparse
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from record_golden import CASES, KINDS, SKILLS
from torch.nn.functional import cross_entropy

from siri.config import load_config
from siri.config.presets import preset
from siri.envs.alfworld import alfworld_suite, load_game
from siri.envs.alfworld.engine import State
from siri.envs.alfworld.expert import Expert
from siri.envs.webshop import build_goals, bundled_catalog, webshop_suite
from siri.policies.checkpoints import save_checkpoint
from siri.policies.tiny import build_model
from siri.rollout.suite import Suite
from siri.seeds import derive_seed
from siri.types import Skill, Task, Turn

Guide = Callable[[list[Turn], Sequence[str]], str]
Example = tuple[str, str]
"""A prompt and its answer."""
SPECIAL = ("<unk>", "<|pad|>", "<|im_end|>", "<|user|>", "<|assistant|>")
TAGS = ("<think>", "</think>", "<action>", "</action>")
TEMPLATE = (
    "{% for m in messages %}{{ '<|user|>' if m['role'] == 'user' else '<|assistant|>' }}{{ m['content'] }}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
ERRORS = {False: 0.25, True: 0.06}
"""Share of answers that are wrong, without and with a skill in the prompt."""


def household(task: Task) -> Guide:
    """The expert's command after the turns so far."""
    game = load_game(task.source)
    expert = Expert(game)

    def guide(turns: list[Turn], _: Sequence[str]) -> str:
        state = State(game)
        for turn in turns:
            state.step(turn.action)
        return expert.next_command(state)

    return guide


def shopping(goals: Sequence[Any]) -> Callable[[Task], Guide]:
    """The action that leads to the wanted purchase from the page at hand."""

    def of(task: Task) -> Guide:
        goal = goals[task.source]
        wanted = [o if isinstance(o, str) else o[1] for o in goal.options]

        def guide(turns: list[Turn], admissible: Sequence[str]) -> str:
            if "search[<your query>]" in admissible:
                return f"search[{goal.name.lower()}]"
            opened = [n for n, turn in enumerate(turns) if turn.action == f"click[{goal.asin.lower()}]"]
            if f"click[{goal.asin.lower()}]" in admissible:
                return f"click[{goal.asin.lower()}]"
            if "click[buy now]" in admissible and opened:
                done = {turn.action for turn in turns[opened[-1] :]}
                left = [f"click[{o.lower()}]" for o in wanted if f"click[{o.lower()}]" not in done]
                return next((action for action in left if action in admissible), "click[buy now]")
            return "click[back to search]" if "click[back to search]" in admissible else "click[< prev]"

        return guide

    return of


def played(shop: Suite) -> list[Task]:
    """The tasks of the golden run's iterations, as it orders them."""
    config = load_config(preset("paper", "webshop"), assignments=CASES["paper-webshop"].settings)
    train = list(shop.split("train"))
    random.Random(derive_seed("tasks", config.seed, 0)).shuffle(train)
    return train[: 4 * config.rollout.tasks]


def answer(action: str, rng: random.Random, admissible: Sequence[str], error: float) -> str:
    """In the papers' form; now and then another action, a void one, or no reasoning."""
    draw = rng.random()
    if draw < error / 2:
        action = rng.choice([a for a in admissible if a != "search[<your query>]"] or [action])
    elif draw < error * 3 / 4:
        action = "dance"
    elif draw < error:
        return f"<action> {action} </action>"
    return f"<think> next </think> <action> {action} </action>"


def demonstrate(
    rng: random.Random, suite: Suite, tasks: Sequence[Task], guide_of: Callable[[Task], Guide]
) -> Iterator[Example]:
    """One episode of a random task, turn by turn."""
    env, task = suite.make_env(), rng.choice(tasks)
    guide, skilled = guide_of(task), rng.random() < 0.5
    skills = [Skill("0", task.kind, *SKILLS[task.kind], "file", 0)] if skilled else []
    observation, info = env.reset(seed=0, options={"task": task})
    turns: list[Turn] = []
    over = False
    while not over:
        admissible = tuple(info["admissible"])
        [message] = suite.prompter.messages(task, turns, observation, admissible, skills)
        text = answer(guide(turns, admissible), rng, admissible, ERRORS[skilled])
        yield message["content"], text
        # what is played errs more often than what is taught, so that the way back is known too
        action, _, _ = suite.prompter.parse(answer(guide(turns, admissible), rng, admissible, 0.3))
        before = observation
        observation, reward, terminated, truncated, info = env.step(action)
        turns.append(Turn(before, admissible, action, text, True, float(reward), None))
        over = terminated or truncated


def build_tokenizer(examples: Sequence[Example], *, words: int = 240) -> Any:
    """Actions and tags are one token each, and so are words that tell prompts apart; the rest is left out."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    actions = {re.findall(r"<action> (.*) </action>", text)[0] for _, text in examples}
    phrases = sorted({*TAGS, *(a for a in actions if a != "dance")}, key=lambda p: (-len(p), p))
    seen = Counter(word for prompt, _ in examples for word in set(re.findall("[A-Za-z]+|[0-9]+", prompt)))
    telling = [word for word in seen if seen[word] < 0.4 * len(examples)]
    common = sorted(telling, key=lambda word: (-seen[word], word))[:words]
    pattern = "|".join(
        [
            *(re.escape(p) + "(?![0-9A-Za-z])" for p in phrases),
            *(rf"(?<![0-9A-Za-z]){word}(?![0-9A-Za-z])" for word in ("next", "dance", "Skill", *common)),
        ]
    )
    vocab = dict.fromkeys([*SPECIAL, "next", "dance", "Skill", *phrases, *common])
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(vocab)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), behavior="removed", invert=True)
    make: Any = PreTrainedTokenizerFast
    fast = make(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<|pad|>",
        eos_token="<|im_end|>",
        additional_special_tokens=["<|user|>", "<|assistant|>"],
        clean_up_tokenization_spaces=False,
        padding_side="left",
        model_max_length=4096,
    )
    fast.chat_template = TEMPLATE
    return fast


def train(model: Any, tokenizer: Any, examples: Sequence[Example], steps: int, rng: random.Random) -> None:
    """Cross-entropy on the answers; the rate falls to 0."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: min(1, n / 50) * (1 - n / steps))
    user, assistant = tokenizer.convert_tokens_to_ids(["<|user|>", "<|assistant|>"])
    coded = []
    for prompt, text in examples:
        head, tail = (tokenizer(part, add_special_tokens=False)["input_ids"] for part in (prompt, text))
        coded.append(([user, *head, assistant], [*tail, tokenizer.eos_token_id]))
    for step in range(steps):
        batch = rng.sample(coded, 24)
        width = max(len(head) + len(tail) for head, tail in batch)
        ids = torch.full((len(batch), width), tokenizer.pad_token_id)
        targets = torch.full((len(batch), width), -100)
        for row, (head, tail) in enumerate(batch):
            ids[row, : len(head) + len(tail)] = torch.tensor([*head, *tail])
            targets[row, len(head) : len(head) + len(tail)] = torch.tensor(tail)
        logits = model(ids).logits[:, :-1]
        loss = cross_entropy(logits.flatten(0, 1), targets[:, 1:].flatten(), ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == steps - 1:
            print(f"{step}: width {width}, loss {loss:.3f}", flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--episodes", type=int, default=1500)
    parser.add_argument("--steps", type=int, default=800)
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    rng = random.Random(0)
    # two steps more than the golden run has, so that every game can be won
    house = alfworld_suite(style="window", max_steps=8, train_games=6, valid_games=1, scale=0.4, kinds=KINDS)
    shop = webshop_suite(style="window", max_steps=6, size="tiny")
    worlds: list[tuple[Suite, Sequence[Task], Callable[[Task], Guide]]] = [
        (house, house.split("train"), household),
        (shop, played(shop), shopping(build_goals(bundled_catalog("tiny")))),
    ]
    examples = [x for n in range(args.episodes) for x in demonstrate(rng, *worlds[n % 2])]
    tokenizer = build_tokenizer(examples)
    model: Any = build_model(tokenizer, hidden=48, layers=2, heads=4)
    print(f"{len(examples)} turns, {len(tokenizer)} tokens, {model.num_parameters()} parameters")
    train(model, tokenizer, examples, args.steps, rng)
    save_checkpoint(model.to(torch.bfloat16), tokenizer, args.out)


if __name__ == "__main__":
    main()
