"""Estimates against real models: parameters exactly, activations by counting what autograd keeps."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml
from transformers import Qwen2Config, Qwen2ForCausalLM

from siri.config import load_config
from siri.config.presets import preset
from siri.errors import ConfigError
from siri.runs.planning import SHAPES, Shape, plan, shape_of
from tests.smoke import siri

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


def model_of(shape: Shape) -> Qwen2ForCausalLM:
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=shape.vocabulary,
            hidden_size=shape.hidden,
            intermediate_size=shape.intermediate,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            tie_word_embeddings=shape.tied,
        )
    )


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_are_counted_exactly(name: str) -> None:
    with torch.device("meta"):
        model = model_of(SHAPES[name])
    assert SHAPES[name].parameters == sum(p.numel() for p in model.parameters())


def test_activations_are_those_that_autograd_keeps() -> None:
    shape = Shape(4, 64, 256, 4, 2, 100, True)
    model = model_of(shape).train()
    weights = {p.data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if tensor.data_ptr() not in weights and storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.randint(0, 100, (2, 200), generator=torch.Generator().manual_seed(0))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        states = model.model(input_ids=ids, use_cache=False).last_hidden_state
    expected = 400 * shape.layers * shape.activations * 4
    assert states.requires_grad
    assert 0.7 < sum(kept.values()) / expected < 1.3


def test_sharding_divides_what_is_trained_and_nothing_else() -> None:
    shape = SHAPES["Qwen2.5-7B"]
    config = load_config(preset("paper"), assignments=["optimizer.shard=true"])
    one, eight = (plan(config, shape, processes=n) for n in (1, 8))
    for part in ("weights in training", "gradients", "optimizer"):
        assert eight.memory[part] == pytest.approx(one.memory[part] / 8)
    assert eight.memory["reference"] == pytest.approx(one.memory["reference"] / 8)
    assert "weights that play" not in one.memory
    assert one.memory["weights in training"] == pytest.approx(7.616e9 * 4 / 2**30, rel=1e-3)
    assert eight.batches["episodes a process"] == 16


def test_a_small_model_is_estimated_at_what_it_takes() -> None:
    small = Shape(30, 576, 1536, 9, 3, 49_152, True)
    changes = ["rollout.tasks=8", "rollout.group_size=4", "env.max_steps=15", "optimizer.kl=0"]
    found = plan(load_config(preset("embedded"), assignments=changes), small)
    assert 3 < found.total < 8
    half = plan(load_config(preset("pretrained"), assignments=changes), small)
    assert half.memory["weights that play"] == pytest.approx(2 * small.parameters / 2**30)
    assert half.total < found.total
    assert plan(preset("pretrained"), small, memory_of_device=2**30).memory["KV cache"] == pytest.approx(0.4)


def test_unknown_shapes_are_refused() -> None:
    assert shape_of("Qwen/Qwen2.5-7B-Instruct") == SHAPES["Qwen2.5-7B"]
    with pytest.raises(ConfigError, match="unknown shape"):
        shape_of("nobody/nothing")


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.name)
def test_the_shipped_configurations_fit_80_gb(file: Path) -> None:
    env, _, size = file.stem.partition("-qwen2.5-")
    config = load_config(preset("paper", env), file=file)
    for processes in (8, 16):
        for engine in ("hf", "vllm"):
            found = plan(config, SHAPES[f"Qwen2.5-{size.upper()}"], processes=processes, env=env, engine=engine)
            assert max(found.moments.values()) < 80e9 / 2**30
    assert isinstance(yaml.safe_load(file.read_text()), dict)


def test_there_are_four() -> None:
    assert len(CONFIGS) == 4


def test_checkpoints_of_the_shipped_7b_configuration_fit_disks_and_hosts() -> None:
    config = load_config(preset("paper"), file=CONFIGS[0].with_name("alfworld-qwen2.5-7b.yaml"))
    found = plan(config, SHAPES["Qwen2.5-7B"], processes=8).checkpoints
    assert [round(value, 1) for value in found.values()] == [91.4, 198.0, 11.4]  # "best" is the model that plays
    config = load_config(config, assignments=["checkpoint.best=true"])
    assert round(plan(config, SHAPES["Qwen2.5-7B"], processes=8).checkpoints["all checkpoints on the disk, GB"]) == 274


@pytest.mark.parametrize("processes", [8, 16])
def test_the_dry_run_of_7b_tells_every_moment_and_fits(
    processes: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = CONFIGS[0].with_name("alfworld-qwen2.5-7b.yaml")
    arguments = ["--preset", "paper", "--config", file, "--policy", "Qwen/Qwen2.5-7B-Instruct", "--dry-run"]
    assert siri(monkeypatch, "run", *arguments, "--processes", processes) == 0
    said = capsys.readouterr()
    shown = re.findall(r"(start|playing|learning|pushing|saving)\W+([\d.]+)", said.out + said.err)
    assert [name for name, _ in shown] == ["start", "playing", "learning", "pushing", "saving"]
    assert all(0 < float(size) * 2**30 < 80e9 for _, size in shown)


def test_sleep_and_memory_of_an_engine() -> None:
    config = load_config(preset("paper"), assignments=["optimizer.shard=true", "rollout.engine_memory=3"])
    awake = plan(config, SHAPES["Qwen2.5-7B"], processes=8, engine="vllm")
    assert awake.memory["KV cache"] == 3
    asleep = plan(
        load_config(config, assignments=["rollout.sleep=true"]),
        SHAPES["Qwen2.5-7B"],
        processes=8,
        engine="vllm",
    )
    gained = awake.moments["learning"] - asleep.moments["learning"]
    assert gained == pytest.approx(awake.memory["weights that play"] + 3)
    server = plan(config, SHAPES["Qwen2.5-7B"], processes=8, engine="http://localhost:8000")
    assert not {"KV cache", "weights that play"} & server.memory.keys()


def test_weights_for_servers_of_this_machine_take_shared_memory() -> None:
    config = load_config(preset("paper"), assignments=["rollout.dtype=bfloat16"])
    for engine, transfer, gigabytes in (
        ("http://localhost:8000", "auto", 15.2),
        ("http://localhost:8000", "checkpoint", 0.0),
        ("vllm", "auto", 0.0),
    ):
        told = load_config(config, assignments=[f"rollout.transfer={transfer}"])
        found = plan(told, SHAPES["Qwen2.5-7B"], processes=8, engine=engine)
        assert found.shared * 2**30 / 1e9 == pytest.approx(gigabytes, abs=0.1)
