"""Real tokenizers and templates through the three phases of a tiny run."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest

from siri.algos import SiriObjective
from siri.config import RunConfig, load_config
from siri.config.presets import preset
from siri.curriculum import Curriculum
from siri.envs.alfworld import TranscriptPrompter, WindowPrompter
from siri.errors import ConfigError, PolicyFault
from siri.policies import HFPolicy
from siri.protocols import Prompter
from siri.rollout.episodes import GroupPlan
from siri.rollout.play import Rollout
from siri.rollout.suite import Suite
from siri.skills import SelfMiner
from siri.types import Message, Request, Sampling, Task
from tests.zoo import CHATML, NAMES, QWEN3, make, teach

PROMPTERS: dict[str, Prompter] = {"window": WindowPrompter(), "transcript": TranscriptPrompter()}
ADAPTERS = {"full": 0, "lora": 2}
SMALL = [
    "rollout.tasks=2", "rollout.group_size=4", "rollout.max_tokens=12", "rollout.slots=8",
    "warmup.successes=1", "warmup.max_iterations=1", "mining.max_iterations=1", "mining.min_iterations=1",
    "mining.every=1",
    "internalization.iterations=1", "optimizer.max_tokens_per_micro_batch=4096",
]  # fmt: skip


class Easy:
    """Won at the third command whatever it says, by two episodes of three."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[str, Any]:
        self.count, self.seed = 0, seed or 0
        return "You are in a room. You see a shelf 1.\n\nYour task is to: put some mug on shelf.", self.info()

    def step(self, action: str) -> tuple[str, float, bool, bool, Any]:
        self.count += 1
        won = self.count >= 3 and (len(action) + self.seed) % 3 != 0
        lost = not won and self.count >= 4
        return f"You arrive at shelf {self.count}. Voilà, 你好 🙂.", 10.0 * won, won, lost, self.info(won)

    def info(self, won: bool = False) -> Any:
        valid = {"admissible": ("go to shelf 1", "look"), "valid": True}
        return {**valid, "success": won, "anchor": self.count}


def easy(prompter: Prompter) -> Suite:
    tasks = {
        split: [Task(f"{split}-{n}", "put", "put some mug on shelf", split, n) for n in range(4)]
        for split in ("train", "valid_seen")
    }
    return Suite("easy", Easy, tasks, prompter, max_steps=4)


def config(style: str, rank: int) -> RunConfig:
    more = [f"env.style={style}", f"lora.rank={rank}", "lora.alpha=4"]
    return load_config(preset("smoke"), assignments=[*SMALL, *more])


def through_three_phases(name: str, style: str, adapter: str, folder: Path) -> None:
    settings = config(style, ADAPTERS[adapter])
    policy = HFPolicy.load(make(name, folder), slots=8)
    miner = SelfMiner(samples=1, reply_tokens=24)
    run = Curriculum(easy(PROMPTERS[style]), policy, miner=miner, objective=SiriObjective(), config=settings)
    seen = [(it.phase.value, it.metrics) for it in run]
    assert [phase for phase, _ in seen] == ["warmup", "mining", "internalization"]
    for _, metrics in seen:
        assert metrics["env/steps"] > 0
        assert metrics["learn/steps"] > 0
        assert metrics["learn/skipped"] == 0
        assert metrics["learn/logprob_gap"] < 1e-3
        if style == "transcript":
            assert metrics["env/valid"] > 0.5
        else:
            # random weights hardly ever write a tag
            assert metrics["env/no_action"] > 0.9
    assert miner.report.requests > 0
    assert not miner.report.failed


ALL = list(product(NAMES, PROMPTERS, ADAPTERS))
PAIRS = [(name, *list(product(PROMPTERS, ADAPTERS))[n % 4]) for n, name in enumerate(NAMES)]
"""Each model once, each pair of style and adapter with several of them."""


@pytest.mark.parametrize(("name", "style", "adapter"), PAIRS)
def test_every_model_goes_through_three_phases(name: str, style: str, adapter: str, tmp_path: Path) -> None:
    through_three_phases(name, style, adapter, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize(("name", "style", "adapter"), [case for case in ALL if case not in PAIRS])
def test_every_model_in_every_way(name: str, style: str, adapter: str, tmp_path: Path) -> None:
    through_three_phases(name, style, adapter, tmp_path)


class Short(WindowPrompter):
    """The window's reading of replies, and prompts that a tiny model learns in seconds."""

    def messages(self, task: Any, turns: Any, observation: str, *_: Any, **__: Any) -> list[Message]:
        return [{"role": "user", "content": "Which action?"}]


ASKED: list[list[Message]] = [[{"role": "user", "content": "Which action?"}]]
TAUGHT = {
    "thought opened by the prompt": ("r1", None, "look.\n</think>\n\n<action>look</action><|end|>", {}),
    "thought prefilled": (
        "qwen3", QWEN3.replace("and enable_thinking is false", "or true"),
        "<action>look</action><|im_end|>", {},
    ),
    "thought switched off": ("qwen3", None, "<action>look</action><|im_end|>", {"enable_thinking": False}),
    "thinking": ("qwen3", None, "<think>\nlook.\n</think>\n\n<action>look</action><|im_end|>", {}),
    "special tags": ("special_tags", None, "<think>look.</think><action>look</action><|im_end|>", {}),
    "plain tags": ("qwen3", CHATML, "<think>look.</think><action>look</action><|im_end|>", {}),
}  # fmt: skip


@pytest.mark.parametrize("label", TAUGHT)
def test_a_well_formed_reply_is_a_valid_turn(label: str, tmp_path: Path) -> None:
    name, template, reply, arguments = TAUGHT[label]
    folder = teach(make(name, tmp_path, template=template), ASKED, reply, **arguments)
    policy = HFPolicy.load(folder, slots=4, chat_template_kwargs=arguments)
    rollout = Rollout(Easy, Short(), policy, sampling=Sampling(temperature=0.0, max_tokens=40), slots=4)
    [group] = rollout.play([GroupPlan(easy(Short()).tasks["train"][0], 4, seed=1)])
    turns = [turn for episode in group.trajectories for turn in episode.turns]
    assert {turn.action for turn in turns} == {"look"}
    assert all(turn.valid and turn.well_formed and turn.finished for turn in turns)
    for turn in turns:
        inside = [i for i, chosen in zip(turn.completion_ids, turn.action_mask, strict=True) if chosen]
        assert policy.decode(inside).strip(">") == "look"


@pytest.mark.parametrize(("name", "end"), [("qwen25_base", "<|im_end|>"), ("gemma2_ft", "<end_of_turn>")])
def test_replies_end_where_the_template_closes_a_turn(name: str, end: str, tmp_path: Path) -> None:
    invented = {"<|im_end|>": "\n<|im_start|>user\nYou", "<end_of_turn>": "\n<start_of_turn>user\nYou"}[end]
    folder = teach(make(name, tmp_path), ASKED, f"go to shelf 1{end}{invented}")
    policy = HFPolicy.load(folder, slots=2)
    rollout = Rollout(Easy, Short(), policy, sampling=Sampling(temperature=0.0, max_tokens=40), slots=2)
    [group] = rollout.play([GroupPlan(easy(Short()).tasks["train"][0], 2, seed=1)])
    assert {turn.text.strip() for t in group.trajectories for turn in t.turns} == {"go to shelf 1"}


def test_a_model_whose_vocabulary_is_padded_plays(tmp_path: Path) -> None:
    policy = HFPolicy.load(make("qwen25", tmp_path, vocab=2048), slots=8)
    run = Curriculum(
        easy(PROMPTERS["transcript"]),
        policy,
        miner=None,
        objective=SiriObjective(),
        config=config("transcript", 0),
    )
    assert next(iter(run)).metrics["env/steps"] > 0


def test_prompts_that_do_not_fit_say_how_long_they_are(tmp_path: Path) -> None:
    policy = HFPolicy.load(make("qwen25", tmp_path, max_position_embeddings=128), slots=8)
    suite = easy(PROMPTERS["window"])
    asked = suite.prompter.messages(suite.tasks["train"][0], [], "You see a shelf 1.", ["look"])
    [said] = policy.generate([Request(asked)], Sampling(max_tokens=12))
    assert said.too_long is not None
    assert said.too_long[0] > said.too_long[1] == 116


def test_a_run_in_which_no_prompt_fits_says_so_and_ends(tmp_path: Path) -> None:
    policy = HFPolicy.load(make("qwen25", tmp_path, max_position_embeddings=128), slots=8)
    settings, objective = config("window", 0), SiriObjective()
    run = Curriculum(easy(PROMPTERS["window"]), policy, miner=None, objective=objective, config=settings)
    first = run.step()
    assert any("tokens, the policy takes 116" in event for event in first.events)
    assert first.metrics["env/stop/context_limit"] == 1.0
    with pytest.raises(PolicyFault, match="the policy takes 116") as caught:
        run.step()
    assert len(str(caught.value)) <= 300


def test_a_checkpoint_whose_tokens_have_no_embeddings_is_refused(tmp_path: Path) -> None:
    folder = make("qwen25", tmp_path)
    from transformers import PreTrainedTokenizerFast

    tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.add_tokens([f"word{n}" for n in range(200)])
    tokenizer.save_pretrained(folder)
    with pytest.raises(ConfigError, match="resize_token_embeddings"):
        HFPolicy.load(folder)
