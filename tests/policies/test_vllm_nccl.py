"""What siri adds to vLLM's NCCL trainer: the weights, the servers as one, and errors; no NCCL runs here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from siri.errors import EngineAway, PolicyFault
from siri.models.adapters import add_lora
from siri.models.weights import outlines, streamed
from siri.policies.vllm_http import UNFINISHED, Server
from siri.policies.vllm_nccl import Broadcast, Client, Source
from tests.policies._servers import Fake, serving
from tests.policies._tiny import tiny_model

pytest.importorskip("httpx")


class Trainer:
    """Calls its client in the order of vLLM's ``NCCLTrainerWeightTransferEngine``."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.source: Any = None

    def send_weights(self) -> None:
        names = [weight.name for weight in self.source.metadata()]
        self.client.start_weight_update()
        self.client.update_weights({"names": names})
        assert [name for name, _ in self.source] == names
        self.client.finish_weight_update()


@pytest.fixture(autouse=True)
def _joined(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("vllm") is None:
        monkeypatch.setattr(Broadcast, "_joined", lambda _, client, __: Trainer(client))


@pytest.fixture
def fakes() -> list[Fake]:
    return [Fake("nccl"), Fake("nccl")]


@pytest.fixture
def broadcast(fakes: list[Fake], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with ExitStack() as held:
        urls = [held.enter_context(serving(fake)) for fake in fakes]
        servers = [Server(url, timeout=5, connections=1) for url in urls]
        monkeypatch.setattr(Broadcast, "device", "cpu")
        yield Broadcast(servers, "run", tmp_path)
        for server in servers:
            server.close()


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize("adapter", [False, True])
def test_what_is_announced_is_what_is_sent(dtype: torch.dtype | None, adapter: bool) -> None:
    model = tiny_model(0)
    if adapter:
        model.name_or_path = "base"
        add_lora(model, rank=2, alpha=4)
    source = Source(model, dtype, "cpu")
    sent = [(name, value.dtype, tuple(value.shape)) for name, value in streamed(model, dtype)]
    assert [tuple(weight) for weight in source.metadata()] == sent
    assert sum(weight.nbytes for weight in outlines(model, dtype)) == sum(
        value.nbytes for _, value in streamed(model, dtype)
    )
    source.exhaust()
    assert list(source) == []


def test_all_servers_are_updated_as_one(broadcast: Broadcast, fakes: list[Fake]) -> None:
    for version in (0, 1):
        broadcast.push(tiny_model(0), version, dtype=None)
        assert [fake.version for fake in fakes] == [f"siri-run-{version}"] * 2
    for fake in fakes:
        assert not fake.paused
        assert not fake.updating
        order = [path for path in fake.seen if "weight" in path or "prefix" in path][:5]
        assert order == [
            "/update_weight_version",
            "/start_weight_update",
            "/update_weights",
            "/reset_prefix_cache",
            "/finish_weight_update",
        ]


@pytest.mark.vllm
def test_vllms_own_trainer_does_the_same(
    broadcast: Broadcast, fakes: list[Fake], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it but the GPUs: the group is not made, and what is sent is counted."""
    engine = pytest.importorskip("vllm.distributed.weight_transfer.nccl_engine")
    sent: list[dict[str, torch.Tensor]] = []

    def producer(iterator: Iterator[Any], post_iter_func: Callable[[Any], Any], **_: object) -> None:
        sent.append({item[0]: post_iter_func(item) for item in iterator})

    monkeypatch.setattr(engine, "open_trainer_endpoint", lambda info: info)
    monkeypatch.setattr(engine, "packed_nccl_broadcast_producer", producer)
    model = tiny_model(0)
    for version in (0, 1):
        broadcast.push(model, version, dtype=torch.bfloat16)
        assert [fake.version for fake in fakes] == [f"siri-run-{version}"] * 2
    assert [fake.joined["rank_offset"] for fake in fakes] == [1, 3]
    assert fakes[0].joined["world_size"] == 5
    assert fakes[0].joined["master_address"] == "127.0.0.1"
    assert fakes[0].seen.count("/init_weight_transfer_engine") == 1
    for weights in sent:
        assert weights.keys() == {name for name, _ in streamed(model)}
        assert all(value.equal(weights[name]) for name, value in streamed(model, torch.bfloat16))


def test_ranks_of_a_server_begin_where_those_of_the_last_one_end(
    broadcast: Broadcast, fakes: list[Fake]
) -> None:
    client = Client(broadcast._servers)
    client.init_weight_transfer_engine({"rank_offset": 1, "world_size": 5})
    assert [fake.joined for fake in fakes] == [
        {"rank_offset": 1, "world_size": 5},
        {"rank_offset": 3, "world_size": 5},
    ]


def test_a_push_that_fails_is_said_and_joins_again(broadcast: Broadcast, fakes: list[Fake]) -> None:
    fakes[1].trouble = lambda path: 500 if path == "/update_weights" else None
    with pytest.raises(PolicyFault, match=r"HTTP 500 from .*/update_weights") as found:
        broadcast.push(tiny_model(0), 0, dtype=None)
    assert not isinstance(found.value, EngineAway)
    assert [fake.version for fake in fakes] == [UNFINISHED] * 2
    assert not any(fake.updating or fake.paused for fake in fakes)
    assert broadcast._trainer is None

    broken = SimpleNamespace(source=None, send_weights=lambda: torch.zeros(2).view(3))
    broadcast._trainer, broadcast._client = broken, Client(broadcast._servers)
    with pytest.raises(PolicyFault, match=r"got RuntimeError: .* while sending weights by NCCL") as found:
        broadcast.push(tiny_model(0), 0, dtype=None)
    assert len(str(found.value)) <= 300


def test_a_server_that_lost_its_weights_ends_the_rollout(broadcast: Broadcast) -> None:
    broadcast.push(tiny_model(0), 0, dtype=None)
    assert not broadcast.holds(0)
    with pytest.raises(PolicyFault, match=r"fix: resume the run, or rollout\.transfer=checkpoint") as found:
        broadcast.give(broadcast._servers[0])
    assert len(str(found.value)) <= 300
